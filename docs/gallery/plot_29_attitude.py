r"""
Which way did the satellite look?
=================================

In every frame of a film a tumbling satellite sees ten known stars :math:`a_k` in directions :math:`b_k` of its own. Its
orientation is the rotation that fits them best, Wahba's problem: 500 problems of one kind,

.. math:: \max_{R \in SO(3)} \sum_k b_k^T R \, a_k = \operatorname{tr}(R^T B), \qquad B = \sum_k b_k a_k^T .
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.transform import Rotation

from manifolds import Rotations
from rankopt import minimize_batch

# %%
# All frames are solved at once, as one batch of matrices in which each takes its own steps.

rng, t = np.random.default_rng(0), np.linspace(0, 6, 500)
truth = Rotation.from_euler("zyx", np.stack([2 * t, 0.8 * np.sin(3 * t), 0.5 * np.cos(2 * t)], axis=1))
stars = Rotations(3).random_point(rng, batch=(10,))[:, 0]
seen = stars @ truth.as_matrix().mT + 0.03 * rng.standard_normal((500, 10, 3))
result = minimize_batch(
    lambda R, B: -np.sum(R * B, axis=(-2, -1)),
    Rotations(3),
    Rotations(3).random_point(rng, batch=(500,)),
    args=(seen.mT @ stars,),
    gradient=lambda R, B: -B,
)
print(result.success.sum(), "of 500 solved in", result.ncalls, "evaluations of the batch")

# %%
# scipy has the closed form, by a singular value decomposition of each frame's matrix.

exact = np.stack([Rotation.align_vectors(frame, stars)[0].as_matrix() for frame in seen])
assert np.allclose(result.x, exact, atol=1e-4)

# %%

fig, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
for k, color in enumerate(("#0072B2", "#D55E00", "#009E73")):
    ax.plot(t, result.x[:, k, 0], ".", color=color, markersize=3, label=f"coordinate {k + 1}")
    ax.plot(t, truth.as_matrix()[:, k, 0], color=color, linewidth=0.8)
ax.set(xlabel="time", ylabel="where the first axis points")
ax.legend(frameon=False, loc="lower left")

# %%
# Dots are the frames, lines the true motion.
