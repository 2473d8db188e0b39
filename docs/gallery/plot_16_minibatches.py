r"""
Principal components of a stream
================================

Where data come in batches, each batch gives a noisy gradient of the cost, and many cheap steps take the place of a few
exact ones. The optimizers of geoopt take such steps on any manifold of this library: a parameter is a point of
``to_geoopt(manifold)``. Here it is the three-dimensional subspace onto which images project with the least loss,

.. math:: \min_{X^T X = I} \; \mathbb{E} \, \lVert z - X X^T z \rVert^2 ,

of which a step sees 50 images.
"""

import geoopt
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits

from manifolds import Grassmann, to_geoopt

# %%
# ``torch.from_numpy`` shares the memory of numpy's arrays, so batches of numpy need no copy. Steps that fall like 1 / t
# average the noise out.

images = load_digits().data - load_digits().data.mean(axis=0)
axes = np.linalg.svd(images, full_matrices=False)[2][:3].T  # the exact subspace, from all images at once
manifold, rng, angles = Grassmann(64, 3), np.random.default_rng(0), []
X = geoopt.ManifoldParameter(manifold.random_point(rng=0, like=torch.from_numpy(images)), manifold=to_geoopt(manifold))
optimizer = geoopt.optim.RiemannianSGD([X], lr=3e-3)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t / 20))
for _ in range(2000):
    batch = torch.from_numpy(images[rng.integers(len(images), size=50)])
    optimizer.zero_grad()
    loss = ((batch - batch @ X @ X.T) ** 2).sum(dim=1).mean()
    loss.backward()
    optimizer.step()
    schedule.step()
    angles.append(subspace_angles(X.detach().numpy(), axes)[0])

# %%
# The stream has found the subspace of the singular value decomposition of all images.

print(f"Angle to the exact subspace: {np.degrees(angles[-1]):.2f} degrees")
assert angles[-1] < 0.04

# %%

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.loglog(range(1, len(angles) + 1), np.degrees(angles))
ax.set(xlabel="batches seen", ylabel="largest angle to the exact subspace, degrees")
ax.grid(alpha=0.3)

# %%
# A momentum or Adam's moments are transported from step to step by geoopt; ``RiemannianAdam`` takes the same two lines.
# Where only the subspace of a stream is wanted, a :class:`~manifolds.SubspaceTracker` needs no step size at all.
