r"""
The log of a run
================

What did a solver do, and what did it cost? Four methods look for the plane that is nearest to points of space,

.. math:: \min_{X^T X = I} \lVert Z - X X^T Z \rVert_F^2 ,

and every result brings its history along.
"""

import matplotlib.pyplot as plt
import numpy as np

from manifolds import Stiefel
from rankopt import minimize, plots

# %%
# The calls are counted here as well, from outside. Where :math:`X^T X = I` the cost is a constant less
# :math:`\lVert X^T Z \rVert_F^2`, whose gradient serves as well.

Z = np.diag([3.0, 2.0, 1.0]) @ np.random.default_rng(0).standard_normal((3, 200))
runs, calls = {}, {}


def cost_and_gradient(X):
    calls[method] = calls.get(method, 0) + 1
    return np.sum((Z - X @ (X.T @ Z)) ** 2), -2 * Z @ (Z.T @ X)


for method in ("gradient-descent", "conjugate-gradient", "lbfgs", "trust-region"):
    runs[method] = minimize(cost_and_gradient, Stiefel(3, 2), method=method, gradient=True, rng=0)
    print(f"{method}: {runs[method].message} {runs[method].nit} steps, {runs[method].nfev} evaluations")
print("The history has", ", ".join(runs["lbfgs"].history))

# %%
# The optimum is the smallest eigenvalue of :math:`Z Z^T`: what the two directions of the plane leave over.

optimum = np.linalg.eigvalsh(Z @ Z.T)[0]
for method, run in runs.items():
    assert np.isclose(run.fun, optimum)
    assert run.nfev == calls[method] == run.history.nfev[-1]
    assert len(run.history.fun) == run.nit + 1

# %%

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plots.convergence(runs, optimum=optimum, against="nfev", ax=left)
plots.convergence(runs, ax=right)

# %%
# Entries of the history are arrays with one number per step, the start included; time is among them.
