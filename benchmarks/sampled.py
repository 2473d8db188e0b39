"""Minimization over samples of the sphere: ours against surrogates of scikit-learn and against the best sample.

A surrogate is fitted to all samples and minimized over 20000 fresh points of the sphere, which it is given for free.
"""

import time
import warnings

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits

from manifolds import SampledFunction, SampledManifold, SampledWarning
from problems import minimize_on_samples
from rankopt import minimize

from ._table import publish

SPECTRUM = np.array([1.0, 2.0, 4.0])
SIZES = (
    (100_000, 3, 2, 2),
    (100_000, 3, 2, 3),
    (10_000, 9, 3, 2),
    (10_000, 9, 4, 2),
    (10_000, 30, 2, 2),
    (3000, 300, 2, 2),
    (3000, 3000, 2, 2),
)
"""Samples, ambient and intrinsic dimension, degree."""


def sphere(count, seed, dim=2):
    x = np.random.default_rng(seed).standard_normal((count, dim + 1))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def surrogate(model, points, values):
    fresh = sphere(20000, 1)
    return fresh[np.argmin(model.fit(points, values).predict(fresh))]


def minimizers():
    yield "best sample", lambda points, values: points[np.argmin(values)]
    yield "kNN surrogate", lambda points, values: surrogate(KNeighborsRegressor(5, weights="distance"), points, values)
    process = GaussianProcessRegressor(RBF(0.5), alpha=1e-8, optimizer=None)
    yield "Gaussian process", lambda points, values: surrogate(process, points, values)
    for degree in (2, 3):
        yield (
            f"rankopt, degree {degree}",
            lambda points, values, degree=degree: minimize_on_samples(points, values, 2, degree=degree).x,
        )


def surface(count, size, dim, seed):
    """Points of a sphere of some dimension in a linear subspace of R^size."""
    return sphere(count, seed, dim) @ embedding(size, dim).T


def embedding(size, dim):
    return np.linalg.qr(np.random.default_rng(0).standard_normal((size, dim + 1)))[0]


def spent(run):
    """Result and processor seconds."""
    began = time.process_time()
    return run(), time.process_time() - began


def projections(count, size, dim, degree):
    points = surface(count, size, dim, 0)
    manifold, built = spent(lambda: SampledManifold(points, dim, degree))
    # Off the manifold by a tenth of the radius that a fit sees.
    queries = (1 + 0.05 * manifold.typical_dist) * surface(500, size, dim, 1)
    _, single = spent(lambda: [manifold.nearest_point(query) for query in queries[:100]])
    _, batched = spent(lambda: manifold.nearest_point(queries))
    function = SampledFunction(manifold, (points @ embedding(size, dim)) ** 2 @ np.linspace(1, 4, dim + 1))
    result, minimized = spent(lambda: minimize(function, manifold, rng=0))
    x = np.abs(embedding(size, dim).T @ result.x)
    return {
        "N": count,
        "D": size,
        "d": dim,
        "degree": degree,
        "build, s": built,
        "projection, ms": 10 * single,
        "of a batch of 500, ms": 2 * batched,
        "gain": 5 * single / batched,
        "minimize, ms": 1000 * minimized,
        "error": float(np.linalg.norm(x - np.eye(dim + 1)[0])),
    }


def main():
    rows = []
    for count in (300, 1000, 3000):
        points = sphere(count, 0)
        values = points**2 @ SPECTRUM
        for name, minimizer in minimizers():
            began = time.perf_counter()
            x = minimizer(points, values)
            seconds = time.perf_counter() - began
            error = np.linalg.norm(np.abs(x) - [1, 0, 0])
            rows.append({"samples": count, "method": name, "error": float(error), "seconds": seconds})
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", SampledWarning)
        speed = [projections(*sizes) for sizes in SIZES]
    publish("sampled", "Rayleigh quotient on the sphere from samples", rows, page=True)
    publish("sampled_projection", "Sampled spheres, processor time of one thread", speed, page=True)


if __name__ == "__main__":
    main()
