r"""
Matrix completion: a picture from a third of its pixels
=======================================================

A photograph was compressed to a matrix :math:`A` of rank 10, and then two thirds of its pixels were lost. The matrix
of rank 10 that agrees best with the pixels :math:`\Omega` that are left fills in the others:

.. math:: \min_{\operatorname{rank} X = 10} \; \tfrac12 \sum_{(i, j) \in \Omega} (X_{ij} - A_{ij})^2 .
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import load_sample_image

from manifolds import FixedRank
from rankopt import minimize

# %%
# The Euclidean gradient and Hessian products are sparse, points and tangent vectors are kept as factors, and no other
# matrix of the size of the picture is formed. The start is a truncated SVD of the picture with zeros for what is lost.

photograph = load_sample_image("china.jpg").mean(axis=2)[100:340, 160:480] / 255
matrices = FixedRank(*photograph.shape, 10)
picture = matrices.nearest_point(photograph).to_dense()
rows, columns = np.nonzero(np.random.default_rng(0).random(picture.shape) < 1 / 3)


def sparse(values):
    return csr_array((values, (rows, columns)), shape=picture.shape)


def cost_and_gradient(X):
    residual = X.entries(rows, columns) - picture[rows, columns]
    return 0.5 * residual @ residual, sparse(residual)


seen = sparse(picture[rows, columns])
result = minimize(
    cost_and_gradient,
    matrices,
    matrices.nearest_point(3 * seen),
    gradient=True,
    hessian=lambda X, V: sparse(V.entries(rows, columns)),
)
print(result.message, result.nit, "steps")

# %%
# The picture is known, and every pixel of it is found.

assert np.allclose(result.x.to_dense(), picture, atol=1e-4)

# %%

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
axes[0].imshow(np.where(seen.toarray() == 0, np.nan, picture), cmap="gray", vmin=0, vmax=1)
axes[1].imshow(result.x.to_dense(), cmap="gray", vmin=0, vmax=1)
for ax, title in zip(axes, ("a third of the pixels, the others blue", "completed"), strict=True):
    ax.set(title=title, xticks=[], yticks=[], facecolor="#56B4E9")

# %%
# ``problems.MatrixCompletion`` does this as a scikit-learn estimator, with a ridge, offsets of rows and columns, and
# losses that wrong entries do not disturb.
