r"""
Maximum cut of a graph
======================

Split the nodes of a graph in two so that as many edges as possible run between the parts: a hard problem, whose
relaxation puts a unit vector :math:`v_i` in place of each sign. Burer and Monteiro keep the vectors short, and the
matrix :math:`V` of them is a point on an oblique manifold,

.. math:: \max_{\operatorname{diag}(V^T V) = 1} \tfrac14 \operatorname{tr}(V L V^T), \qquad L \text{ the Laplacian.}
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist

from manifolds import Oblique
from rankopt import minimize

# %%
# With Hessian products given, ``minimize`` takes a trust region. For almost every graph, eleven
# dimensions for 60 nodes leave no spurious optimum, since :math:`k (k + 1) / 2 > 60`.

rng = np.random.default_rng(0)
nodes = rng.random((60, 2))
edges = (cdist(nodes, nodes) < 0.22) & ~np.eye(60, dtype=bool)
L = np.diag(edges.sum(axis=1)) - edges.astype(float)
result = minimize(
    lambda V: -0.25 * np.sum(V * (V @ L)),
    Oblique(11, 60),
    gradient=lambda V: -0.5 * V @ L,
    hessian=lambda V, W: -0.5 * W @ L,
    rng=0,
)
V = result.x

# %%
# Duality gives a bound on *every* cut from any vector y; at the optimum it meets the relaxation. Random hyperplanes
# then turn unit vectors into signs.

y = np.sum(V * (V @ L), axis=0)
bound = (y.sum() + 60 * max(np.linalg.eigvalsh(L - np.diag(y))[-1], 0)) / 4
assert abs(bound + result.fun) <= 1e-6 * bound
signs = np.sign(rng.standard_normal((200, 11)) @ V)
cuts = 0.25 * np.sum(signs * (signs @ L), axis=1)
side, cut = signs[np.argmax(cuts)], cuts.max()
assert 0.878 * bound <= cut <= bound

# %%

fig, ax = plt.subplots(figsize=(7, 6), layout="constrained")
for i, j in np.argwhere(np.triu(edges)):
    ax.plot(*nodes[[i, j]].T, color="#009E73" if side[i] != side[j] else "0.8", linewidth=1, zorder=1)
ax.scatter(*nodes.T, c=side, cmap="coolwarm", edgecolor="k", s=60, zorder=2)
ax.set(xlabel="x", ylabel="y", aspect="equal", title=f"{cut:.0f} of {edges.sum() // 2} edges cut, bound {bound:.2f}")

# %%
# Cut edges are green. The bound proves how little any better cut could gain.
