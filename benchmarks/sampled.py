"""Minimization over samples of the sphere: ours against surrogates of scikit-learn and against the best sample.

A surrogate is fitted to all samples and minimized over 20000 fresh points of the sphere, which it is given for free.
"""

import time

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits

from manifolds import SampledManifold
from problems import minimize_on_samples

from ._table import publish

SPECTRUM = np.array([1.0, 2.0, 4.0])


def sphere(count, seed):
    x = np.random.default_rng(seed).standard_normal((count, 3))
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


def projections():
    for name, count, size in (("R^3", 100_000, 3), ("R^3000", 3000, 3000)):
        embedding = np.linalg.qr(np.random.default_rng(0).standard_normal((size, 3)))[0]
        points, queries = sphere(count, 0) @ embedding.T, 1.01 * sphere(500, 1) @ embedding.T
        began = time.perf_counter()
        manifold = SampledManifold(points, 2)
        built = time.perf_counter()
        for query in queries[:100]:
            manifold.nearest_point(query)
        single = time.perf_counter()
        manifold.nearest_point(queries)
        batched = time.perf_counter()
        yield {
            "samples": f"{count} in {name}",
            "build, s": built - began,
            "projection, ms": 10 * (single - built),
            "batched, ms": 2 * (batched - single),
            "gain of batches": 5 * (single - built) / (batched - single),
        }


def main():
    rows = []
    for count in (300, 3000):
        points = sphere(count, 0)
        values = points**2 @ SPECTRUM
        for name, minimizer in minimizers():
            began = time.perf_counter()
            x = minimizer(points, values)
            seconds = time.perf_counter() - began
            error = np.linalg.norm(np.abs(x) - [1, 0, 0])
            rows.append({"samples": count, "method": name, "error": float(error), "seconds": seconds})
    with threadpool_limits(limits=1):
        speed = list(projections())
    publish("sampled", "Rayleigh quotient on the sphere from samples", rows)
    publish("sampled_projection", "Projection onto a sampled sphere, degree 2, one thread", speed)


if __name__ == "__main__":
    main()
