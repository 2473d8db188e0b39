r"""
A line that outliers do not turn
================================

Principal components minimize *squared* distances, so a few wild points turn them. Summing the distances themselves
is robust; there is no decomposition for it, but it is a smooth cost on the Grassmann manifold once rounded off at zero:

.. math:: \min_{X^T X = I} \sum_i \sqrt{\lVert z_i - X X^T z_i \rVert^2 + \varepsilon^2} .
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.linalg import subspace_angles

from manifolds import Grassmann
from rankopt import minimize

# %%
# A hundred points near a line, and 20 that have nothing to do with it.

rng = np.random.default_rng(0)
truth = np.array([[np.cos(0.4)], [np.sin(0.4)]])
points = 1.5 * rng.standard_normal((120, 1)) @ truth.T + 0.05 * rng.standard_normal((120, 2))
points[100:] = 0.6 * rng.standard_normal((20, 2)) + [-1.5, 3]
Z = torch.from_numpy(points)


def total_distance(X):
    return torch.sqrt(torch.sum((Z - Z @ X @ X.mT) ** 2, dim=1) + 1e-4).sum()


plain = np.linalg.svd(points)[2][:1].T
result = minimize(total_distance, Grassmann(2, 1), torch.from_numpy(plain))

# %%
# In the plane there is one angle, which can be tried out: no angle is better than the one found.

theta = np.linspace(0, np.pi, 10_001)
distances = np.outer(points[:, 0], np.sin(theta)) - np.outer(points[:, 1], np.cos(theta))
assert result.fun <= np.sqrt(distances**2 + 1e-4).sum(axis=0).min() + 1e-6
plain_error, error = (np.degrees(subspace_angles(line, truth)[0]) for line in (plain, result.x.numpy()))
assert error < 2 < 20 < plain_error

# %%

fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
ax.plot(*points[:100].T, ".", color="0.4", label="points near the line")
ax.plot(*points[100:].T, "x", color="0.6", label="outliers")
ax.axline((0, 0), plain[:, 0], color="#D55E00", label=f"principal component, off by {plain_error:.1f}°")
ax.axline((0, 0), result.x.numpy()[:, 0], color="#0072B2", label=f"least distances, off by {error:.1f}°")
ax.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal", xlim=(-4, 4), ylim=(-2, 5))
ax.legend(frameon=False, loc="upper right")

# %%
# A sixth of the points is wrong, and the robust line does not care.
