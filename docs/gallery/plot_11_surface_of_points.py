r"""
The point of a scanned surface nearest to a lamp
================================================

Of a surface only points are known, and at each of them a cost: here the squared distance to a lamp. Moving least
squares supplies what a descent on the surface needs, tangent spaces, gradients and a retraction.
"""

import lzma
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from problems import minimize_on_samples

# %%
# The points are the vertices of the Stanford bunny where its mesh is in the folder that RANKOPT_DATA names, else random
# points of a torus.

mesh = Path(os.environ.get("RANKOPT_DATA", "."), "meshes", "stanford-bunny.obj.xz")
if mesh.exists():
    with lzma.open(mesh, "rt") as lines:
        points = np.unique([line.split()[1:4] for line in lines if line.startswith("v ")], axis=0).astype(float)
    points = (points - points.mean(axis=0))[:, [0, 2, 1]] / np.ptp(points)
else:
    u, v = np.random.default_rng(0).uniform(0, 2 * np.pi, (2, 12000))
    points = np.stack([(1 + 0.4 * np.cos(v)) * np.cos(u), (1 + 0.4 * np.cos(v)) * np.sin(u), 0.4 * np.sin(v)], axis=-1)
lamp = np.ptp(points) * np.array([0.3, 1.5, 0.2])
values = np.sum((points - lamp) ** 2, axis=-1)
start = np.argmin(np.sum((points - np.ptp(points) * np.array([0.35, -0.7, 0.0])) ** 2, axis=-1))
found = minimize_on_samples(points, values, dim=2, start=start, method="gradient-descent")
print(found.result.message, "Error of the gradient:", found.gradient_error)

# %%
# At the nearest point the way to the lamp is normal to the surface, up to the error with which that is known, and
# no sample is nearer.

assert found.result.success
assert found.fun < values.min()

# %%

fig = plt.figure(figsize=(7, 6), layout="constrained")
axes = fig.add_subplot(projection="3d", computed_zorder=False)
axes.scatter(*points.T, c=values, cmap="cividis", s=2, alpha=0.4, zorder=1)
axes.plot(*found.path.T, "o-", color="#D55E00", markersize=4, zorder=2)
axes.plot(*found.x[:, None], "*", color="#D55E00", markeredgecolor="black", markersize=16, zorder=3)
axes.set(aspect="equal")
axes.view_init(20, 55)
axes.axis("off")

# %%
# Where samples are too few or lie badly, as beyond an edge, the fit is refused with their number and the radius in
# which they were sought, and the line search shortens its step.
