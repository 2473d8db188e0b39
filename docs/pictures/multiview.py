"""The picture of "Several views": correlations between the quarters of digits, in and out of sample, pair by pair."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from problems import MultiviewCCA

images = load_digits().images / 16
quarters = {"upper left": (0, 0), "upper right": (0, 4), "lower left": (4, 0), "lower right": (4, 4)}
views = [images[:, i : i + 4, j : j + 4].reshape(-1, 16) for i, j in quarters.values()]
train, test = ([view[rows] for view in views] for rows in (slice(0, 1200), slice(1200, None)))
cca = MultiviewCCA(8, reg=1e-3).fit(train)
pairs = np.triu_indices(4, 1)
training = [matrix[pairs].mean() for matrix in cca.pairwise_correlations_]
held_out = [np.corrcoef([part[:, k] for part in cca.transform(test)])[pairs].mean() for k in range(8)]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.plot(range(1, 9), training, "o-", color="#0072B2", label="training rows")
left.plot(range(1, 9), held_out, "s--", color="#D55E00", label="held-out rows")
left.set(xlabel="component", ylabel="mean correlation between quarters", ylim=(0, None))
left.legend()
picture = right.imshow(cca.pairwise_correlations_[0], vmin=0, vmax=1, cmap="cividis")
for i in range(4):
    for j in range(4):
        value = cca.pairwise_correlations_[0, i, j]
        right.text(j, i, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.6 else "white")
right.set_xticks(range(4), [name.replace(" ", "\n") for name in quarters])
right.set_yticks(range(4), list(quarters))
right.set_title("correlations of the first component")
