"""What every manifold promises about curves: retractions, their velocities and orders, transport, geodesics."""

import numpy as np
import pytest

from manifolds import Stiefel, check_retraction
from tests.arrays import DOUBLE, assert_close, entry, flat, kind_of, leaves, size, to_float64, tree
from tests.manifolds.zoo import ZOO, Case

WITH_EXP = [name for name, member in ZOO.items() if member.has_exp]
WITHOUT_EXP = [name for name, member in ZOO.items() if not member.has_exp]


def scaled(manifold, t, v):
    return manifold.linear_combination(t, v, 0.0, v)


def difference(manifold, x, y):
    return manifold.linear_combination(1.0, x, -1.0, y)


@pytest.mark.parametrize("retraction", ["retraction", "second_order_retraction"])
def test_retraction_fixes_the_point_and_lands_on_the_manifold(case, retraction):
    manifold, x = case.manifold, case.point()
    retract, v = getattr(manifold, retraction), case.tangent(x)
    assert_close(retract(x, manifold.zero_vector(x)), x, case.rounding)
    for t in (1e-3, 1.0, case.member.longest):
        assert manifold.check_point(retract(x, scaled(manifold, t, v))) is None


def test_retraction_is_of_first_order(single):
    check_retraction(single.manifold, rng=0, like=single.kind.like).raise_if_failed()


def test_second_order_retraction_is_of_second_order(single):
    check_retraction(single.manifold, order=2, rng=0, like=single.kind.like).raise_if_failed()


def acceleration(manifold, x, v, curve, h=1e-3):
    """Second derivative at 0 of a curve; differences of step 1e-3 leave 1e-6 of truncation and 1e-10 of rounding."""
    ahead, back = (curve(x, scaled(manifold, t, v)) for t in (h, -h))
    change = difference(manifold, manifold.linear_combination(1.0, ahead, 1.0, back), scaled(manifold, 2.0, x))
    return scaled(manifold, h**-2, change)


@pytest.mark.parametrize("name", WITH_EXP)
def test_tangential_acceleration_of_geodesics(name):
    case = Case(name, DOUBLE)
    manifold, x = case.manifold, case.point()
    v = case.tangent(x)
    of_geodesic = manifold.projection(x, acceleration(manifold, x, v, manifold.exp))
    assert_close(manifold.at(x).geodesic_acceleration(v), of_geodesic, 1e-5, scale=1.0)


def test_acceleration_of_the_second_order_retraction_is_that_of_geodesics(double):
    """Its tangential part is; it is normal where the metric of the surrounding space does not depend on the point."""
    manifold, x = double.manifold, double.point()
    v = double.tangent(x)
    whole = acceleration(manifold, x, v, manifold.second_order_retraction)
    expected = manifold.at(x).geodesic_acceleration(v)
    assert_close(manifold.projection(x, whole), expected, 1e-5, scale=max(1.0, size(whole)))
    if not (double.member.flat or double.member.straight):
        assert size(whole) > 0.05


@pytest.mark.parametrize("t", [0.0, 0.5, -2.0])
def test_velocity_of_the_curve_against_differences(double, t):
    manifold, x, h = double.manifold, double.point(), 1e-5
    curve = manifold.at(x).retraction_curve(double.tangent(x))
    slope = manifold.linear_combination(0.5 / h, curve.point(t + h), -0.5 / h, curve.point(t - h))
    assert_close(curve.velocity(t), slope, 1e-8, scale=max(1.0, size(slope)))
    if not double.member.quotient or t == 0:
        assert manifold.check_tangent(curve.point(t), curve.velocity(t)) is None


def test_curve_starts_at_the_point_with_the_vector(case):
    manifold, x = case.manifold, case.point()
    v = case.tangent(x)
    curve = manifold.at(x).retraction_curve(v)
    assert_close(curve.point(0.0), x, case.rounding)
    assert_close(curve.velocity(0.0), v, case.rounding)
    np.testing.assert_array_equal(flat(curve.point(1.0)), flat(manifold.retraction(x, v)))


def test_curve_takes_one_number_per_entry_of_a_batch(name, kind):
    case = Case(name, kind, (2, 3))
    manifold, x, t = case.manifold, case.point(), case.numbers()
    v = case.tangent(x)
    curve = manifold.at(x).retraction_curve(v)
    for index in case.entries():
        alone = manifold.at(entry(x, index)).retraction_curve(entry(v, index))
        assert_close(entry(curve.point(t), index), alone.point(float(t[index])), case.rounding)
        assert_close(entry(curve.velocity(t), index), alone.velocity(float(t[index])), case.rounding)


def test_transport_is_tangent_and_linear(case):
    manifold, x = case.manifold, case.point()
    u, v = case.tangent(x), case.tangent(x)
    y = manifold.retraction(x, u)
    tu, tv = manifold.transport(x, y, u), manifold.transport(x, y, v)
    assert manifold.check_tangent(y, tu) is None
    together = manifold.transport(x, y, manifold.linear_combination(2.0, u, -3.0, v))
    assert_close(together, manifold.linear_combination(2.0, tu, -3.0, tv), case.rounding)
    assert_close(manifold.transport(x, x, u), u, case.rounding)
    if not case.member.flat:
        assert size(difference(manifold, tv, v)) > 0.01


def geodesic_case(name, kind, batch=()):
    case = Case(name, kind, batch)
    x = case.point()
    return case, case.manifold, x, scaled(case.manifold, 0.7, case.tangent(x))


@pytest.mark.parametrize("name", WITH_EXP)
def test_logarithm_undoes_the_exponential(name, kind, batch):
    case, manifold, x, v = geodesic_case(name, kind, batch)
    y = manifold.exp(x, v)
    assert manifold.check_point(y) is None
    assert_close(manifold.log(x, y), v, case.rounding)
    assert manifold.check_tangent(x, manifold.log(x, y)) is None


@pytest.mark.parametrize("name", WITH_EXP)
def test_distance_is_the_length_of_the_geodesic(name, kind, batch):
    case, manifold, x, v = geodesic_case(name, kind, batch)
    y = manifold.exp(x, v)
    assert_close(manifold.dist(x, y), 0.7 * np.ones(batch), case.rounding)
    assert_close(manifold.dist(y, x), manifold.dist(x, y), case.rounding)
    assert_close(manifold.dist(x, manifold.exp(x, scaled(manifold, 0.5, v))), 0.35 * np.ones(batch), case.rounding)


@pytest.mark.parametrize("name", WITH_EXP)
def test_exponential_is_of_second_order_with_constant_speed(name):
    _, manifold, x, v = geodesic_case(name, DOUBLE)
    check_retraction(manifold, manifold.exp, order=2, rng=0).raise_if_failed()
    h = 1e-4
    for t in (0.3, 1.0):
        ahead, back = (manifold.exp(x, scaled(manifold, s, v)) for s in (t + h, t - h))
        velocity = scaled(manifold, 0.5 / h, difference(manifold, ahead, back))
        y = manifold.exp(x, scaled(manifold, t, v))
        assert float(manifold.norm(y, velocity)) == pytest.approx(0.7, abs=1e-7)


@pytest.mark.parametrize("name", WITH_EXP)
def test_velocity_of_the_geodesic_against_differences(name, batch):
    _, manifold, x, v = geodesic_case(name, DOUBLE, batch)
    geodesic, h = manifold.at(x).geodesic(v), 1e-5
    np.testing.assert_array_equal(flat(geodesic.point(1.0)), flat(manifold.exp(x, v)))
    for t in (0.0, 0.5, -2.0):
        slope = manifold.linear_combination(0.5 / h, geodesic.point(t + h), -0.5 / h, geodesic.point(t - h))
        assert_close(geodesic.velocity(t), slope, 1e-8, scale=max(1.0, size(slope)))


@pytest.mark.parametrize("name", WITH_EXP)
def test_a_point_is_at_distance_zero_of_itself(name, kind, batch):
    case, manifold, x, _ = geodesic_case(name, kind, batch)
    zero = manifold.zero_vector(x)
    assert_close(manifold.exp(x, zero), x, case.rounding)
    assert_close(manifold.log(x, x), zero, case.rounding, scale=1)
    assert float(np.max(to_float64(manifold.dist(x, x)))) <= case.rounding


@pytest.mark.parametrize("name", WITH_EXP)
@pytest.mark.parametrize("length", [1e-3, 1e-7])
def test_near_points_have_an_accurate_distance(name, length):
    """Points are known to 1e-16, so a distance d has a relative error of about 1e-16 / d."""
    case, manifold, x, v = geodesic_case(name, DOUBLE)
    y = manifold.exp(x, scaled(manifold, length / 0.7, v))
    assert float(manifold.dist(x, y)) == pytest.approx(length, rel=20 * case.kind.eps / length)
    assert_close(manifold.log(x, y), scaled(manifold, length / 0.7, v), 20 * case.kind.eps / length)


@pytest.mark.parametrize("name", ["sphere", "sphere-of-matrices"])
def test_opposite_points_of_a_sphere(name, kind, batch):
    """Distance pi, and no logarithm; just before, both are accurate."""
    case, sphere, x, v = geodesic_case(name, kind, batch)
    assert_close(sphere.dist(x, -x), np.pi * np.ones(batch), case.rounding)
    with pytest.raises(ValueError, match="opposite"):
        sphere.log(x, -x)
    almost = scaled(sphere, (np.pi - 0.01) / 0.7, v)
    assert_close(sphere.dist(x, sphere.exp(x, almost)), (np.pi - 0.01) * np.ones(batch), case.rounding)
    assert_close(sphere.log(x, sphere.exp(x, almost)), almost, 100 * case.rounding)


@pytest.mark.parametrize("name", ["grassmann", "grassmann-polar"])
def test_orthogonal_directions_of_subspaces(name, kind):
    """A principal angle pi / 2 has no unique geodesic; the distance is that of the angles, whatever the bases."""
    case = Case(name, kind)
    grassmann, basis = case.manifold, np.eye(case.manifold.n)
    p = grassmann.p
    x, y = kind(basis[:, :p]), kind(basis[:, [*range(1, p), p]])
    assert float(grassmann.dist(x, y)) == pytest.approx(np.pi / 2, rel=case.rounding)
    assert float(grassmann.dist(x, kind(basis[:, list(range(p))[::-1]]))) <= case.rounding
    with pytest.raises(ValueError, match="orthogonal to the point"):
        grassmann.log(x, y)


@pytest.mark.parametrize("name", WITHOUT_EXP)
@pytest.mark.parametrize("method", ["exp", "log", "dist"])
def test_what_has_no_closed_form_says_so(name, method):
    case = Case(name, DOUBLE)
    x = case.point()
    other = case.tangent(x) if method == "exp" else case.point()
    with pytest.raises(NotImplementedError, match="no closed-form"):
        getattr(case.manifold, method)(x, other)


@pytest.mark.parametrize("name", WITH_EXP)
def test_geodesics_stay_in_the_kind_of_the_point(name, kind, batch):
    _, manifold, x, v = geodesic_case(name, kind, batch)
    y = manifold.exp(x, v)
    results = [y, manifold.log(x, y), manifold.dist(x, y)]
    assert all(kind_of(leaf) == kind for result in results for leaf in leaves(result))
    tree(lambda leaf, like: np.testing.assert_array_equal(leaf.shape, like.shape), y, x)


def test_velocity_at_steps_that_were_written_to():
    manifold = Stiefel(5, 2)
    x = manifold.random_point(rng=0, batch=(3,))
    v = manifold.random_tangent_vector(x, rng=1)
    t = np.array([0.1, 0.2, 0.3])
    curve = manifold.at(x).retraction_curve(v)
    curve.point(t)
    t *= 2
    expected = manifold.at(x).retraction_curve(v).velocity(np.array([0.2, 0.4, 0.6]))
    np.testing.assert_allclose(curve.velocity(t), expected, atol=1e-14)
