"""
A surface known by its points
=============================

A scanner leaves thousands of points of a surface, and a cost is known at these points alone. Where on the surface,
between the points too, is it least? Moving least squares makes a manifold of the points: tangent planes, a projection
that serves as retraction, and the gradient of the cost with an estimate of its error.
"""

import lzma
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from problems import minimize_on_samples

# %%
# The points are the vertices of the Stanford bunny; where its file is absent, those of a torus stand in.

bunny = Path(__file__).resolve().parents[3] / "shared" / "data" / "meshes" / "stanford-bunny.obj.xz"
if bunny.exists():
    with lzma.open(bunny, "rt") as lines:
        points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], dtype=float)
else:
    u, v = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, 20000))
    points = np.stack([(2 + np.cos(v)) * np.cos(u), np.sin(v), (2 + np.cos(v)) * np.sin(u)], axis=1)

# %%
# The cost is the distance to a source of sound beside the surface. The run starts on the far side.

source = points[np.argmax(points[:, 2])] + np.multiply([0.05, 0.05, 0.15], np.ptp(points[:, 2]))
values = np.linalg.norm(points - source, axis=1)
found = minimize_on_samples(points, values, dim=2, start=np.argmin(points @ [0.5, 0.5, 1.0]))
print(found.result.message, found.result.nit, "steps")

# %%
# The point found lies between the samples and is better than the best of them. The line from it to the source is
# normal to the surface, which a plane through the nearest samples confirms.

assert found.fun < values.min()
near = points[np.argsort(np.linalg.norm(points - found.x, axis=1))[:12]]
normal = np.linalg.svd(near - near.mean(axis=0))[2][2]
assert abs(normal @ (source - found.x)) > 0.99 * np.linalg.norm(source - found.x)

# %%

ax = plt.figure(figsize=(7, 6), layout="constrained").add_subplot(projection="3d", computed_zorder=False)
ax.scatter(*points[:, [0, 2, 1]].T, c=values, cmap="cividis", s=1, alpha=0.3, rasterized=True)
ax.plot(*found.path[:, [0, 2, 1]].T, "o-", color="#D55E00", markersize=4)
ax.plot(*found.x[[0, 2, 1], None], "*", color="#D55E00", markeredgecolor="black", markersize=14)
ax.set(aspect="equal")
ax.view_init(15, 60)
ax.axis("off")
