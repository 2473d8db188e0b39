r"""
A principal component without negative loadings
===============================================

The first principal component of a correlation matrix :math:`C` weighs all features, with signs that cancel and are
hard to read. Weights that must not be negative leave out the features that run against the others:

.. math:: \max_{\lVert x \rVert = 1} \; x^T C x \quad \text{with} \quad x \ge 0 .
"""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

from manifolds import Sphere
from rankopt import Inequality, minimize_constrained

# %%
# Thirteen measurements of 178 wines. A constraint is a function with values of any shape, here :math:`-x \le 0`, and
# the gradient of their sum with weights y.

wine = load_wine()
C = np.corrcoef(wine.data.T)
not_negative = Inequality(lambda x: -x, lambda x, y: -y)
start = np.full(13, 13**-0.5)
result = minimize_constrained(lambda x: -x @ C @ x, Sphere(13), not_negative, start, gradient=lambda x: -2 * C @ x)
print(result.message)

# %%
# The problem is hard in general, but with thirteen features every set of them can be tried: the best vector is the
# leading eigenvector of the correlations within its own set. And at a solution the multipliers balance the gradient.

best = 0.0
for features in (list(f) for size in range(1, 14) for f in combinations(range(13), size)):
    values, vectors = np.linalg.eigh(C[np.ix_(features, features)])
    if np.ptp(np.sign(vectors[:, -1])) == 0:
        best = max(best, values[-1])
assert abs(-result.fun - best) <= 1e-5 * best
assert np.allclose(2 * C @ result.x + result.multipliers[0], 2 * best * result.x, atol=1e-4)

# %%

leading = np.linalg.eigh(C)[1][:, -1]
fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
rows = np.arange(13)
ax.barh(rows - 0.2, leading * np.sign(leading.sum()), 0.4, color="0.7", label="principal component")
ax.barh(rows + 0.2, result.x, 0.4, color="#0072B2", label="without negative weights")
ax.set(yticks=rows, yticklabels=wine.feature_names, xlabel="weight")
ax.invert_yaxis()
ax.legend(frameon=False, loc="lower left")

# %%
# The weights that would be negative are zero, and their multipliers say by how much they are missed.
