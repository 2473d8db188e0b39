r"""
Procrustes: turning one shape onto another
==========================================

A knot was measured twice, the second time turned and with noise. The rotation that lays the first points
:math:`P` best onto the second ones :math:`Q` solves

.. math:: \min_{R \in SO(3)} \; \tfrac12 \lVert P R - Q \rVert_F^2 .
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from manifolds import Rotations
from rankopt import minimize

# %%
# A function that returns cost and Euclidean gradient is all that is needed.

t = np.linspace(0, 2 * np.pi, 200)
P = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -np.sin(3 * t)], axis=1)
truth = Rotation.from_euler("xyz", [70, -40, 120], degrees=True).as_matrix()
Q = P @ truth + 0.1 * np.random.default_rng(0).standard_normal(P.shape)


def cost_and_gradient(R):
    residual = P @ R - Q
    return 0.5 * np.sum(residual**2), P.T @ residual


result = minimize(cost_and_gradient, Rotations(3), gradient=True, rng=1)
print(result.message, result.nit, "steps")

# %%
# scipy solves it in closed form, by a singular value decomposition.

assert np.allclose(result.x, orthogonal_procrustes(P, Q)[0], atol=1e-5)

# %%

fig, axes = plt.subplots(1, 2, figsize=(9, 5), layout="constrained", sharex=True, sharey=True)
for ax, points, title in zip(axes, (P, P @ result.x), ("before", "after"), strict=True):
    ax.plot(*Q[:, :2].T, ".", color="#D55E00", markersize=4, label="second measurement")
    ax.plot(*points[:, :2].T, color="#0072B2", label="first measurement")
    ax.set(title=title, xlabel="x", ylabel="y", aspect="equal")
axes[1].legend(frameon=False, loc="lower left")

# %%
# Turned by the rotation found, the first curve runs through the middle of the second points. The same lines solve what
# has no closed form: other norms, weights by entry, or missing points.
