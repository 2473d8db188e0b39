r"""
A photograph in few terms
=========================

A picture :math:`A` that is a sum of :math:`r` products, each of a column and a row, is a matrix of rank :math:`r`. How
close can such a sum come to a photograph?

.. math:: \min_{\operatorname{rank} X = r} \; \tfrac12 \lVert X - A \rVert_F^2 .
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from manifolds import FixedRank
from rankopt import minimize

# %%
# Points are kept as factors, and so are tangent vectors. The second derivative of the cost is the identity: a Hessian
# product is the vector itself.

photograph = load_sample_image("flower.jpg").mean(axis=2)[40:380:2, 160:560:2] / 255
results = {
    rank: minimize(
        lambda X: 0.5 * np.sum((X.to_dense() - photograph) ** 2),
        FixedRank(*photograph.shape, rank),
        gradient=lambda X: X.to_dense() - photograph,
        hessian=lambda X, V: V,
        rng=0,
    )
    for rank in (1, 2, 4, 8, 16, 32)
}

# %%
# By the theorem of Eckart, Young and Mirsky the best is a truncated singular value decomposition, and what is missing
# are the squares of the singular values beyond :math:`r`.

u, s, vt = np.linalg.svd(photograph, full_matrices=False)
for rank, result in results.items():
    assert np.isclose(result.fun, 0.5 * np.sum(s[rank:] ** 2), rtol=1e-8)
    assert np.allclose(result.x.to_dense(), (u[:, :rank] * s[:rank]) @ vt[:rank], atol=1e-3)

# %%

fig, axes = plt.subplots(2, 2, figsize=(9, 7.4), layout="constrained")
images = {"photograph": photograph} | {f"rank {r}": results[r].x.to_dense() for r in (2, 8, 32)}
for ax, (title, image) in zip(axes.flat, images.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set(title=title, xticks=[], yticks=[])

# %%
# Every run started at a random matrix and found the global optimum. For this cost the decomposition is the shorter way;
# with weights on the pixels, or with pixels missing, there is none.
