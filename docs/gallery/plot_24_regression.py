r"""
Least squares, with and without an offset
=========================================

Not every unknown is curved. The coefficients :math:`w` of a linear regression are a point of a Euclidean space, and an
offset :math:`b` makes it a product of two,

.. math:: \min_{w \in \mathbb{R}^{10}, \, b \in \mathbb{R}} \tfrac1n \sum_i (x_i^T w + b - y_i)^2 .
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_diabetes

from manifolds import Euclidean, Product
from rankopt import GradientNorm, minimize

# %%
# The parts of a point on a product have the names that the product gives them; a cost in torch needs no derivatives.

x, y = (torch.from_numpy(a) for a in load_diabetes(return_X_y=True))
plain = minimize(lambda w: ((x @ w - y) ** 2).mean(), Euclidean(10), torch.zeros(10, dtype=x.dtype))
model = Product(weights=Euclidean(10), offset=Euclidean(1))
start = model.random_point(rng=0, like=x)
full = minimize(lambda p: ((x @ p.weights + p.offset - y) ** 2).mean(), model, start, stopping=GradientNorm(1e-9))

# %%
# A decomposition of the data gives the same coefficients.

with_ones = np.column_stack([x, np.ones(len(x))])
assert np.allclose(plain.x, np.linalg.lstsq(x, y)[0], rtol=1e-4)
assert np.allclose(torch.cat(full.x), np.linalg.lstsq(with_ones, y)[0], rtol=1e-4)

# %%

fig, ax = plt.subplots(figsize=(7, 5), layout="constrained")
ax.plot(y, x @ plain.x, ".", color="#D55E00", alpha=0.6, label=f"without offset, off by {plain.fun**0.5:.0f}")
fitted = x @ full.x.weights + full.x.offset
ax.plot(y, fitted, ".", color="#0072B2", alpha=0.6, label=f"with offset, off by {full.fun**0.5:.0f} (root mean square)")
ax.axline((0, 0), slope=1, color="0.5", linewidth=1)
ax.set(xlabel="progression of the disease, measured", ylabel="predicted")
ax.legend(frameon=False)

# %%
# The same lines fit what has no closed form: other losses, or weights that are bound to a sphere or a cone.
