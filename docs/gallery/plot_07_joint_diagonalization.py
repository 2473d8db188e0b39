r"""
Unmixing signals by joint diagonalization
=========================================

Four recordings are unknown mixtures of four sources that are correlated in time, each in its own way. After whitening,
one rotation makes all lagged covariance matrices :math:`C_k` as diagonal as they can be, and that rotation separates
the sources:

.. math:: \min_{X \in SO(4)} \sum_k \lVert \operatorname{off}(X^T C_k X) \rVert_F^2 .
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.signal import sawtooth, square

from manifolds import Rotations
from rankopt import minimize

# %%
# The cost is written in torch, for all matrices at once; gradient and Hessian products come from autograd.

t, rng = np.linspace(0, 8, 2000), np.random.default_rng(0)
sources = np.stack([np.sin(9 * t), square(7 * t), sawtooth(13 * t), np.cos(31 * t) * np.cos(1.3 * t)])
mixed = rng.standard_normal((4, 4)) @ sources + 0.01 * rng.standard_normal(sources.shape)
white = np.sqrt(2000) * np.linalg.svd(mixed - mixed.mean(axis=1, keepdims=True), full_matrices=False)[2]
lagged = [white[:, k:] @ white[:, : 2000 - k].T / 2000 for k in range(5, 200, 10)]
C = torch.from_numpy(np.stack([c + c.T for c in lagged]) / 2)


def off_diagonal(X):
    D = X.mT @ C @ X
    return (D**2).sum() - (torch.diagonal(D, dim1=1, dim2=2) ** 2).sum()


result = minimize(off_diagonal, Rotations(4), torch.eye(4, dtype=C.dtype))
found = result.x.numpy().T @ white

# %%
# Up to order and sign the true sources are found again.

correlation = np.corrcoef(sources, found)[:4, 4:]
order = np.argmax(abs(correlation), axis=1)
assert sorted(order) == [0, 1, 2, 3]
assert np.all(abs(correlation).max(axis=1) > 0.97)

# %%

fig, axes = plt.subplots(4, 3, figsize=(9, 5), layout="constrained", sharex=True, subplot_kw={"yticks": []})
for i in range(4):
    separated = np.sign(correlation[i, order[i]]) * found[order[i]]
    for ax, signal in zip(axes[i], (mixed[i], separated, sources[i]), strict=True):
        ax.plot(t[:800], signal[:800], linewidth=0.9)
for ax, title in zip(axes[0], ("recorded", "separated", "true sources"), strict=True):
    ax.set_title(title)
fig.supxlabel("time")
fig.supylabel("signal")

# %%
# The recordings look like nothing in particular; one rotation brings out sine, square wave, sawtooth and beat.
