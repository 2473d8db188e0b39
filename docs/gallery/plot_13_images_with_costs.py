r"""
The best image of a family, from images and costs alone
=======================================================

Images of a digit that is turned and shifted form a surface of two dimensions among all images of their size. The
solver is given 1500 of these images and a cost of each; of angles and shifts it knows nothing.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter, zoom
from sklearn.datasets import load_digits

from problems import minimize_on_samples

digit = gaussian_filter(np.pad(zoom(load_digits().images[3], 2), 6), 1.5)


def image(angle, shift):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(digit.shape) - 1) / 2
    return affine_transform(digit, turn, offset=centre - turn @ (centre + np.array([shift, 0]))).ravel()


parameters = np.random.default_rng(0).uniform([-0.6, -2], [0.6, 2], (1500, 2))
images = np.array([image(angle, shift) for angle, shift in parameters])

# %%
# The cost is a distance to an image that is not among them. Every neighbourhood is reduced to the few dimensions that
# its images span, so that their 784 pixels cost little.

target = image(0.2, 0.7)
costs = np.sum((images - target) ** 2, axis=1)
found = minimize_on_samples(images, costs, start=0)
error, best = np.linalg.norm(found.x - target), np.sqrt(costs.min())
print(f"{found.result.nit} steps, error {error / best:.2g} of that of the best image")
assert error < 0.05 * best

# %%

fig, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
shown = {"start": images[0], "minimiser": found.x, "nearest image": images[found.nearest_sample], "target": target}
for ax, (title, pixels) in zip(axes, shown.items(), strict=True):
    ax.imshow(pixels.reshape(digit.shape), cmap="gray")
    ax.set_title(title)
    ax.axis("off")
