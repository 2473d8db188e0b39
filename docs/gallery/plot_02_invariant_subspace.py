r"""
The slowest tones of a drum
===========================

Diffusion on a grid damps rough functions at once and smooth ones slowly: what lasts is the dominant invariant subspace
of its sparse matrix :math:`A`. It is found from products with :math:`A` alone,

.. math:: \max_{X^T X = I_4} \operatorname{tr}(X^T A X) ,

and a small eigenproblem in the subspace gives the single modes.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import diags_array, eye_array, kron

from manifolds import Grassmann
from rankopt import QuadraticObjective, minimize

# %%
# One step of diffusion with fixed boundary is :math:`A = I - L / 8`, with the Laplacian :math:`L` of the grid.

width, height, p = 36, 24, 4
line = [diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)) for n in (height, width)]
laplacian = kron(line[0], eye_array(width)) + kron(eye_array(height), line[1])
diffusion = (eye_array(width * height) - laplacian / 8).tocsr()
result = minimize(QuadraticObjective(diffusion, scale=-1), Grassmann(width * height, p), rng=0)
ritz, rotation = np.linalg.eigh(result.x.T @ (diffusion @ result.x))
modes = (result.x @ rotation)[:, ::-1]
print(result.message, result.history["n_products"][-1], "products with blocks of 4 vectors")

# %%
# On a rectangle the eigenvalues are known in closed form.

tones = [2 - 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) for n in (height, width)]
exact = np.sort(1 - np.add.outer(*tones).ravel() / 8)[-p:]
assert np.allclose(ritz, exact, atol=1e-9)

# %%

fig, axes = plt.subplots(2, 2, figsize=(8, 5.6), layout="constrained", sharex=True, sharey=True)
for ax, mode, value in zip(axes.flat, modes.T, ritz[::-1], strict=True):
    size = abs(mode).max()
    ax.imshow(mode.reshape(height, width), cmap="RdBu", vmin=-size, vmax=size, origin="lower")
    ax.set_title(f"keeps {value:.4f} in a step", fontsize=10)
fig.supxlabel("column of the grid")
fig.supylabel("row of the grid")

# %%
# The modes are products of sine waves, as they should be. Where only eigenvectors are wanted, Lanczos
# (:func:`scipy.sparse.linalg.eigsh`) is the tool for that; the subspace
# is the building block of costs with more in them.
