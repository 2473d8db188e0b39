"""The picture of "Manifolds known only by samples": a minimization on a torus of which only points are known."""

import matplotlib.pyplot as plt
import numpy as np

from problems import minimize_on_samples

rng = np.random.default_rng(0)
u, v, w = rng.uniform(0, 1, (3, 12000))
u, v = (2 * np.pi * angle[w < (1 + 0.4 * np.cos(2 * np.pi * v)) / 1.4] for angle in (u, v))
ring = 1 + 0.4 * np.cos(v)
points = np.stack([ring * np.cos(u), ring * np.sin(u), 0.4 * np.sin(v)], axis=-1)
values = np.sin(2 * points[:, 0]) + points[:, 1] * points[:, 2]
start = int(np.argmin(np.linalg.norm(points - [0.9, -0.9, 0.3], axis=-1)))
found = minimize_on_samples(points, values, dim=2, start=start, method="gradient-descent")

fig = plt.figure(figsize=(7, 5), layout="constrained")
axes = fig.add_subplot(projection="3d", computed_zorder=False)
axes.scatter(*points.T, c=values, cmap="cividis", s=2, alpha=0.35, zorder=1)
axes.plot(*found.path.T, "o-", color="#D55E00", markersize=4, linewidth=2, zorder=2)
axes.plot(*found.x[:, None], "*", color="#D55E00", markeredgecolor="black", markersize=16, zorder=3)
axes.set_aspect("equal")
axes.view_init(50, -100)
axes.axis("off")
