"""Two views of photographs: the adjacent left and right halves of small colour patches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HEIGHT, WIDTH, COLOURS = 12, 12, 3
"""Size of one half: a patch is 12 x 24 pixels in red, green and blue."""


class PatchViews(NamedTuple):
    """Left and right halves of the same patches, one per row."""

    left: np.ndarray
    """Shape (n, 432), float64 in [0, 1]."""
    right: np.ndarray
    """Shape (n, 432), float64 in [0, 1]."""


def photograph_patches(n_patches: int, seed: int) -> PatchViews:
    """Halves of overlapping patches of scikit-learn's two bundled photographs, at distinct random places.

    Parameters
    ----------
    n_patches : int
        Number of patches of both photographs together.
    seed : int
        Of the places.

    Returns
    -------
    PatchViews

    Raises
    ------
    ValueError
        If there are fewer places than patches asked for.
    """
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    images = load_sample_images().images
    features = HEIGHT * WIDTH * COLOURS
    views = PatchViews(np.empty((n_patches, features)), np.empty((n_patches, features)))
    first = 0
    for index, image in enumerate(images):
        stop = n_patches * (index + 1) // len(images)
        # Axes (row, column, colour, height, width): every place of a patch, as a view of the photograph.
        windows = np.lib.stride_tricks.sliding_window_view(image, (HEIGHT, 2 * WIDTH), axis=(0, 1))
        rows, columns = windows.shape[:2]
        if stop - first > rows * columns:
            raise ValueError(f"n_patches must be at most {len(images) * rows * columns}, got {n_patches}")
        places = np.sort(rng.choice(rows * columns, size=stop - first, replace=False))
        patches = windows[places // columns, places % columns] / 255.0
        views.left[first:stop] = patches[..., :WIDTH].reshape(stop - first, features)
        views.right[first:stop] = patches[..., WIDTH:].reshape(stop - first, features)
        first = stop
    return views


def as_pictures(vectors: np.ndarray) -> np.ndarray:
    """Half patches as pictures: an array of shape (432, k) becomes one of shape (k, 12, 12, 3)."""
    return np.moveaxis(vectors.T.reshape(-1, COLOURS, HEIGHT, WIDTH), 1, -1)
