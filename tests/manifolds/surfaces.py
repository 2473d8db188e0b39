"""Surfaces with known normals, sampled at random."""

import numpy as np


def sphere(count, seed=0):
    x = np.random.default_rng(seed).standard_normal((count, 3))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def torus(count, seed=0, minor=0.4):
    rng = np.random.default_rng(seed)
    u, v, w = rng.uniform(0, 1, (3, 3 * count))
    u, v = 2 * np.pi * u, 2 * np.pi * v
    kept = np.flatnonzero(w < (1 + minor * np.cos(v)) / (1 + minor))[:count]
    u, v = u[kept], v[kept]
    ring = 1 + minor * np.cos(v)
    return np.stack([ring * np.cos(u), ring * np.sin(u), minor * np.sin(v)], axis=-1)


def torus_distance_and_normal(x, minor=0.4):
    centre = x * [1, 1, 0]
    centre = centre / np.linalg.norm(centre, axis=-1, keepdims=True)
    away = x - centre
    length = np.linalg.norm(away, axis=-1, keepdims=True)
    return abs(length[:, 0] - minor), away / length


def cost(x):
    return np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]


def cost_gradient(x):
    return np.stack([2 * np.cos(2 * x[:, 0]), x[:, 2], x[:, 1]], axis=-1)
