r"""
Correlations as angles in the plane
===================================

The correlations of many measurements are to be drawn as angles: a unit vector :math:`x_j` in the plane for each of
them, with :math:`x_i^T x_j` as near to the correlation :math:`C_{ij}` as can be. The matrix :math:`X^T X` is then the
nearest correlation matrix of rank two,

.. math:: \min_{\operatorname{diag}(X^T X) = 1} \tfrac14 \lVert X^T X - C \rVert_F^2 .
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

from manifolds import Oblique
from rankopt import minimize

# %%
# Truncating :math:`C` to rank two leaves columns that are too short. The unit columns nearest to them, a start, are a
# problem on the same manifold, whose solution is known: divide each column by its norm.

wine = load_wine()
C, columns = np.corrcoef(wine.data.T), Oblique(2, 13)
values, vectors = np.linalg.eigh(C)
short = (vectors[:, -2:] * np.sqrt(values[-2:])).T
start = minimize(lambda X: 0.5 * np.sum((X - short) ** 2), columns, gradient=lambda X: X - short, rng=0).x
assert np.allclose(start, short / np.linalg.norm(short, axis=0), atol=1e-5)
result = minimize(
    lambda X: 0.25 * np.sum((X.T @ X - C) ** 2),
    columns,
    start,
    gradient=lambda X: X @ (X.T @ X - C),
    hessian=lambda X, V: V @ (X.T @ X - C) + X @ (V.T @ X + X.T @ V),
)

# %%
# Any vector :math:`y` gives a lower bound on the cost of *every* correlation matrix of rank two, by dropping the
# constraints at the price :math:`y`. With the multipliers of the solution the bound is the cost itself: no matrix is
# better.

Z = result.x.T @ result.x
y = np.sum(Z * (Z - C), axis=0)
bound = 0.25 * np.sum(C**2) + 0.5 * y.sum() - 0.25 * np.sum(np.linalg.eigvalsh(C + np.diag(y))[-2:] ** 2)
assert abs(result.fun - bound) < 1e-6 * result.fun

# %%

fig, ax = plt.subplots(figsize=(6, 8), layout="constrained")
for x, name in zip(result.x.T, wine.feature_names, strict=True):
    ax.annotate("", x, (0, 0), arrowprops={"arrowstyle": "->", "color": "#0072B2"})
    side, slope = ("left" if x[0] > 0 else "right"), np.degrees(np.arctan(x[1] / x[0]))
    ax.text(*1.03 * x, name.replace("_", " "), ha=side, va="center", rotation=slope, rotation_mode="anchor")
ax.set(aspect="equal", xlim=(-1.7, 1.2), ylim=(-2.2, 1.9))
ax.axis("off")

# %%
# Measurements that rise together point the same way, those at right angles have little to do with each other. The
# bound proves that no other arrangement in the plane is nearer to the correlations.
