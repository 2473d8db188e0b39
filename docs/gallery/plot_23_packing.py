r"""
Twenty-four points far apart
============================

How can 24 points lie on a sphere so that the two nearest ones are as far apart as possible? Their largest inner
product is to be made small, and a smooth function close to the maximum is

.. math:: \min_{\lVert x_i \rVert = 1} \; \varepsilon \log \sum_{i < j} \exp(x_i^T x_j / \varepsilon) .
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.spatial import ConvexHull

from manifolds import Oblique
from rankopt import minimize

# %%
# The points are the columns of a matrix on an oblique manifold. Each run starts where the one before, with a larger
# :math:`\varepsilon`, has ended.

i, j = np.triu_indices(24, 1)
X = Oblique(3, 24).random_point(rng=0, like=torch.empty(0, dtype=torch.float64))
for epsilon in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
    result = minimize(
        lambda X, scale=epsilon: scale * torch.logsumexp((X.mT @ X)[i, j] / scale, dim=0), Oblique(3, 24), X, "lbfgs"
    )
    X = result.x

# %%
# Robinson proved in 1961 that the corners of a snub cube are the best. With the root :math:`t` of
# :math:`t^3 = t^2 + t + 1`, they are even permutations of :math:`(1, 1/t, t)` with signs, and each has five neighbours.

cosines = (X.mT @ X)[i, j].numpy()
t = np.roots([1, -1, -1, -1]).real.max()
snub_cube = 1 - (1 + 2 * t - t**2) / (1 + 1 / t**2 + t**2)
near = cosines > snub_cube - 1e-3
print("smallest angle", np.degrees(np.arccos(cosines.max())), "of a snub cube", np.degrees(np.arccos(snub_cube)))
assert abs(cosines.max() - snub_cube) < 1e-4
assert near.sum() == 24 * 5 / 2

# %%

points, view = X.numpy(), X[:, 0].numpy()
fig = plt.figure(figsize=(6, 6), layout="constrained")
ax = fig.add_subplot(projection="3d", proj_type="ortho", computed_zorder=False)
ax.plot_trisurf(*points, triangles=ConvexHull(points.T).simplices, color="#A6D4F2", shade=False)
for ends in np.stack([points.T[i[near]], points.T[j[near]]], axis=2):
    ax.plot(*ends, color="0.2", alpha=float(view @ ends.mean(axis=1) > -0.1))
ax.scatter(*points[:, view @ points > -0.1], color="#D55E00", s=40)
ax.view_init(np.degrees(np.arcsin(view[2])), np.degrees(np.arctan2(view[1], view[0])))
ax.set(aspect="equal")
ax.axis("off")

# %%
# Lines join nearest neighbours: 32 triangles and 6 squares.
