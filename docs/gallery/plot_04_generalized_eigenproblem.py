r"""
Matched filters in coloured noise
=================================

Signals are mixtures of known templates :math:`F`, and the noise has a covariance :math:`B` that is only known as an
operator. The filters with the largest ratio of signal to noise solve a generalized eigenproblem,

.. math:: \max_{X^T B X = I} \operatorname{tr}(X^T A X), \qquad A = F F^T .
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.fft import dct, idct
from scipy.sparse.linalg import LinearOperator

from manifolds import GeneralizedStiefel, NystromPreconditioner
from rankopt import ConjugateGradient, QuadraticObjective, minimize

# %%
# The noise is strong at low frequencies: its covariance is a cosine transform, a spectrum, and the transform back.
# No :math:`n \times n` matrix is ever formed, neither of :math:`A` nor of :math:`B`.

n, t = 1000, np.linspace(0, 1, 1000)
spectrum = 1e3 / (1 + np.arange(n)) ** 1.5 + 0.1
templates = np.stack([np.exp(-(((t - c) / 0.05) ** 2)) * np.cos(40 * t) for c in (0.3, 0.5, 0.6)], axis=1)


def noise_product(v):
    return idct((spectrum * dct(v.T, norm="ortho")).T, axis=0, norm="ortho")


B = LinearOperator((n, n), matvec=noise_product, matmat=noise_product, dtype=np.float64)
A = LinearOperator((n, n), lambda v: templates @ (templates.T @ v), matmat=lambda v: templates @ (templates.T @ v))

# %%
# The metric decides how many steps are needed: once the plain one, once that of a randomized Nystrom approximation
# :math:`M \approx B` from 60 products.

runs = {}
for name, metric in {"plain metric": None, "Nystrom metric, rank 60": NystromPreconditioner(B, 60, rng=0)}.items():
    manifold = GeneralizedStiefel(B, 2, preconditioner=metric)
    runs[name] = minimize(QuadraticObjective(A, scale=-1), manifold, method=ConjugateGradient(), rng=0)

# %%
# The oracle: the eigenvalues of a matrix as small as there are templates, :math:`F^T B^{-1} F`.

whitened = dct(templates.T, norm="ortho") / np.sqrt(spectrum)
optimum = -0.5 * np.linalg.eigvalsh(whitened @ whitened.T)[-2:].sum()
assert abs(runs["Nystrom metric, rank 60"].fun - optimum) < 1e-6 * abs(optimum)

# %%

fig, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
for name, result in runs.items():
    ax.semilogy((result.history["fun"] - optimum) / abs(optimum) + 1e-16, label=f"{name}: {result.nit} steps")
ax.set(xlabel="step", ylabel="relative distance of the cost to the optimum")
ax.legend(frameon=False)

# %%
# Both runs solve the problem; the metric that knows the strong directions of the noise needs far fewer steps.
