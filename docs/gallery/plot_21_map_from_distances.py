r"""
A map from a table of distances
===============================

A road atlas lists how far cities are apart. Squared and centred, the distances are a matrix :math:`G` which would be
:math:`Y Y^T`, with places :math:`Y` in the plane, were the Earth flat. The best flat map is the nearest positive
semidefinite matrix of rank two,

.. math:: \min_{Y \in \mathbb{R}^{n \times 2}} \lVert Y Y^T - G \rVert_F^2 ,

and since a map may be turned and mirrored, :math:`Y` is only a factor that stands for the matrix.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import orthogonal_procrustes

from manifolds import PSDFixedRank
from rankopt import minimize

# %%
# Latitudes and longitudes serve to make the table, in thousands of kilometres along great circles.

names = "Lisbon Madrid Paris London Dublin Oslo Stockholm Helsinki Berlin Warsaw Vienna Rome Athens Kyiv"
north = np.radians([38.7, 40.4, 48.9, 51.5, 53.3, 59.9, 59.3, 60.2, 52.5, 52.2, 48.2, 41.9, 38.0, 50.5])
east = np.radians([-9.1, -3.7, 2.4, -0.1, -6.3, 10.8, 18.1, 24.9, 13.4, 21.0, 16.4, 12.5, 23.7, 30.5])
globe = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
distances = 6.371 * np.arccos(np.clip(globe.T @ globe, -1, 1))
centring = np.eye(14) - 1 / 14
G = -0.5 * centring @ distances**2 @ centring
result = minimize(
    lambda Y: np.sum((Y @ Y.T - G) ** 2),
    PSDFixedRank(14, 2),
    gradient=lambda Y: 4 * (Y @ Y.T - G) @ Y,
    hessian=lambda Y, V: 4 * ((Y @ V.T + V @ Y.T) @ Y + (Y @ Y.T - G) @ V),
    rng=0,
)

# %%
# The two largest eigenvalues and their eigenvectors give the same matrix: classical multidimensional scaling.

values, vectors = np.linalg.eigh(G)
assert np.allclose(result.x @ result.x.T, (vectors[:, -2:] * values[-2:]) @ vectors[:, -2:].T, atol=1e-5)

# %%
# To draw it with the north above, the map is turned onto the coordinates of an ordinary one.

ordinary = 6.371 * np.stack([(east - east.mean()) * np.cos(north.mean()), north - north.mean()], axis=1)
places = result.x @ orthogonal_procrustes(result.x, ordinary)[0]
fig, ax = plt.subplots(figsize=(8, 6.4), layout="constrained")
ax.plot(*places.T, "o", color="#0072B2")
for name, place in zip(names.split(), places, strict=True):
    ax.annotate(name, place, xytext=(5, 4), textcoords="offset points")
ax.set(xlabel="thousand km to the east", ylabel="thousand km to the north", aspect="equal")
ax.margins(0.12)

# %%
# The cost weighs all entries of :math:`G` alike. Costs that forgive wrong distances, or know only some of them, have no
# eigenvectors for a solution, and the same manifold.
