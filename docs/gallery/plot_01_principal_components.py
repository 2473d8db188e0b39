r"""
Principal components of digits
==============================

The plane onto which handwritten digits project with the least loss is a point on a Grassmann manifold: it is the plane
that counts, not the two vectors that span it. With the covariance matrix :math:`C` of the images it is the solution of

.. math:: \max_{X^T X = I} \operatorname{tr}(X^T C X) .
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits

from manifolds import Grassmann
from rankopt import QuadraticObjective, minimize

# %%
# The cost is quadratic, and saying so saves work: a step takes one product with :math:`C`, its line search none.

images, labels = load_digits(return_X_y=True)
images -= images.mean(axis=0)
covariance = images.T @ images / len(images)
result = minimize(QuadraticObjective(covariance, scale=-1), Grassmann(64, 2), rng=0)
print(result.message, result.nit, "steps")

# %%
# The singular value decomposition of the images spans the same plane.

axes = np.linalg.svd(images, full_matrices=False)[2][:2].T
assert subspace_angles(result.x, axes)[0] < 1e-4

# %%

x, y = (images @ result.x).T
fig, ax = plt.subplots(figsize=(7, 5), layout="constrained")
points = ax.scatter(x, y, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=8)
fig.colorbar(points, label="digit", ticks=range(10))
ax.set(xlabel="first coordinate in the plane", ylabel="second coordinate in the plane", aspect="equal")

# %%
# Two coordinates of 64 already tell many digits apart. For a matrix this small, the decomposition itself is the
# quicker way; the example shows the pattern for costs that no decomposition solves.
