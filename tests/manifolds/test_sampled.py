"""Sampled manifolds against spheres, tori and rotations in closed form."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import special_ortho_group
from threadpoolctl import threadpool_info, threadpool_limits

from manifolds import SampledFunction, SampledManifold, estimate_dimension
from manifolds.sampled.neighbours import Neighbours
from tests.manifolds.surfaces import cost, cost_gradient, sphere, torus, torus_distance_and_normal


def rms(x):
    return float(np.sqrt(np.mean(x**2)))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_projection_is_idempotent(degree):
    manifold = SampledManifold(torus(3000), 2, degree)
    point = manifold.nearest_point(1.01 * torus(50, seed=1))
    assert np.abs(manifold.nearest_point(point) - point).max() < 1e-12


def test_projection_is_idempotent_in_many_coordinates():
    points = special_ortho_group.rvs(3, size=3000, random_state=0).reshape(-1, 9)
    manifold = SampledManifold(points, 3)
    point = manifold.nearest_point(points[:50] + 0.02 * np.random.default_rng(0).standard_normal((50, 9)))
    assert np.abs(manifold.nearest_point(point) - point).max() < 1e-12


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_affine_cost_is_exact(degree):
    points = torus(3000)
    manifold, direction = SampledManifold(points, 2, degree), np.array([0.3, -1.0, 2.0])
    found = manifold.fit(1.01 * torus(50, seed=1))
    coefficients, _, _ = found.fit_values(points @ direction + 0.7)
    assert np.abs(coefficients[:, 0] - found.point @ direction - 0.7).max() < 1e-12


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_orders_of_convergence_on_the_torus(degree):
    errors, counts = [], np.array([4000, 16000, 64000])
    for count in counts:
        points = torus(count)
        manifold = SampledManifold(points, 2, degree)
        found = manifold.fit(points[np.random.default_rng(1).choice(count, 300, replace=False)])
        distance, normal = torus_distance_and_normal(found.point)
        coefficients, derivative, _ = found.fit_values(cost(points))
        gradient = cost_gradient(found.point)
        tangential = gradient - np.sum(gradient * normal, axis=-1, keepdims=True) * normal
        lean = np.linalg.norm(normal[:, None, :] @ found.basis, axis=(-2, -1))
        errors.append(
            [
                rms(distance),
                rms(lean),
                rms(coefficients[:, 0] - cost(found.point)),
                rms(found.lift(derivative) - tangential),
            ]
        )
    # Random samples of a surface have a spacing of N^(-1/2).
    slopes = np.polyfit(-0.5 * np.log(counts), np.log(errors), 1)[0]
    assert np.all(slopes > np.array([degree + 1, degree, degree + 1, degree]) - 0.3), slopes


def test_orders_of_convergence_on_stiefel_samples():
    # Frames of two vectors in R^3 are points of R^6 with X^T X = I, a manifold of dimension 3.
    errors, counts = [], np.array([3000, 24000])
    for count in counts:
        frames = special_ortho_group.rvs(3, size=count, random_state=0)[:, :, :2]
        found = SampledManifold(frames.reshape(count, 6), 3).fit(frames[:200].reshape(-1, 6))
        landed = found.point.reshape(-1, 3, 2)
        errors.append(rms(landed.mT @ landed - np.eye(2)))
    assert np.log(errors[0] / errors[1]) / np.log(counts[1] / counts[0]) * 3 > 3 - 0.3


@pytest.mark.filterwarnings("ignore::manifolds.SampledWarning")  # with degree 1 one of the points lies at a gap
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_gradient_error_bounds_the_error(degree):
    points = torus(4000)
    found = SampledManifold(points, 2, degree).fit(torus(300, seed=1))
    _, normal = torus_distance_and_normal(found.point)
    _, derivative, bound = found.fit_values(cost(points))
    gradient = cost_gradient(found.point)
    error = found.lift(derivative) - gradient + np.sum(gradient * normal, axis=-1, keepdims=True) * normal
    assert np.quantile(np.linalg.norm(error, axis=-1) / bound, 0.99) < 4


@pytest.mark.parametrize("size", [3, 300])
def test_isometric_embedding_changes_nothing(size):
    points, queries = torus(2000), 1.01 * torus(40, seed=1)
    embedding = np.linalg.qr(np.random.default_rng(2).standard_normal((size, 3)))[0]
    shift = np.random.default_rng(3).standard_normal(size)
    low = SampledManifold(points, 2).fit(queries)
    high = SampledManifold(points @ embedding.T + shift, 2).fit(queries @ embedding.T + shift)
    assert np.abs(high.point - (low.point @ embedding.T + shift)).max() < 1e-10
    spaces = (low.basis @ low.basis.mT, embedding.T @ high.basis @ high.basis.mT @ embedding)
    assert np.abs(spaces[0] - spaces[1]).max() < 1e-10
    for values in (cost(points), points[:, 0]):
        assert np.abs(low.fit_values(values)[0][:, 0] - high.fit_values(values)[0][:, 0]).max() < 1e-10


def test_three_thousand_dimensions():
    points, queries = sphere(600), sphere(5, seed=1)
    embedding = np.linalg.qr(np.random.default_rng(2).standard_normal((3000, 3)))[0]
    low = SampledManifold(points, 2).nearest_point(queries)
    manifold = SampledManifold(points @ embedding.T, 2)
    assert np.abs(manifold.nearest_point(queries @ embedding.T) - low @ embedding.T).max() < 1e-10


def test_single_points_agree_with_batches_and_torch_with_numpy():
    points, queries = torus(2000), 1.01 * torus(20, seed=1)
    manifold = SampledManifold(points, 2)
    batch = manifold.nearest_point(queries)
    assert np.abs(np.stack([manifold.nearest_point(q) for q in queries]) - batch).max() < 1e-12
    assert np.abs(manifold.nearest_point(queries.reshape(4, 5, 3)).reshape(20, 3) - batch).max() < 1e-12
    in_torch = SampledManifold(torch.from_numpy(points), 2).nearest_point(torch.from_numpy(queries))
    assert np.abs(in_torch.numpy() - batch).max() < 1e-10
    wide = np.concatenate([points, np.zeros((2000, 22))], axis=1)
    by_products = SampledManifold(torch.from_numpy(wide), 2).nearest_point(torch.from_numpy(wide[:20]))
    assert np.abs(by_products.numpy()[:, :3] - manifold.nearest_point(points[:20])).max() < 1e-10


def test_blocks_of_points_are_fitted_as_one(monkeypatch):
    points, queries = torus(2000), torus(30, seed=1)
    function = SampledFunction(SampledManifold(points, 2), cost(points))
    whole = function.fitted(queries)
    monkeypatch.setattr("manifolds.sampled.local_fit._BLOCK_ENTRIES", 1500)
    monkeypatch.setattr("manifolds.sampled.neighbours._BLOCK_ENTRIES", 5000)
    for one, other in zip(function.fitted(queries), whole, strict=True):
        assert np.abs(one - other).max() < 1e-12


def test_a_manifold_can_be_pickled():
    manifold = SampledManifold(torus(2000), 2)
    point = manifold.nearest_point(torus(5, seed=1))
    assert np.array_equal(pickle.loads(pickle.dumps(manifold)).nearest_point(torus(5, seed=1)), point)


def test_fits_use_one_thread_of_the_blas(monkeypatch):
    def threads(*_):
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(limits=2, user_api="blas"):
        monkeypatch.setattr("manifolds.sampled.manifold.fit", threads)
        assert SampledManifold(torus(500), 2).fit(torus(1)) == {1}
        assert threads() == {2}


@pytest.mark.parametrize("size", [3, 25])
def test_neighbours_against_all_distances(size):
    rng = np.random.default_rng(0)
    points, queries = 1e3 + rng.standard_normal((300, size)), 1e3 + rng.standard_normal((7, size))
    neighbours = Neighbours(points)
    neighbours.set_radii(rng.uniform(0.3, 3, 300) * size**0.5)
    distances = np.linalg.norm(queries[:, None] - points, axis=-1)
    found, indices = neighbours.nearest(queries, 9)
    assert np.array_equal(indices, np.argsort(distances, axis=-1)[:, :9])
    assert np.abs(found - np.sort(distances, axis=-1)[:, :9]).max() < 1e-12
    indices, mask = neighbours.supporting(queries, 1.3)
    for row, kept, distance in zip(indices, mask, distances, strict=True):
        assert set(row[kept]) == set(np.flatnonzero(distance < 1.3 * neighbours.radii))


def test_single_precision_is_within_twice_the_error():
    points, queries, errors = torus(3000), torus(100, seed=1), []
    for dtype in (np.float64, np.float32):
        found = SampledManifold(points.astype(dtype), 2).fit(queries.astype(dtype))
        assert found.point.dtype == found.basis.dtype == dtype
        distance, normal = torus_distance_and_normal(found.point.astype(float))
        gradient = cost_gradient(found.point.astype(float))
        tangential = gradient - np.sum(gradient * normal, axis=-1, keepdims=True) * normal
        fitted = found.lift(found.fit_values(cost(points).astype(dtype))[1])
        errors.append([rms(distance), rms(normal[:, None, :] @ found.basis), rms(fitted - tangential)])
    assert np.all(np.array(errors[1]) < 2 * np.array(errors[0]))


def test_weights_are_smooth_along_a_line():
    points = torus(4000)
    function = SampledFunction(SampledManifold(points, 2), cost(points))
    x = function.manifold.nearest_point(points[7])
    line = x + np.linspace(0, 0.02, 201)[:, None] * function.manifold.random_tangent_vector(x, 0)
    # A step of 1e-4 on a smooth function; a sample that came in with a jump of weight would show as 1e-5.
    second = np.diff(function.fitted(line)[0], 2)
    assert np.abs(second).max() < 1e-7
    assert np.abs(np.diff(second)).max() < 1e-9


def test_supports_follow_the_density():
    points = sphere(40000)
    kept = np.random.default_rng(5).uniform(size=40000) < np.exp(-2.2 * (1 + points[:, 2]))
    manifold = SampledManifold(points[kept], 2)
    assert manifold.radii.max() > 8 * manifold.radii.min()
    # With the largest radius everywhere it would be about 5e-4.
    assert rms(np.linalg.norm(manifold.nearest_point(sphere(200, 1)), axis=-1) - 1) < 1.2e-4


@pytest.mark.parametrize(("noise", "distance", "lean"), [(1e-3, 3e-4, 5e-3), (1e-2, 1.5e-3, 1e-2)])
def test_supports_average_over_noise(noise, distance, lean):
    points = sphere(20000) + noise * np.random.default_rng(5).standard_normal((20000, 3))
    found = SampledManifold(points, 2, noise=noise).fit(sphere(100, 1))
    assert rms(np.linalg.norm(found.point, axis=-1) - 1) < distance
    assert rms(np.linalg.norm(found.point[:, None, :] @ found.basis, axis=(-2, -1))) < lean
    plain = SampledManifold(points, 2).fit(sphere(100, 1))
    assert rms(np.linalg.norm(plain.point, axis=-1) - 1) > 2 * distance


def test_retraction_and_transport_on_the_sphere():
    manifold = SampledManifold(sphere(30000), 2, 3)
    x = manifold.nearest_point(np.array([0.6, 0.0, 0.8]))
    v = manifold.random_tangent_vector(x, rng=0)
    assert np.abs(manifold.retraction(x, 0 * v) - x).max() < 1e-12
    v, steps = v / np.linalg.norm(v), np.array([0.2, 0.1, 0.05])
    exact = np.cos(steps)[:, None] * x + np.sin(steps)[:, None] * v
    errors = [np.linalg.norm(manifold.retraction(x, t * v) - y) for t, y in zip(steps, exact, strict=True)]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] > 2.7
    curve = manifold.at(x).retraction_curve(0.05 * v)
    numeric = (curve.point(1 + 1e-5) - curve.point(1 - 1e-5)) / 2e-5
    # To the offset of x + v from the manifold, times its curvature.
    assert np.linalg.norm(curve.velocity(1.0) - numeric) < 3e-3 * np.linalg.norm(numeric)
    y, w = curve.point(1.0), manifold.random_tangent_vector(x, rng=1)
    assert np.linalg.norm(manifold.transport(x, y, w) - (w - y * (y @ w))) < 1e-4 * np.linalg.norm(w)


def test_points_are_checked_with_a_reason():
    manifold = SampledManifold(sphere(3000), 2)
    points = manifold.random_point(0, batch=(3, 2))
    assert points.shape == (3, 2, 3)
    assert manifold.check_point(points) is None
    assert np.abs(np.linalg.norm(points, axis=-1) - 1).max() < 1e-3
    x = points[0, 0]
    assert "the point is off the manifold" in manifold.check_point(1.01 * x)
    assert "far from the data" in manifold.check_point(3 * x)
    assert manifold.check_tangent(x, manifold.random_tangent_vector(x, 0)) is None
    assert "not tangent" in manifold.check_tangent(x, x)
    in_torch = SampledManifold(torch.from_numpy(sphere(3000)), 2)
    assert in_torch.check_point(in_torch.random_point(torch.Generator().manual_seed(0))) is None


def test_foot_point_is_the_orthogonal_projection():
    points = sphere(4000)
    manifold, queries = SampledManifold(points, 2), sphere(50, seed=1)
    plain = rms(manifold.nearest_point(1.05 * queries) - queries)
    assert rms(manifold.foot_point(1.05 * queries) - queries) < 0.2 * plain


def test_hessians_on_the_sphere():
    points = sphere(20000)
    a = np.diag([1.0, 2.0, 4.0])
    function = SampledFunction(SampledManifold(points, 2, 3), np.sum(points @ a * points, axis=-1))
    x = function.manifold.nearest_point(np.array([0.6, 0.0, 0.8]))
    v = function.manifold.random_tangent_vector(x, rng=0)
    exact = 2 * (a @ v - x * (x @ a @ v) - (x @ a @ x) * v)
    assert np.linalg.norm(function.at(x).hessian_product(v) - exact) < 2e-2
    assert np.linalg.norm(function.manifold.at(x).riemannian_hessian(2 * a @ x, 2 * a @ v, v) - exact) < 2e-2


def test_hessians_agree_on_linear_costs():
    # These the fit reproduces, so that both ways to a Hessian see the same curvature of the graph, tilted or not.
    points, a = torus(1000), np.array([0.3, -1.0, 2.0])
    manifold = SampledManifold(points, 2)
    function = SampledFunction(manifold, points @ a)
    for x in manifold.nearest_point(torus(5, seed=1)):
        v = manifold.random_tangent_vector(x, rng=0)
        from_gradient = manifold.at(x).riemannian_hessian(a, 0 * a, v)
        assert np.abs(function.at(x).hessian_product(v) - from_gradient).max() < 1e-10


def test_an_exact_cost_replaces_the_fitted_one():
    points = torus(1000)
    function = SampledFunction(SampledManifold(points, 2), cost(points), cost=lambda x: cost(x[None, :])[0])
    x = function.manifold.nearest_point(points[3])
    assert function.at(x).value == cost(x[None, :])[0]


def test_error_of_an_exact_gradient_is_that_of_its_projection():
    manifold = SampledManifold(torus(4000), 2)
    function = SampledFunction(
        manifold, cost=lambda x: cost(x[None, :])[0], gradient=lambda x: cost_gradient(x[None, :])[0]
    )
    ratios = []
    for x in manifold.nearest_point(torus(100, seed=1)):
        _, normal = torus_distance_and_normal(x[None, :])
        gradient, evaluation = cost_gradient(x[None, :])[0], function.at(x)
        error = np.linalg.norm(evaluation.gradient - gradient + normal[0] * (normal[0] @ gradient))
        ratios.append(error / evaluation.gradient_error)
    assert np.quantile(ratios, 0.99) < 4


def test_dimension_is_estimated():
    assert SampledManifold(torus(2000)).dim == 2
    assert estimate_dimension(special_ortho_group.rvs(3, size=5000, random_state=0).reshape(-1, 9)) == 3
    noisy = sphere(3000) + 1e-2 * np.random.default_rng(0).standard_normal((3000, 3))
    with pytest.raises(ValueError, match="the dimension of points is unclear: TwoNN estimates"):
        estimate_dimension(np.concatenate([noisy, np.random.default_rng(1).standard_normal((3000, 3))], axis=1))


def test_hessian_of_an_exact_gradient():
    manifold, a = SampledManifold(sphere(20000), 2, 3), np.array([1.0, 2.0, 4.0])
    function = SampledFunction(
        manifold, cost=lambda x: x**2 @ a, gradient=lambda x: 2 * a * x, hessian=lambda x, v: 2 * a * v
    )
    x = manifold.nearest_point(np.array([0.6, 0.0, 0.8]))
    v = manifold.random_tangent_vector(x, rng=0)
    exact = 2 * (a * v - x * (x @ (a * v)) - (x @ (a * x)) * v)
    assert np.linalg.norm(function.at(x).hessian_product(v) - exact) < 2e-2


def test_many_points_are_evaluated_at_once():
    points = torus(16000)
    function = SampledFunction(SampledManifold(points, 2, 3), cost(points))
    queries = function.manifold.nearest_point(torus(12, seed=1)).reshape(3, 4, 3)
    values, gradients, errors = function.fitted(queries)
    assert values.shape == errors.shape == (3, 4)
    assert gradients.shape == (3, 4, 3)
    assert np.abs(values - cost(queries.reshape(-1, 3)).reshape(3, 4)).max() < 1e-4
    one = function.at(queries[1, 2])
    assert abs(one.value - values[1, 2]) < 1e-12
    assert np.abs(one.gradient - gradients[1, 2]).max() < 1e-10
    assert abs(one.gradient_error - errors[1, 2]) < 1e-10
