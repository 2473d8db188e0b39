"""The picture of "Subspaces that follow a stream": principal components of rows whose subspace turns half way."""

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import subspace_angles
from sklearn.decomposition import IncrementalPCA

from manifolds import ConstantRank, ExactSVD, RiemannianStep, SubspaceTracker

n, p, blocks, turn = 60, 4, 300, 150
rng = np.random.default_rng(0)
true_axes = [np.linalg.qr(rng.standard_normal((n, p)))[0] for _ in range(2)]
curves = {  # name: (rule, colour told apart by colour-blind readers too, width)
    "SVD of each block alone": (ExactSVD(), "0.75", 1),
    "RiemannianStep(0.1)": (RiemannianStep(0.1), "#E69F00", 1.5),
    "RiemannianStep(0.03)": (RiemannianStep(0.03), "#D55E00", 2.2),
    "RiemannianStep(1 / t)": (RiemannianStep(), "#009E73", 1.5),
}
trackers = {name: SubspaceTracker(rule, ConstantRank(p), "right", rng=0) for name, (rule, *_) in curves.items()}
pca = IncrementalPCA(n_components=p)
angles = {name: [] for name in (*trackers, "IncrementalPCA")}
for t in range(1, blocks + 1):
    axes = true_axes[t > turn]
    rows = rng.standard_normal((20, p)) * np.linspace(2, 1, p) @ axes.T + 0.5 * rng.standard_normal((20, n))
    trackers["RiemannianStep(1 / t)"].rule = RiemannianStep(1 / t)
    for name, tracker in trackers.items():
        tracker.update(rows)
        angles[name].append(np.degrees(subspace_angles(tracker.basis, axes)[0]))
    pca.partial_fit(rows)
    angles["IncrementalPCA"].append(np.degrees(subspace_angles(pca.components_.T, axes)[0]))

fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for name, (_, color, width) in {**curves, "IncrementalPCA": (None, "#0072B2", 2.2)}.items():
    ax.plot(range(1, blocks + 1), angles[name], color=color, linewidth=width, label=name)
ax.axvline(turn, color="0.5", linestyle=":", zorder=0)
ax.text(turn + 3, 2.2, "the true subspace changes", color="0.35")
ax.set(xlabel="blocks of 20 rows", ylabel="largest angle to the subspace (degrees)", yscale="log", xlim=(1, blocks))
ax.set_yticks([2, 5, 10, 20, 45, 90], [2, 5, 10, 20, 45, 90])
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
ax.spines[["top", "right"]].set_visible(False)
