"""What every manifold promises at a point: metric, projection, gradient, Hessian; and in every kind of array."""

import numpy as np
import pytest

from manifolds import check_hessian
from tests.arrays import (
    DOUBLE,
    Kind,
    assert_close,
    entry,
    flat,
    kind_of,
    leaves,
    size,
    to_float64,
    tree,
)
from tests.manifolds.zoo import ZOO, Case, Quadratic, at_entry, methods


def test_dimension_is_the_rank_of_random_tangent_vectors(single):
    manifold, x = single.manifold, single.point()
    vectors = [single.tangent(x) for _ in range(manifold.dim + 3)]
    gram = np.array([[float(manifold.inner_product(x, u, v)) for u in vectors] for v in vectors])
    assert manifold.dim == single.member.dim
    assert np.linalg.matrix_rank(gram, tol=single.rounding * np.linalg.norm(gram, 2)) == manifold.dim


def test_metric_is_symmetric_positive_and_gives_the_norm(case):
    manifold, x = case.manifold, case.point()
    u, v = case.tangent(x), case.tangent(x)
    uv = to_float64(manifold.inner_product(x, u, v))
    assert uv.shape == case.batch
    assert_close(manifold.inner_product(x, v, u), uv, case.rounding, scale=1)
    assert_close(manifold.norm(x, u), np.ones(case.batch), case.rounding)
    assert_close(manifold.norm(x, manifold.linear_combination(-2.0, u, 0.0, v)), 2 * np.ones(case.batch), case.rounding)
    assert (np.abs(uv) < 1 + case.rounding).all()


def test_projection_is_tangent_linear_and_idempotent(case):
    manifold, x = case.manifold, case.point()
    geometry, a, b = manifold.at(x), case.ambient(x), case.ambient(x)
    pa, pb = geometry.projection(a), geometry.projection(b)
    assert manifold.check_tangent(x, pa) is None
    assert_close(geometry.projection(pa), pa, case.rounding, scale=size(a))
    together = geometry.projection(manifold.linear_combination(2.0, a, -3.0, b))
    assert_close(together, manifold.linear_combination(2.0, pa, -3.0, pb), case.rounding, scale=size(a) + size(b))
    if not case.member.flat:
        assert size(manifold.linear_combination(1.0, pa, -1.0, a)) > 0.01


def test_projection_is_self_adjoint_in_the_metric(case):
    manifold, x = case.manifold, case.point()
    geometry, a, b = manifold.at(x), case.ambient(x), case.ambient(x)
    left = geometry.inner_product(geometry.projection(a), b)
    right = geometry.inner_product(a, geometry.projection(b))
    scale = np.max(flat(geometry.norm(a)) * flat(geometry.norm(b)))
    assert_close(left, right, case.rounding, scale=scale)


def test_gradient_is_the_riesz_representative(case):
    manifold, x = case.manifold, case.point()
    geometry, e, v = manifold.at(x), case.ambient(x), case.tangent(x)
    gradient = geometry.riemannian_gradient(e)
    assert manifold.check_tangent(x, gradient) is None
    assert_close(geometry.inner_product(gradient, v), case.trace(e, v), case.rounding, scale=size(e))


def test_hessian_is_tangent_linear_and_symmetric(case):
    manifold, x = case.manifold, case.point()
    u, v, quadratic = case.tangent(x), case.tangent(x), Quadratic(case.manifold, case.kind)

    def hessian(w):
        return manifold.euclidean_to_riemannian_hessian(x, quadratic.product(x), quadratic.product(w), w)

    hu, hv = hessian(u), hessian(v)
    scale = size(hu) + size(hv)
    assert manifold.check_tangent(x, hu) is None
    assert_close(manifold.inner_product(x, hu, v), manifold.inner_product(x, u, hv), case.rounding, scale=scale)
    together = manifold.linear_combination(2.0, hu, -3.0, hv)
    assert_close(hessian(manifold.linear_combination(2.0, u, -3.0, v)), together, case.rounding, scale=scale)


def test_covectors_are_the_forms_of_their_vectors(case):
    manifold, x = case.manifold, case.point()
    geometry, u, v, e, h = manifold.at(x), case.tangent(x), case.tangent(x), case.ambient(x), case.ambient(x)
    scale = size(e) + size(h) + size(u)
    covector = geometry.covector(u)
    assert_close(geometry.pairing(covector, v), geometry.inner_product(u, v), case.rounding, scale=size(u))
    assert_close(geometry.representative(covector), u, case.rounding)
    gradient, hessian = geometry.gradient_covector(e), geometry.hessian_covector(e, h, u)
    assert_close(geometry.pairing(gradient, v), case.trace(e, v), case.rounding, scale=size(e))
    assert_close(
        geometry.pairing(hessian, v),
        geometry.inner_product(geometry.riemannian_hessian(e, h, u), v),
        case.rounding,
        scale=scale,
    )
    assert_close(geometry.representative(gradient), geometry.riemannian_gradient(e), case.rounding)
    form = geometry.hessian_form(e)
    for product, vector in ((h, u), (e, v)):
        expected = geometry.hessian_covector(e, product, vector)
        assert_close(form(product, vector), expected, case.rounding, scale=scale)
    other = manifold.at(manifold.retraction(x, v))
    moved = other.covector_from(geometry, covector)
    expected = other.transport_from(geometry, u)
    assert_close(other.representative(moved), expected, case.rounding, scale=size(u))
    assert_close(
        other.gradient_pairing_from(geometry, other.gradient_covector(h), u),
        case.trace(h, expected),
        case.rounding,
        scale=size(h) * size(u),
    )


def test_hessian_is_the_projected_derivative_of_the_gradient(double):
    """Hess f[v] = P(D grad f[v]) - a(grad f, v), where a(v, v) is the tangential acceleration of geodesics."""
    manifold, x, h = double.manifold, double.point(), 1e-5
    v, quadratic = double.tangent(x), Quadratic(double.manifold, double.kind)
    combine, acceleration = manifold.linear_combination, manifold.at(x).geodesic_acceleration

    def gradient(t):
        y = manifold.retraction(x, manifold.linear_combination(t, v, 0.0, v))
        return manifold.euclidean_to_riemannian_gradient(y, quadratic.product(y))

    slope = manifold.linear_combination(0.5 / h, gradient(h), -0.5 / h, gradient(-h))
    hessian = manifold.euclidean_to_riemannian_hessian(x, quadratic.product(x), quadratic.product(v), v)
    plus, minus = (acceleration(combine(1.0, v, sign, gradient(0.0))) for sign in (1.0, -1.0))
    christoffel = combine(-0.25, plus, 0.25, minus)
    assert_close(hessian, combine(1.0, manifold.projection(x, slope), 1.0, christoffel), 1e-7)


def test_hessian_gives_the_third_order_expansion(single):
    manifold, kind = single.manifold, single.kind
    quadratic = Quadratic(manifold, kind)
    verdict = check_hessian(
        lambda x: 0.5 * manifold.euclidean_inner_product(x, quadratic.product(x)),
        manifold,
        quadratic.product,
        lambda x, v: quadratic.product(v),
        rng=0,
        like=kind.like,
    )
    verdict.raise_if_failed()
    if not (single.member.flat or single.member.straight):
        assert verdict.slope < 4.2


def test_named_methods_are_those_of_the_local_geometry(single):
    manifold, i = single.manifold, single.inputs
    here, there = manifold.at(i["x"]), manifold.at(i["y"])
    pairs = {
        "inner_product": here.inner_product(i["a"], i["b"]),
        "norm": here.norm(i["u"]),
        "projection": here.projection(i["a"]),
        "gradient": here.riemannian_gradient(i["a"]),
        "hessian": here.riemannian_hessian(i["e"], i["h"], i["v"]),
        "retraction": here.retraction(i["v"]),
        "second_order_retraction": here.second_order_retraction(i["v"]),
        "transport": there.transport_from(here, i["u"]),
    }
    if single.member.has_exp:
        pairs |= {"exp": here.exp(i["v"]), "log": here.log(i["y"]), "dist": here.dist(i["y"])}
    for method, of_geometry in pairs.items():
        np.testing.assert_array_equal(flat(methods(single.member)[method](manifold, i)), flat(of_geometry), method)


def test_a_batch_equals_its_entries(name, kind):
    case = Case(name, kind, (2, 3))
    for method, function in methods(case.member).items():
        together = function(case.manifold, case.inputs)
        assert all(tuple(leaf.shape[:2]) == (2, 3) for leaf in leaves(together)), method
        for index in case.entries():
            alone = function(case.manifold, at_entry(case.inputs, index))
            assert_close(entry(together, index), alone, case.rounding, scale=max(1.0, size(alone)))


def test_a_batch_of_one_axis_equals_its_entries(name):
    case = Case(name, Kind("torch", "float64"), (4,))
    for function in methods(case.member).values():
        together = function(case.manifold, case.inputs)
        for index in case.entries():
            alone = function(case.manifold, at_entry(case.inputs, index))
            assert_close(entry(together, index), alone, case.rounding, scale=max(1.0, size(alone)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_equals_torch(name, dtype, batch):
    ours, theirs = (Case(name, Kind(library, dtype), batch) for library in ("numpy", "torch"))
    copies = {key: tree(lambda leaf: theirs.kind(leaf), value) for key, value in ours.inputs.items()}
    for function in methods(ours.member).values():
        expected = function(ours.manifold, ours.inputs)
        assert_close(function(theirs.manifold, copies), expected, ours.rounding, scale=max(1.0, size(expected)))


def test_float32_equals_float64_to_its_rounding(name):
    low, high = Case(name, Kind("numpy", "float32")), Case(name, DOUBLE)
    copies = {key: tree(high.kind, value) for key, value in low.inputs.items()}
    for function in methods(low.member).values():
        expected = function(high.manifold, copies)
        assert_close(function(low.manifold, low.inputs), expected, low.rounding, scale=max(1.0, size(expected)))


def test_results_are_of_the_kind_of_the_input(case):
    for method, function in methods(case.member).items():
        result = function(case.manifold, case.inputs)
        assert all(kind_of(leaf) == case.kind for leaf in leaves(result)), method


def test_inputs_are_not_mutated(case):
    manifold = case.manifold
    before = {key: flat(value) for key, value in case.inputs.items()}
    for method, function in methods(case.member).items():
        function(manifold, case.inputs)
        for key, value in case.inputs.items():
            np.testing.assert_array_equal(flat(value), before[key], f"{key} was changed by {method}")
    manifold.check_point(case.inputs["x"])
    manifold.check_tangent(case.inputs["x"], case.inputs["u"])
    np.testing.assert_array_equal(flat(case.inputs["x"]), before["x"])


def test_typical_distance_is_positive(name):
    assert ZOO[name].build(DOUBLE).typical_dist > 0
