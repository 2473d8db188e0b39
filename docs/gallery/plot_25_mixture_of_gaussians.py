r"""
Kinds of flowers as a mixture of Gaussians
==========================================

Petals of three kinds of iris were measured, but nobody wrote down which flower is of which kind. A mixture of three
Gaussians describes them. With :math:`y = (x, 1)` and
:math:`S_k = \begin{pmatrix} \Sigma_k + \mu_k \mu_k^T & \mu_k \\ \mu_k^T & 1 \end{pmatrix}`, mean and covariance are one
positive definite matrix, whose corner need not be fixed at one: it is so at the solution,

.. math:: \max_{S_k \succ 0, \, \nu} \; \sum_i \log \sum_k \frac{e^{\nu_k}}{\sum_l e^{\nu_l}} \,
          \mathcal{N}(y_i; 0, S_k) .
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

from manifolds import Euclidean, Product, SymmetricPositiveDefinite
from rankopt import minimize

# %%
# The start: every third of the flowers, in the order of the length of their petals, is one kind.

x, kinds = load_iris().data[:, 2:], load_iris().target
y = torch.from_numpy(np.column_stack([x, np.ones(150)]))
thirds = [y[part] for part in np.array_split(np.argsort(x[:, 0]), 3)]
start = (*(part.T @ part / len(part) for part in thirds), torch.zeros(2, dtype=y.dtype))


def negative_log_likelihood(p):
    S = torch.stack(p[:3])
    weights = torch.log_softmax(torch.cat([p[3], torch.zeros(1, dtype=y.dtype)]), dim=0)
    squares = torch.sum(y.mT * torch.linalg.solve(S, y.mT), dim=1)
    log_density = 0.5 - np.log(2 * np.pi) - 0.5 * squares - 0.5 * torch.logdet(S)[:, None]
    return -torch.logsumexp(weights[:, None] + log_density, dim=0).mean()


result = minimize(negative_log_likelihood, Product(*[SymmetricPositiveDefinite(3)] * 3, Euclidean(2)), start)

# %%
# The algorithm that is usual for mixtures, expectation maximization, from the means of the same thirds ends at the same
# likelihood and the same means, in the same order by the length of the petals, and the corners are one.

S = np.stack(result.x[:3])
means, first = S[:, :2, 2], np.stack(start[:3])[:, :2, 2]
em = GaussianMixture(3, means_init=first, tol=1e-12, max_iter=5000, reg_covar=0, random_state=0).fit(x)
assert np.isclose(-result.fun, em.score(x), atol=1e-6)
assert np.allclose(S[:, :, 2], np.column_stack([em.means_, np.ones(3)]), atol=1e-3)

# %%

fig, ax = plt.subplots(figsize=(7, 5), layout="constrained")
ax.scatter(*x.T, c=kinds, cmap="viridis", s=15)
circle = np.stack([np.cos(turn := np.linspace(0, 2 * np.pi, 100)), np.sin(turn)])
for mean, matrix in zip(means, S, strict=True):
    ellipse = np.linalg.cholesky(matrix[:2, :2] - np.outer(mean, mean)) @ (2 * circle)
    ax.plot(*(mean[:, None] + ellipse), color="#D55E00")
ax.set(xlabel="length of the petal (cm)", ylabel="width of the petal (cm)")

# %%
# Ellipses at two standard deviations, and the true kinds as colours.
