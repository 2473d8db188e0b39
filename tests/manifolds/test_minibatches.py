"""Costs of which a step sees a few terms only, by the optimizers of geoopt on our manifolds: exact minimizers."""

import geoopt
import numpy as np
import pytest
import torch
from geoopt.optim import RiemannianAdam, RiemannianSGD
from scipy.linalg import eigh, subspace_angles

from manifolds import GeneralizedStiefel, Grassmann, Oblique, Rotations, Sphere, Stiefel, to_geoopt
from tests.arrays import Kind, spd

DOUBLE = Kind("torch", "float64")
OPTIMIZERS = {
    "sgd": lambda x: RiemannianSGD([x], lr=0.3),
    "momentum": lambda x: RiemannianSGD([x], lr=0.1, momentum=0.7),
    "adam": lambda x: RiemannianAdam([x], lr=0.1, betas=(0.9, 0.99)),
}


def polar(z):
    u, _, vt = np.linalg.svd(z, full_matrices=False)
    return u @ vt


def rotation(z):
    u, _, vt = np.linalg.svd(z)
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


MEANS = {
    "sphere": (Sphere(5), lambda z: z / np.linalg.norm(z)),
    "oblique": (Oblique(4, 3), lambda z: z / np.linalg.norm(z, axis=0)),
    "stiefel": (Stiefel(6, 2), polar),
    "canonical": (Stiefel(6, 2, "canonical"), polar),
    "rotations": (Rotations(3), rotation),
}
"""Manifolds, and their points nearest to a matrix by textbook means: Procrustes where the points are frames."""


def descend(manifold, start, data, loss, optimizer, steps=400, size=8):
    """Point after steps that see a few rows of numpy data each and shrink like 1 / t."""
    x = geoopt.ManifoldParameter(start, manifold=to_geoopt(manifold))
    step, rng = optimizer(x), np.random.default_rng(0)
    schedule = torch.optim.lr_scheduler.LambdaLR(step, lambda t: 1 / (1 + t / 20))
    for _ in range(steps):
        batch = torch.from_numpy(data[rng.integers(len(data), size=size)])
        step.zero_grad()
        loss(x, batch).backward()
        step.step()
        schedule.step()
    x = x.detach().as_subclass(torch.Tensor)
    assert manifold.check_point(x) is None
    return x.numpy()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MEANS)
def test_means_of_noisy_points(name, optimizer):
    manifold, nearest = MEANS[name]
    truth = manifold.random_point(0)
    data = truth + 0.3 * np.random.default_rng(1).standard_normal((300, *manifold.shape))

    def loss(x, batch):
        return 0.5 * ((batch - x) ** 2).flatten(1).sum(dim=1).mean()

    start = manifold.retraction(truth, 0.8 * manifold.random_tangent_vector(truth, 2))
    found = descend(manifold, torch.from_numpy(start), data, loss, OPTIMIZERS[optimizer])
    assert np.linalg.norm(found - nearest(data.mean(axis=0))) < 0.06  # means of batches are off by 0.17 to 0.33


@pytest.mark.parametrize("build", [Stiefel, Grassmann])
def test_principal_components(build):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((2000, 8)) * np.array([3.0, 2.0, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    data = data @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    manifold = build(8, 2)
    found = descend(
        manifold,
        manifold.random_point(1, like=DOUBLE.like),
        data,
        lambda x, batch: ((batch - batch @ x @ x.T) ** 2).sum(dim=1).mean(),
        lambda x: RiemannianSGD([x], lr=0.05),
        steps=500,
    )
    assert subspace_angles(found, np.linalg.svd(data, full_matrices=False)[2][:2].T)[0] < 0.05


def test_generalized_eigenvectors_of_a_stream():
    """The leading ones of the pencil (E z z^T, B), in a metric M = B."""
    rng, b = np.random.default_rng(0), spd(6, 8.0, seed=3)
    root = np.linalg.cholesky(b)
    data = (rng.standard_normal((2000, 6)) * np.array([2.0, 1.5, 0.3, 0.3, 0.2, 0.2])) @ root.T
    manifold = GeneralizedStiefel(DOUBLE(b), 2, DOUBLE(b))
    found = descend(
        manifold,
        manifold.random_point(1),
        data,
        lambda x, batch: -((batch @ x) ** 2).sum(dim=1).mean(),
        lambda x: RiemannianSGD([x], lr=0.1),
        steps=500,
    )
    exact = eigh(data.T @ data, b)[1][:, -2:]
    assert subspace_angles(root.T @ found, root.T @ exact)[0] < 0.05
