r"""
The dominant eigenvector, with its derivatives checked
======================================================

The dominant eigenvector of a symmetric matrix :math:`A` is the largest unit vector by the measure

.. math:: \max_{\lVert x \rVert = 1} x^T A x .

A gradient with a wrong factor still goes downhill, slowly, and the mistake is hard to see in a run. It shows at once in
a Taylor expansion along a retraction: how fast does its error fall with the step?
"""

import matplotlib.pyplot as plt
import numpy as np

from manifolds import Sphere, check_gradient, check_hessian, check_retraction
from rankopt import minimize

# %%
# A forgotten factor of two is the most common mistake of all.

sphere, A = Sphere(128), np.random.default_rng(0).standard_normal((128, 128))
A = (A + A.T) / 2


def cost(x):
    return -x @ A @ x


verdicts = {
    "gradient": check_gradient(cost, sphere, lambda x: -2 * A @ x, rng=0),
    "gradient without the factor 2": check_gradient(cost, sphere, lambda x: -A @ x, rng=0),
    "Hessian": check_hessian(cost, sphere, lambda x: -2 * A @ x, lambda x, v: -2 * A @ v, rng=0),
    "retraction, to second order": check_retraction(sphere, order=2, rng=0),
}
for verdict in verdicts.values():
    print(verdict.message)
assert [bool(verdict) for verdict in verdicts.values()] == [True, False, True, True]
assert np.allclose([verdict.slope for verdict in verdicts.values()], [2, 1, 3, 3], atol=0.15)

# %%
# What has passed its checks can be trusted to the solver. The oracle is an eigendecomposition.

result = minimize(cost, sphere, gradient=lambda x: -2 * A @ x, hessian=lambda x, v: -2 * A @ v, rng=0)
values, vectors = np.linalg.eigh(A)
assert np.isclose(-result.fun, values[-1])
assert np.isclose(abs(result.x @ vectors[:, -1]), 1)

# %%

fig, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
for ax, (name, verdict) in zip(axes.flat, verdicts.items(), strict=True):
    verdict.plot(ax).set_title(f"{'passed' if verdict else 'failed'}: {name}")

# %%
# Dashed lines have the slope that a correct expansion has. :func:`manifolds.check_manifold` checks a manifold of one's
# own in the same manner.
