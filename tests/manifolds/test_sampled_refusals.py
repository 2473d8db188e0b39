"""What sampled manifolds refuse: holes, edges, wrong dimensions and bad input, each with counts or names."""

import numpy as np
import pytest

from manifolds import SampledFunction, SampledManifold, SampledWarning, TooFewSamplesError, estimate_dimension
from tests.manifolds.surfaces import sphere, torus


@pytest.mark.parametrize(
    ("height", "message"),
    [
        (
            0.985,
            r"in a hole or outside of the data: only 4 samples within their support radius \(about 0.198\), 6 needed",
        ),
        (0.9, r"far from the data: 0 of 2844 samples within their support radius, the nearest is .* away, its radius"),
    ],
)
def test_hole_is_an_error_with_counts(height, message):
    points = sphere(3000)
    manifold = SampledManifold(points[points[:, 2] < height], 2)
    with pytest.raises(TooFewSamplesError, match=message):
        manifold.nearest_point(np.array([0.0, 0.0, 1.0]))


def test_extrapolation_is_an_error_with_counts():
    line = np.zeros((200, 3))
    line[:, 0] = np.linspace(0, 1, 200)
    with pytest.raises(TooFewSamplesError, match=r"condition number .* with 23 samples .* would extrapolate"):
        SampledManifold(line, 2).nearest_point(line[100])
    points = sphere(3000)
    half = SampledManifold(points[points[:, 2] > 0], 2)
    with pytest.warns(SampledWarning, match=r"Lebesgue constant up to 12.2, .* 0.214 away, at least 12 samples"):
        half.nearest_point(np.array([1.0, 0.0, 0.0]))
    with pytest.warns(
        SampledWarning, match=r"Lebesgue constant up to 5.02, their centre up to 0.6 of the support radius"
    ):
        SampledManifold(points[points[:, 2] > 0], 2, 1).nearest_point(np.array([0.9998, 0.0, -0.02]))
    with pytest.raises(TooFewSamplesError, match=r"Lebesgue constant 94.5, with 8 samples .* for 6 coefficients"):
        half.nearest_point(np.array([0.9982, 0.0, -0.06]))


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


@pytest.mark.parametrize("dim", [1, 3])
def test_wrong_dimension_is_a_warning_with_counts(dim):
    points = np.concatenate([torus(3000), np.sin(3 * torus(3000))], axis=1)
    message = f"dim is {dim}, but the 31 nearest of 3000 samples, within a radius of about .*, spread in 2 directions"
    with pytest.warns(SampledWarning, match=message):
        SampledManifold(points, dim)


def test_samples_that_fill_space_are_a_warning_unless_they_are_noisy():
    points = np.random.default_rng(0).uniform(size=(3000, 3))
    with pytest.warns(SampledWarning, match="dim is 2, but the 31 nearest of 3000 samples, .* spread in 3 directions"):
        SampledManifold(points, 2)
    SampledManifold(points, 2, noise=0.05)


def test_too_far_off_for_the_curvature_is_an_error():
    with pytest.raises(TooFewSamplesError, match="did not settle in 200 sweeps: a point lies too far off"):
        SampledManifold(torus(60), 2).nearest_point(0.8 * torus(30, 3))


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
    "noise": (
        lambda: SampledManifold(sphere(50), 2, noise=-1.0),
        ValueError,
        "noise must be finite and not neg",
    ),
    "noise size": (
        lambda: SampledManifold(sphere(50), 2, noise=5.0),
        ValueError,
        "noise of 5.0 would need 132 neighbours, but points holds 50 samples",
    ),
    "noise kind": (lambda: SampledManifold(sphere(50), 2, noise="a"), TypeError, "noise must be a number, got 'a'"),
    "support kind": (
        lambda: SampledManifold(sphere(50), 2, support="a"),
        TypeError,
        "support must be a number",
    ),
    "support inf": (lambda: SampledManifold(sphere(50), 2, support=np.inf), ValueError, "support must be finite"),
    "dim kind": (lambda: SampledManifold(sphere(50), 2.0), TypeError, "dim must be an integer, got 2.0"),
    "dim sign": (lambda: SampledManifold(sphere(50), 0), ValueError, "dim must be at least 1, got 0"),
    "point nan": (
        lambda: SampledManifold(sphere(50), 2).nearest_point(np.full(3, np.nan)),
        ValueError,
        "point contains",
    ),
    "point shape": (lambda: SampledManifold(sphere(50), 2).nearest_point(np.ones(2)), ValueError, r"needs \(3,\)"),
    "point kind": (
        lambda: SampledManifold(sphere(50), 2).nearest_point(np.ones(3, np.float32)),
        TypeError,
        "point and points must agree",
    ),
    "no point": (
        lambda: SampledManifold(sphere(50), 2).nearest_point(np.ones((0, 3))),
        ValueError,
        r"point has shape \(0, 3\), which holds no point",
    ),
    "iterations": (
        lambda: SampledManifold(sphere(50), 2).foot_point(sphere(1)[0], -1),
        ValueError,
        "iterations must be at least 0, got -1",
    ),
    "basis": (
        lambda: SampledManifold(sphere(50), 2, tangents=lambda x: np.eye(3)).at(sphere(50)[0]),
        ValueError,
        r"tangents must return a basis of shape \(3, 2\), got \(3, 3\)",
    ),
    "curvature": (
        lambda: SampledManifold(sphere(50), 2, 1).at(sphere(50)[0]).riemannian_hessian(*np.ones((3, 3))),
        ValueError,
        "the curvature needs degree >= 2",
    ),
    "estimate list": (lambda: estimate_dimension([1.0]), TypeError, "points must be a numpy array or a torch tensor"),
    "estimate few": (
        lambda: estimate_dimension(sphere(49)),
        ValueError,
        "points holds 49 samples, too few",
    ),
    "estimate repeated": (lambda: estimate_dimension(np.tile(sphere(50), (2, 1))), ValueError, "samples that coincide"),
    "estimate grid": (
        lambda: estimate_dimension(np.stack(np.meshgrid(*2 * [np.arange(20.0)]), -1).reshape(-1, 2) @ np.eye(2, 3)),
        ValueError,
        "TwoNN estimates inf, the local spectrum .* has dimension 2",
    ),
    "estimate space": (
        lambda: estimate_dimension(np.random.default_rng(0).uniform(size=(500, 2))),
        ValueError,
        "points seem to fill their space",
    ),
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
    "values list": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2), [1.0]),
        TypeError,
        "values must be a",
    ),
    "values kind": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2), np.ones(50, np.float32)),
        TypeError,
        "values and points must agree",
    ),
    "cost": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2), np.ones(50), cost=1),
        TypeError,
        "cost must be a callable, got int",
    ),
    "hessian": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2), np.ones(50), hessian=lambda x, v: v),
        ValueError,
        "hessian needs gradient beside it",
    ),
    "no hessian": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2, 1), np.ones(50)).at(sphere(50)[0]).hessian_product(1.0),
        TypeError,
        "Hessian products need a manifold of degree >= 2",
    ),
    "no values": (
        lambda: SampledFunction(SampledManifold(sphere(50), 2), cost=len, gradient=len).fitted(sphere(50)),
        ValueError,
        "fitted needs a function that was given values",
    ),
    "nothing": (lambda: SampledFunction(SampledManifold(sphere(50), 2)), ValueError, "values must be given unless"),
    "manifold": (lambda: SampledFunction(3, np.ones(3)), TypeError, "manifold must be a SampledManifold, got int"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
