"""
Images without a model of them
==============================

A digit was turned and shifted by unknown amounts, three thousand times, and every image came with a cost. Nothing else
is known: neither angles nor shifts, nor that there are three of them. Which image, of all that such a camera could have
taken, would cost least?
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import load_digits

from problems import minimize_on_samples

# %%
# The images come from this function, which the optimization does not see.

digit = gaussian_filter(np.pad(load_digits().images[3], 4), 1.0)
pixels = np.stack(np.meshgrid(np.arange(16) - 7.5, np.arange(16) - 7.5, indexing="ij"))


def image(angle, down, right):
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = np.tensordot(turn, pixels - np.reshape([down, right], (2, 1, 1)), axes=1)
    return map_coordinates(digit, moved + 7.5).ravel()


poses = np.random.default_rng(0).uniform(-1, 1, (3000, 3)) * [0.6, 1.5, 1.5]
images = np.stack([image(*pose) for pose in poses])
wanted = np.array([0.2, -0.5, 0.4])
costs = np.sum(((poses - wanted) * [3, 1, 1]) ** 2, axis=1)

# %%
# Only images, points of a space of 256 dimensions, and costs go in. The start is an image near the middle of all.

start = np.argmin(np.linalg.norm(images - images.mean(axis=0), axis=1))
found = minimize_on_samples(images, costs, start=start)
print(found.result.message, found.result.nit, "steps")

# %%
# The image found is the one of the cheapest pose, which is not among the samples.

best = image(*wanted)
assert np.linalg.norm(found.x - best) < 5e-3 * np.linalg.norm(best)
assert np.linalg.norm(images[np.argmin(costs)] - best) > 2e-2 * np.linalg.norm(best)

# %%

shown = {"start": images[start], "best sample": images[np.argmin(costs)], "found": found.x, "cheapest pose": best}
fig, axes = plt.subplots(2, 4, figsize=(9, 5), layout="constrained")
for column, (title, x) in zip(axes.T, shown.items(), strict=True):
    column[0].imshow(x.reshape(16, 16), cmap="gray")
    column[0].set(title=title)
    column[1].imshow((x - best).reshape(16, 16), cmap="PuOr", vmin=-1, vmax=1)
axes[1, 0].set(ylabel="less the cheapest")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
