r"""
A quantum oscillator, level by level
====================================

The lowest eigenvectors of a symmetric matrix span a subspace, but which vector is which? With distinct weights
:math:`w_1 > \dots > w_p`, the cost of Brockett has the single eigenvectors as its solution, in order:

.. math:: \min_{X^T X = I} \sum_i w_i \, x_i^T H x_i .
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import eigh_tridiagonal

from manifolds import Stiefel
from rankopt import QuadraticObjective, minimize

# %%
# :math:`H` is the energy :math:`-\tfrac12 \partial_x^2 + \tfrac12 x^2` of a particle in a bowl, by finite differences.
# The cost depends on the basis, so the manifold is Stiefel's.

x = np.linspace(-6, 6, 121)
h = x[1] - x[0]
diagonal, beside = 1 / h**2 + x**2 / 2, np.full(120, -0.5 / h**2)
energy = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
result = minimize(QuadraticObjective(energy, weights=[4.0, 3.0, 2.0, 1.0]), Stiefel(121, 4), rng=0)
levels = np.sum(result.x * (energy @ result.x), axis=0)
print(result.message, "levels", levels.round(3))

# %%
# A tridiagonal eigensolver gives the same vectors up to sign, and physics the levels 1/2, 3/2, 5/2, 7/2.

exact_levels, exact = eigh_tridiagonal(diagonal, beside, select="i", select_range=(0, 3))
assert np.allclose(abs(np.sum(exact * result.x, axis=0)), 1, atol=1e-6)
assert np.allclose(levels, exact_levels, rtol=1e-6)
assert np.allclose(levels, np.arange(4) + 0.5, atol=0.02)

# %%

fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
ax.plot(x, x**2 / 2, color="0.6", label="potential energy")
for i, level in enumerate(levels):
    sign = np.sign(exact[:, i] @ result.x[:, i])
    ax.plot(x, level + 2 * sign * result.x[:, i], label=f"level {level:.2f}")
    ax.plot(x[::4], level + 2 * exact[::4, i], "k.", markersize=3, label="eigensolver" if i == 3 else None)
ax.set(xlabel="position", ylabel="energy, and wave function above it", xlim=(-5, 5), ylim=(0, 4.6))
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

# %%
# Each column found its own level, with one more node than the one below: no rotation afterwards is needed.
