"""Sampled manifolds against spheres, tori and rotations in closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import special_ortho_group

from manifolds import SampledFunction, SampledManifold, SampledWarning, TooFewSamplesError, estimate_dimension
from tests.manifolds.surfaces import cost, cost_gradient, sphere, torus, torus_distance_and_normal


def rms(x):
    return float(np.sqrt(np.mean(x**2)))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_projection_is_idempotent(degree):
    manifold = SampledManifold(torus(3000), 2, degree)
    point = manifold.nearest_point(1.01 * torus(50, seed=1))
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


def test_isometric_embedding_in_high_dimension_changes_nothing():
    points, queries = sphere(2000), 1.01 * sphere(40, seed=1)
    embedding = np.linalg.qr(np.random.default_rng(2).standard_normal((300, 3)))[0]
    shift = np.random.default_rng(3).standard_normal(300)
    low = SampledManifold(points, 2).nearest_point(queries)
    high = SampledManifold(points @ embedding.T + shift, 2).nearest_point(queries @ embedding.T + shift)
    assert np.abs(high - (low @ embedding.T + shift)).max() < 1e-10


def test_single_points_agree_with_batches_and_torch_with_numpy():
    points, queries = torus(2000), 1.01 * torus(20, seed=1)
    manifold = SampledManifold(points, 2)
    batch = manifold.nearest_point(queries)
    assert np.abs(np.stack([manifold.nearest_point(q) for q in queries]) - batch).max() < 1e-12
    assert np.abs(manifold.nearest_point(queries.reshape(4, 5, 3)).reshape(20, 3) - batch).max() < 1e-12
    in_torch = SampledManifold(torch.from_numpy(points), 2).nearest_point(torch.from_numpy(queries))
    assert np.abs(in_torch.numpy() - batch).max() < 1e-10


def test_single_precision_is_within_twice_the_error():
    points, queries = torus(3000), torus(100, seed=1)
    double = torus_distance_and_normal(SampledManifold(points, 2).nearest_point(queries))[0]
    single = SampledManifold(points.astype(np.float32), 2).nearest_point(queries.astype(np.float32))
    assert single.dtype == np.float32
    assert rms(torus_distance_and_normal(single.astype(float))[0]) < 2 * rms(double)


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


def test_dimension_is_estimated():
    assert SampledManifold(torus(2000)).dim == 2
    assert estimate_dimension(special_ortho_group.rvs(3, size=5000, random_state=0).reshape(-1, 9)) == 3
    noisy = sphere(3000) + 1e-2 * np.random.default_rng(0).standard_normal((3000, 3))
    with pytest.raises(ValueError, match="the dimension of points is unclear: TwoNN estimates"):
        estimate_dimension(np.concatenate([noisy, np.random.default_rng(1).standard_normal((3000, 3))], axis=1))


def test_hole_is_an_error_with_counts():
    points = sphere(3000)
    manifold = SampledManifold(points[points[:, 2] < 0.9], 2)
    with pytest.raises(TooFewSamplesError, match=r"far from the data: the nearest sample is .* its support radius"):
        manifold.nearest_point(np.array([0.0, 0.0, 1.0]))
    line = np.zeros((200, 3))
    line[:, 0] = np.linspace(0, 1, 200)
    with pytest.raises(TooFewSamplesError, match=r"condition number .* samples within .* would extrapolate"):
        SampledManifold(line, 2).nearest_point(line[100])


def test_edge_warns_then_refuses():
    points = sphere(3000)
    manifold = SampledManifold(points[points[:, 2] < 0.5], 2)
    with pytest.warns(SampledWarning, match=r"Lebesgue constant up to .* support radius .* samples; near a boundary"):
        inner = manifold.nearest_point(np.array([np.sqrt(1 - 0.55**2), 0.0, 0.55]))
    assert abs(np.linalg.norm(inner) - 1) < 1e-3
    with pytest.raises(TooFewSamplesError, match=r"only \d+ samples within their support radius .*, 6 needed"):
        manifold.nearest_point(np.array([0.8, 0.0, 0.6]))
    with pytest.raises(TooFewSamplesError, match=r"Lebesgue constant .*, with 8 samples within .* would extrapolate"):
        manifold.nearest_point(np.array([np.sqrt(1 - 0.56**2), 0.0, 0.56]))


@pytest.mark.filterwarnings("ignore::manifolds.SampledWarning")
def test_points_beyond_a_sharp_edge_are_refused():
    # The polynomial through both walls of an edge may overshoot it by several support radii.
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1500, 2))
    points = np.concatenate([x, -3 * np.abs(x[:, :1])], axis=1)
    manifold, refused = SampledManifold(points, 2, 3), 0
    for query in rng.uniform([-0.15, -0.8, -0.3], [0.15, 0.8, 0.15], (150, 3)):
        try:
            landed = manifold.nearest_point(query)
        except TooFewSamplesError:
            refused += 1
        else:
            gaps = np.linalg.norm(points - landed, axis=-1) / manifold.radii
            assert np.sum(gaps < 1) >= len(manifold.factors)
    assert 0 < refused < 100


def test_supports_grow_with_noise():
    points = sphere(20000) + 1e-2 * np.random.default_rng(5).standard_normal((20000, 3))
    lean = []
    for noise in (0.0, 1e-2):
        manifold = SampledManifold(points, 2, noise=noise)
        geometry = manifold.at(manifold.nearest_point(sphere(100, seed=3)))
        normal = geometry.point / np.linalg.norm(geometry.point, axis=-1, keepdims=True)
        lean.append(rms(np.linalg.norm(normal[:, None, :] @ geometry.basis, axis=(-2, -1))))
    assert lean[1] < 0.2 * lean[0]
    assert rms(np.linalg.norm(geometry.point, axis=-1) - 1) < 2.5e-3  # a quarter of the noise


def test_orders_of_convergence_on_stiefel_samples():
    # Planes of frames in R^3: V_2(R^3) in R^6 has dimension 3; the exact projector is that of the polar factor.
    errors, counts = [], np.array([3000, 24000])
    for count in counts:
        frames = special_ortho_group.rvs(3, size=count, random_state=0)[:, :, :2]
        found = SampledManifold(frames.reshape(count, 6), 3).fit(frames[:200].reshape(-1, 6))
        landed = found.point.reshape(-1, 3, 2)
        errors.append(rms(landed.mT @ landed - np.eye(2)))
    assert np.log(errors[0] / errors[1]) / np.log(counts[1] / counts[0]) * 3 > 3 - 0.3


def test_three_thousand_coordinates_are_reduced_exactly():
    points, queries = torus(1500), torus(5, seed=1)
    embedding = np.linalg.qr(np.random.default_rng(2).standard_normal((3000, 3)))[0]
    low, high = SampledManifold(points, 2), SampledManifold(points @ embedding.T, 2)
    assert np.abs(high.nearest_point(queries @ embedding.T) - low.nearest_point(queries) @ embedding.T).max() < 1e-10
    assert high.fit(queries @ embedding.T).indices.shape == low.fit(queries).indices.shape


BAD = {
    "list": (lambda: SampledManifold([[0.0, 1.0]]), TypeError, "points must be a numpy array or a torch tensor"),
    "integers": (lambda: SampledManifold(np.ones((9, 3), int)), TypeError, "points must have a real floating dtype"),
    "vector": (lambda: SampledManifold(np.ones(9)), ValueError, r"points must have shape \(N, D\)"),
    "nan": (lambda: SampledManifold(np.full((9, 3), np.nan)), ValueError, "points contains NaN or infinity"),
    "few": (lambda: SampledManifold(sphere(10), 2), ValueError, "holds 10 samples, but degree 2 in dimension 2 has 6"),
    "repeated": (lambda: SampledManifold(np.tile(sphere(50), (2, 1)), 2), ValueError, "100 samples that coincide"),
    "dim": (lambda: SampledManifold(sphere(50), 3), ValueError, "dim must be below the number of coordinates, 3"),
    "degree": (lambda: SampledManifold(sphere(50), 2, 0), ValueError, "degree must be at least 1, got 0"),
    "degree kind": (lambda: SampledManifold(sphere(50), 2, 1.5), TypeError, "degree must be an integer, got 1.5"),
    "support": (lambda: SampledManifold(sphere(50), 2, support=1.0), ValueError, "support must be at least 1.5"),
    "noise": (lambda: SampledManifold(sphere(50), 2, noise=-1.0), ValueError, "noise must be a standard deviation"),
    "tangents": (lambda: SampledManifold(sphere(50), 2, tangents=1), TypeError, "tangents must be a callable"),
    "values": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2), np.ones(49)),
        ValueError,
        r"values has shape \(49,\), but there are 50 samples",
    ),
    "values nan": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2), np.full(50, np.inf)),
        ValueError,
        "values contains NaN or infinity",
    ),
    "nothing": (lambda: SampledFunction(SampledManifold(sphere(50), 2)), ValueError, "values must be given unless"),
    "manifold": (lambda: SampledFunction(3, np.ones(3)), TypeError, "manifold must be a SampledManifold, got int"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
