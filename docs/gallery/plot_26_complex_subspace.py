r"""
Where do the waves come from?
=============================

Ten antennas in a row receive three waves and noise. The signals are complex, and so is their covariance matrix
:math:`H = A + i B`; its dominant invariant subspace tells the directions. A complex vector is a pair of real ones,
and a complex subspace of dimension :math:`d` is a real one of dimension :math:`2 d`, invariant under the
multiplication by :math:`i`:

.. math:: \max_{X^T X = I_{2 d}} \operatorname{tr}\left(X^T \begin{pmatrix} A & -B \\ B & A \end{pmatrix} X\right) .
"""

import matplotlib.pyplot as plt
import numpy as np

from manifolds import Grassmann
from rankopt import QuadraticObjective, minimize

# %%
# The antennas are half a wavelength apart.

rng, n, directions = np.random.default_rng(0), 10, np.array([-35.0, 8.0, 20.0])


def wave(degrees):
    return np.exp(1j * np.pi * np.outer(np.arange(n), np.sin(np.radians(degrees))))


def noise(*shape):
    return rng.standard_normal((*shape, 2)) @ [1, 1j]


received = wave(directions) @ noise(3, 200) + 0.7 * noise(n, 200)
H = received @ received.conj().T / 200
real = np.block([[H.real, -H.imag], [H.imag, H.real]])
result = minimize(QuadraticObjective(real, scale=-1), Grassmann(2 * n, 6), rng=0)

# %%
# The real subspace found is a complex one: the projector on it has the same blocks, and is that of the eigenvectors of
# :math:`H`.

P = result.x @ result.x.T
projector = P[:n, :n] + 1j * P[n:, :n]
vectors = np.linalg.eigh(H)[1][:, -3:]
assert np.allclose(P, np.block([[projector.real, -projector.imag], [projector.imag, projector.real]]), atol=1e-6)
assert np.allclose(projector, vectors @ vectors.conj().T, atol=1e-6)

# %%
# Waves from a direction in which signals come lie in the subspace, so that nearly nothing is left of them outside.

degrees = np.linspace(-60, 60, 1201)
beam = np.sum(abs(received.conj().T @ wave(degrees)) ** 2, axis=0)
outside = np.sum(abs(wave(degrees) - projector @ wave(degrees)) ** 2, axis=0)
fig, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
ax.semilogy(degrees, outside.min() / outside, color="#0072B2", label="by the subspace")
ax.semilogy(degrees, beam / beam.max(), color="#D55E00", label="power received")
for direction in directions:
    ax.axvline(direction, color="0.6", linestyle=":", label="true directions" if direction == directions[0] else None)
ax.set(xlabel="direction (degrees)", ylabel="relative to the largest value")
ax.legend(frameon=False)

# %%
# The power received blurs two of the waves into one; the subspace separates them.
