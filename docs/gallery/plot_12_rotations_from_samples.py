r"""
Rotations from a list of rotations
==================================

A shape :math:`B` was seen as :math:`A`, turned and with noise. For thirty thousand rotations, each a list of nine
numbers, the misfit

.. math:: f(R) = \tfrac12 \sum_i \lVert a_i - R b_i \rVert^2

was recorded, and no one says that the lists are rotations. The best of all rotations is found from these records.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.transform import Rotation

from manifolds import SampledFunction, SampledManifold
from rankopt import minimize

# %%

rng = np.random.default_rng(0)
rotations = Rotation.random(30000, rng).as_matrix()
B = rng.standard_normal((20, 3)) * [1, 2, 3]
A = B @ rotations[0].T + 0.3 * rng.standard_normal((20, 3))
values = 0.5 * np.sum((A - B @ rotations.mT) ** 2, axis=(1, 2))

# %%
# The dimension is estimated from the points: it is three. The run ends where the gradient is below the error with which
# it is known.

manifold = SampledManifold(rotations.reshape(-1, 9))
path = []
result = minimize(
    SampledFunction(manifold, values), manifold, manifold.points[1], callback=lambda step: path.append(step.x)
)
print(manifold, result.message, result.nit, "steps")

# %%
# scipy knows the answer in closed form. The best of the samples is twenty times further from it.

optimum = Rotation.align_vectors(A, B)[0].as_matrix().ravel()
error, best = (np.linalg.norm(x - optimum) for x in (result.x, manifold.points[np.argmin(values)]))
assert manifold.dim == 3
assert error < best / 20
print(f"error {error:.1e}, of the best sample {best:.1e}")

# %%
# The records, the steps and the answer as rotation vectors, axis times angle.

vectors = Rotation.from_matrix(rotations[::10]).as_rotvec()
steps = Rotation.from_matrix(np.reshape([manifold.points[1], *path], (-1, 3, 3))).as_rotvec()
ax = plt.figure(figsize=(6, 5), layout="constrained").add_subplot(projection="3d", computed_zorder=False)
ax.scatter(*vectors.T, c=values[::10], cmap="cividis", s=2, alpha=0.25)
ax.plot(*steps.T, "o-", color="#D55E00", markersize=4)
ax.plot(*steps[-1][:, None], "*", color="#D55E00", markeredgecolor="black", markersize=16)
ax.set(xlabel="x", ylabel="y", zlabel="z", aspect="equal")
