r"""
Averaging rotations over a network
==================================

Cameras see each other's orientation with errors, :math:`H_{ij} \approx R_i R_j^T`. Following a chain adds the errors
up; using all pairs at once averages them:

.. math:: \min_{R_1, \dots, R_m \in SO(3)} \sum_{(i, j)} \lVert R_i - H_{ij} R_j \rVert_F^2 .
"""

from itertools import accumulate

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from manifolds import Product, Rotations
from rankopt import minimize

# %%
# The unknown is a point on a product of manifolds, a tuple of matrices. The chain is a good start.

m, rng = 12, np.random.default_rng(0)
truth = Rotation.random(m, rng=rng).as_matrix()
i, j = np.triu_indices(m, 1)
noise = Rotation.from_rotvec(0.2 * rng.standard_normal((len(i), 3))).as_matrix()
H = torch.from_numpy(noise @ truth[i] @ truth[j].transpose(0, 2, 1))
chain = tuple(accumulate(H[j == i + 1], lambda R, step: step.T @ R, initial=torch.eye(3, dtype=H.dtype)))


def disagreement(R):
    return ((torch.stack(R)[i] - H @ torch.stack(R)[j]) ** 2).sum()


result = minimize(disagreement, Product(*[Rotations(3)] * m), chain)

# %%
# Dropping all but :math:`\sum_i R_i^T R_i = m I` leaves an eigenproblem, whose solution bounds the cost from below.

pairs = np.zeros((m, 3, m, 3))
pairs[i, :, j, :] = H.numpy()
bound = 6 * len(i) - m * np.linalg.eigvalsh(pairs.reshape(3 * m, 3 * m), UPLO="U")[-3:].sum()
assert bound <= result.fun <= 1.1 * bound


def errors(rotations):
    aligned = Rotation.from_matrix(truth.transpose(0, 2, 1) @ np.stack(rotations))
    return np.degrees((aligned * aligned.mean().inv()).magnitude())


before, after = errors(chain), errors(result.x)
assert after.mean() < 0.5 * before.mean()

# %%

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.bar(np.arange(m) - 0.2, before, 0.4, color="#D55E00", label="along the chain")
ax.bar(np.arange(m) + 0.2, after, 0.4, color="#0072B2", label="all pairs")
ax.set(xlabel="camera", ylabel="angle to the true orientation (degrees)")
ax.legend(frameon=False)

# %%
# The cost is proven to be close to the least one possible, and no camera is far from its true orientation any more.
