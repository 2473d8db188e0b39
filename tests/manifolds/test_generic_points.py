"""What every manifold promises about making and checking points and tangent vectors."""

import re

import numpy as np
import pytest
import torch

from manifolds import FixedRankPoint, LowRankMatrix, Product, TwoFactorPoint
from manifolds.low_rank import FactoredMatrix
from tests.arrays import DOUBLE, assert_close, flat, kind_of, leaves, parts, size, to_float64, tree
from tests.manifolds.zoo import ZOO, Case

CURVED = [name for name, member in ZOO.items() if not member.flat]


def test_random_point_is_on_the_manifold(case):
    x = case.manifold.random_point(0, case.kind.like, batch=case.batch)
    assert case.manifold.check_point(x) is None
    assert all(kind_of(leaf) == case.kind for leaf in leaves(x))
    assert all(tuple(leaf.shape[: len(case.batch)]) == case.batch for leaf in leaves(x))


def test_random_tangent_vector_is_tangent_of_norm_one(case):
    x = case.point()
    v = case.manifold.random_tangent_vector(x, 0)
    assert case.manifold.check_tangent(x, v) is None
    assert_close(case.manifold.norm(x, v), np.ones(case.batch), case.rounding)
    assert all(kind_of(leaf) == case.kind for leaf in leaves(v))


def same(x, y):
    return bool((flat(x) == flat(y)).all())


def test_a_seed_decides_points_and_vectors(case):
    manifold, like, batch = case.manifold, case.kind.like, case.batch

    def draw(rng):
        x = manifold.random_point(rng, like, batch=batch)
        return x, manifold.random_tangent_vector(x, rng)

    for made in (int, np.random.default_rng):
        first, again, other = (draw(made(seed)) for seed in (3, 3, 4))
        assert same(first, again)
        assert not same(first[0], other[0])
        assert not same(first[1], other[1])
    generator = np.random.default_rng(3)
    assert not same(draw(generator)[0], draw(generator)[0])
    assert same(draw(3)[0], draw(np.random.default_rng(3))[0])


def test_one_seed_may_serve_the_point_and_the_vector(name):
    """The vector must not be made of the numbers that made the point, whose tangent part vanishes on a sphere."""
    case = Case(name, DOUBLE)
    x = case.manifold.random_point(0)
    v = case.manifold.random_tangent_vector(x, 0)
    draw = case.manifold.standard_normal(0, x)
    assert case.manifold.check_tangent(x, v) is None
    assert abs(float(case.manifold.norm(x, v)) - 1) < 1e-12
    assert not np.allclose(flat(case.manifold.projection(x, draw)), flat(v))


def test_fresh_entropy_without_a_seed(double):
    assert not same(double.manifold.random_point(), double.manifold.random_point())


def test_a_torch_generator_serves_torch_points_only(case):
    manifold, like, batch = case.manifold, case.kind.like, case.batch

    def draw(seed):
        rng = torch.Generator().manual_seed(seed)
        x = manifold.random_point(rng, like, batch=batch)
        return x, manifold.random_tangent_vector(x, rng)

    if case.kind.library == "numpy":
        with pytest.raises(TypeError, match=r"rng is a torch\.Generator"):
            draw(0)
        return
    assert same(draw(0), draw(0))
    assert not same(draw(0)[0], draw(1)[0])
    assert all(kind_of(leaf) == case.kind for leaf in leaves(draw(0)))


def test_one_seed_gives_one_point_in_every_kind(name):
    reference = ZOO[name].build(DOUBLE).random_point(0, DOUBLE.like)
    for library, dtype in (("torch", "float64"), ("numpy", "float32"), ("torch", "float32")):
        kind = type(DOUBLE)(library, dtype)
        assert_close(ZOO[name].build(kind).random_point(0, kind.like), reference, 1000 * kind.eps)


def test_the_kind_of_random_points_is_that_of_the_manifolds_own_arrays(name, kind):
    """Where the manifold holds arrays; else numpy float64."""
    has_arrays = name.startswith("generalized")
    assert {kind_of(leaf) for leaf in leaves(ZOO[name].build(kind).random_point(0))} == {
        kind if has_arrays else DOUBLE
    } | ({kind} if name == "product" else set())


def test_nearest_point_lands_on_the_manifold_and_fixes_its_points(case):
    manifold, x = case.manifold, case.point()
    assert_close(manifold.nearest_point(x), x, case.rounding)
    off = manifold.linear_combination(1.0, x, 0.3, case.ambient(x))
    assert manifold.check_point(manifold.nearest_point(off)) is None
    if not (case.member.flat or case.member.straight):
        assert manifold.check_point(off) is not None


def test_zero_vector_is_tangent_and_zero(case):
    x = case.point()
    zero = case.manifold.zero_vector(x)
    assert size(zero) == 0
    assert case.manifold.check_tangent(x, zero) is None
    assert [z.shape for z in leaves(zero)] == [leaf.shape for leaf in leaves(x)]


def test_linear_combination_takes_numbers_and_batches_of_numbers(case):
    manifold, x = case.manifold, case.point()
    u, v, a, b = case.ambient(x), case.ambient(x), case.numbers(), case.numbers()
    combined = manifold.linear_combination(2, u, -0.5, v)
    assert_close(combined, 2 * flat(u) - 0.5 * flat(v), case.rounding)
    combined = manifold.linear_combination(a, u, b, v)
    expected = flat(a, case.batch) * flat(u, case.batch) + flat(b, case.batch) * flat(v, case.batch)
    np.testing.assert_allclose(flat(combined, case.batch), expected, rtol=0, atol=case.rounding)


def test_euclidean_inner_product_is_the_trace(case):
    x = case.point()
    u, v = case.ambient(x), case.ambient(x)
    assert_close(case.manifold.euclidean_inner_product(u, v), case.trace(u, v), case.rounding, scale=1)


NUMBER = re.compile(r"\d(\.\d)?e[+-]\d+")


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("factor", [2.0, 1.01, 0.0])
def test_a_point_off_the_manifold_is_refused_with_a_number(name, kind, batch, factor):
    case = Case(name, kind, batch)
    x = case.point()
    reason = case.manifold.check_point(case.off(x, factor))
    assert "off the manifold" in reason
    assert NUMBER.search(reason)


@pytest.mark.parametrize("name", [name for name in CURVED if not ZOO[name].every_pair])
@pytest.mark.parametrize("factor", [1.0, 0.05])
def test_a_vector_that_is_not_tangent_is_refused_with_a_number(name, kind, batch, factor):
    """The radial vector x is normal to spheres and frames."""
    case = Case(name, kind, batch)
    x = case.point()
    reason = case.manifold.check_tangent(x, case.not_tangent(x, factor))
    assert "not tangent" in reason
    assert NUMBER.search(reason)


def test_one_bad_entry_of_a_batch_is_enough(name, kind):
    case = Case(name, kind, (2, 3))
    x = case.point()
    bad = tree(lambda leaf: case.kind(flat(leaf).reshape(tuple(leaf.shape))), x)
    for leaf in parts(bad):
        leaf[1, 2] = float("nan") if case.member.flat else 0 * leaf[1, 2]
    assert case.manifold.check_point(bad) is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_points_and_vectors_that_are_not_finite_are_refused(case, value):
    x = case.point()
    bad_point, bad_vector = (tree(lambda leaf: leaf + value, y) for y in (x, case.tangent(x)))
    assert "NaN or infinity" in case.manifold.check_point(bad_point)
    assert "NaN or infinity" in case.manifold.check_tangent(x, bad_vector)


def test_points_of_another_shape_are_refused_with_both_shapes(case):
    x = case.point()
    bad_point, bad_vector = (tree(lambda leaf: leaf[..., :-1], y) for y in (x, case.tangent(x)))
    for reason in (case.manifold.check_point(bad_point), case.manifold.check_tangent(x, bad_vector)):
        assert re.search(r"has shape \(.*\), but .* needs \(.*\)", reason)


def test_a_vector_of_another_batch_is_refused(name):
    x = Case(name, DOUBLE, (3,)).point()
    case = Case(name, DOUBLE, (4,))
    assert "has shape (4," in case.manifold.check_tangent(x, case.tangent(case.point()))


def test_points_and_lengths_of_a_cone_can_be_multiplied(double):
    """A product is called one where a factor is, since its distances are no measure of a problem then."""
    manifold, x = double.manifold, double.point()
    if isinstance(manifold, Product):
        assert manifold.is_cone == any(factor.is_cone for factor in manifold.factors.values())
        return
    v = manifold.random_tangent_vector(x, 0)

    def tripled(part):
        if isinstance(part, TwoFactorPoint):
            return TwoFactorPoint(3**0.5 * part.left, 3**0.5 * part.right)
        return part._replace(S=3 * part.S) if isinstance(part, FixedRankPoint) else 3 * part

    def longer(part):
        if isinstance(part, FactoredMatrix):
            return manifold.projection(tripled(x), LowRankMatrix(3 * part.factors().left, part.factors().right))
        return 3 * part

    is_point = manifold.check_point(tripled(x)) is None
    scales = is_point and np.allclose(manifold.norm(tripled(x), longer(v)), 3 * manifold.norm(x, v))
    assert manifold.is_cone == scales


def test_the_first_step_scales_with_the_points_of_a_cone(case):
    """Unless it is a linear space; nor does it elsewhere. A step may move one factor of a product only."""
    manifold, x, one = case.manifold, case.point(), np.ones(case.batch)
    length = to_float64(manifold.first_step_length(x)) * one
    if isinstance(manifold, Product):
        factors = zip(manifold.factors.values(), x, strict=True)
        assert_close(length, np.min([to_float64(f.first_step_length(y)) * one for f, y in factors], axis=0), 0.0)
    elif manifold.is_cone and not manifold.is_linear:
        assert_close(length, 0.1 * np.sum(flat(x, case.batch) ** 2, axis=-1) ** 0.5, case.rounding)
    else:
        assert (length == min(1.0, 0.5 * manifold.typical_dist)).all()
