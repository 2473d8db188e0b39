r"""
The nearest rotation, from samples of rotations
===============================================

The rotation nearest to a matrix :math:`A` (the Procrustes problem) is known in closed form. Here the solver is told
nothing of rotations: it sees random ones as points of :math:`R^9`, and the cost
:math:`-\operatorname{tr}(A^T R)` at each.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import special_ortho_group

from problems import minimize_on_samples

A = np.random.default_rng(1).standard_normal((3, 3))
u, _, vt = np.linalg.svd(A)
nearest = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt

# %%
# The dimension, three, is estimated from the samples. The error falls with the gaps among them as their power
# degree + 1 for a linear cost; that of the best sample falls as the gaps do.

counts, errors, best = [1000, 4000, 16000], [], []
for count in counts:
    samples = special_ortho_group.rvs(3, size=count, random_state=0)
    costs = -np.sum(samples * A, axis=(1, 2))
    found = minimize_on_samples(samples.reshape(count, 9), costs)
    errors.append(np.linalg.norm(found.x.reshape(3, 3) - nearest))
    best.append(np.linalg.norm(samples[np.argmin(costs)] - nearest))
print("errors", np.round(errors, 5), "of the best samples", np.round(best, 5))
assert errors[-1] < 0.05 * best[-1]

# %%

fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.loglog(counts, best, "s--", label="best sample")
axes.loglog(counts, errors, "o-", label="minimize_on_samples, degree 2")
axes.set(xlabel="number of samples", ylabel="distance to the nearest rotation")
axes.legend()

# %%
# Where a manifold is known in closed form, use it: ``Rotations(3)`` with the same cost is exact.
