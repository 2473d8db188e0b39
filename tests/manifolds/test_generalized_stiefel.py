"""The generalized Stiefel manifold in any metric, against dense linear algebra in the coordinates of the metric.

Accuracy is a contract: 1e-10 where B and M have condition 1e2 and 1e-7 at condition 1e8 in float64, 1e-4 at condition
1e3 in float32. Errors of vectors are measured in the norm of M relative to the vector that goes in, errors of
covectors (Euclidean gradients) in the norm of M^{-1}: these are the scales that a change of variables keeps.
"""

from functools import cached_property

import numpy as np
import pytest

from manifolds import QR, CholeskyQR, GeneralizedStiefel, Polar, check_retraction
from tests.arrays import DOUBLE, Kind, spd, to_float64
from tests.manifolds.dense import DenseGeometry

N, P = 9, 3
ACCURACY = [
    (Kind(library, dtype), condition, tolerance)
    for dtype, condition, tolerance in (("float64", 1e2, 1e-10), ("float64", 1e8, 1e-7), ("float32", 1e3, 1e-4))
    for library in ("numpy", "torch")
]


class Setting:
    """B, M and X of one kind with their dense geometry, and random vectors."""

    def __init__(self, kind, condition, metric, tolerance=None, retraction=None, seed=0):
        self.kind, self.tolerance = kind, tolerance
        self.B = kind(spd(N, condition, seed))
        unrelated = kind(spd(N, condition, seed + 1))
        self.M = {"identity": kind(np.eye(N)), "exact": self.B, "unrelated": unrelated}[metric]
        self.manifold = GeneralizedStiefel(self.B, P, None if metric == "identity" else self.M, retraction)
        self.rng = np.random.default_rng(seed + 2)
        self.x = self.manifold.random_point(self.rng)
        self.geometry = self.manifold.at(self.x)

    @cached_property
    def dense(self):
        return DenseGeometry(*map(to_float64, (self.B, self.M, self.x)))

    def draw(self):
        """Ambient vector or covector, and the same in float64."""
        a = self.kind(self.rng.standard_normal((N, P)))
        return a, to_float64(a)

    def tangent(self):
        """Tangent vector of norm one, and the same in float64."""
        v = self.manifold.random_tangent_vector(self.x, self.rng)
        return v, to_float64(v)


@pytest.fixture(params=ACCURACY, ids=lambda accuracy: f"{accuracy[0]}-condition-{accuracy[1]:.0e}")
def accuracy(request):
    """Kind of array, condition number, tolerance."""
    return request.param


@pytest.fixture(params=["identity", "exact", "unrelated"])
def metric(request):
    """M = I, M = B, M unrelated to both."""
    return request.param


@pytest.fixture
def setting(accuracy, metric):
    kind, condition, tolerance = accuracy
    return Setting(kind, condition, metric, tolerance)


def test_points_are_feasible(setting):
    for x in (setting.x, setting.geometry.retraction(setting.tangent()[0])):
        X = to_float64(x)
        assert np.abs(X.T @ setting.dense.B @ X - np.eye(P)).max() < setting.tolerance


def test_projection_is_the_orthogonal_one(setting):
    dense, (a, A) = setting.dense, setting.draw()
    projected = to_float64(setting.geometry.projection(a))
    error = dense.to_vector(projected) - dense.project(dense.to_vector(A))
    assert np.linalg.norm(error) < setting.tolerance * dense.norm(A)
    assert dense.normal_part(projected) < setting.tolerance * dense.norm(A)


def test_normal_space_is_m_inverse_b_x_times_symmetric(setting):
    """N = {M^{-1} B X S : S = S^T} is M-orthogonal to the tangent space, and what the projection removes lies in it."""
    dense, (a, A) = setting.dense, setting.draw()
    removed = A - to_float64(setting.geometry.projection(a))
    scale = dense.norm(A)
    for xi in dense.tangent_basis():
        assert abs(dense.to_vector(xi) @ dense.to_vector(removed)) < setting.tolerance * scale
    S = setting.rng.standard_normal((P, P))
    normal = setting.geometry.normal_basis @ setting.kind(S + S.T)
    projected = to_float64(setting.geometry.projection(normal))
    assert dense.norm(projected) < setting.tolerance * dense.norm(to_float64(normal))


def test_projection_is_idempotent_and_self_adjoint(setting):
    dense, (a, A), (b, B) = setting.dense, setting.draw(), setting.draw()
    pa, pb = (to_float64(setting.geometry.projection(v)) for v in (a, b))
    twice = to_float64(setting.geometry.projection(setting.geometry.projection(a)))
    scale = dense.norm(A) * dense.norm(B)
    assert dense.norm(twice - pa) < setting.tolerance * dense.norm(A)
    left, right = dense.to_vector(pa) @ dense.to_vector(B), dense.to_vector(A) @ dense.to_vector(pb)
    assert abs(left - right) < setting.tolerance * scale
    assert abs(float(setting.geometry.inner_product(setting.geometry.projection(a), b)) - left) < (
        setting.tolerance * scale
    )


def test_gradient_is_the_riesz_representative(setting):
    dense, (e, E) = setting.dense, setting.draw()
    gradient = to_float64(setting.geometry.riemannian_gradient(e))
    error = dense.to_vector(gradient) - dense.project(dense.to_covector(E))
    scale = dense.dual_norm(E)
    assert np.linalg.norm(error) < setting.tolerance * scale
    for xi in dense.tangent_basis():
        assert abs(np.sum(gradient * (dense.M @ xi)) - np.sum(E * xi)) < setting.tolerance * scale


def test_norms_of_the_gradient_need_no_product_with_m(setting):
    """norm(grad)^2 = tr(grad^T grad f) = tr(grad^T c) and <eta, grad> = tr(eta^T c), with c = grad f - B X S."""
    dense, geometry, (e, E), (_, eta) = setting.dense, setting.geometry, setting.draw(), setting.tangent()
    gradient = to_float64(geometry.riemannian_gradient(e))
    covector = to_float64(e - geometry.gram_point @ geometry.multiplier(e))
    scale = dense.dual_norm(E)
    for pairing in (np.sum(gradient * E), np.sum(gradient * covector)):
        assert abs(dense.norm(gradient) ** 2 - pairing) < setting.tolerance * scale**2
    expected = dense.to_vector(eta) @ dense.to_vector(gradient)
    for pairing in (np.sum(eta * E), np.sum(eta * covector)):
        assert abs(expected - pairing) < setting.tolerance * scale


def test_the_old_gradient_needs_no_transport(setting):
    """<P_Y(g), g_new>_M = tr(g^T c_new) for the gradient g of another point."""
    manifold, (e, E), (f, F) = setting.manifold, setting.draw(), setting.draw()
    there = manifold.at(manifold.retraction(setting.x, setting.tangent()[0]))
    dense = DenseGeometry(setting.dense.B, setting.dense.M, to_float64(there.point))
    old, new = setting.geometry.riemannian_gradient(e), to_float64(there.riemannian_gradient(f))
    transported = to_float64(there.transport_from(setting.geometry, old))
    covector = to_float64(f - there.gram_point @ there.multiplier(f))
    error = dense.to_vector(transported) @ dense.to_vector(new) - np.sum(to_float64(old) * covector)
    assert abs(error) < setting.tolerance * setting.dense.dual_norm(E) * dense.dual_norm(F)


def test_multiplier_is_the_least_squares_one(setting):
    """Its scale: B X S is a covector of norm at least norm(S) sqrt(min eig C)."""
    dense, (e, E) = setting.dense, setting.draw()
    smallest = np.linalg.svd(dense.to_covector(dense.B @ dense.X).reshape(N, P), compute_uv=False)[-1]
    error = to_float64(setting.geometry.multiplier(e)) - dense.multiplier(E)
    assert np.linalg.norm(error) < setting.tolerance * dense.dual_norm(E) / smallest


def test_hessian_is_the_projection_of_the_curved_product(setting):
    """Hess f[v] = P(M^{-1}(h - B v S)) for the Euclidean product h, symmetric for a symmetric one."""
    dense, geometry, (e, E), (v, V) = setting.dense, setting.geometry, setting.draw(), setting.tangent()
    h, H = setting.draw()
    S = dense.multiplier(E)
    hessian = to_float64(geometry.riemannian_hessian(e, h, v))
    expected = dense.project(dense.to_covector(H - dense.B @ V @ S))
    scale = dense.dual_norm(H) + dense.dual_norm(dense.B @ V @ S)
    assert np.linalg.norm(dense.to_vector(hessian) - expected) < setting.tolerance * scale
    assert dense.normal_part(hessian) < setting.tolerance * scale
    carried = to_float64(geometry.riemannian_hessian(e, h, v, gram_tangent=setting.B @ v))
    np.testing.assert_array_equal(carried, hessian)


def test_special_case_m_equals_b(accuracy):
    """P(A) = A - X sym(X^T B A) and grad = B^{-1} grad f - X sym(X^T grad f), the formulas of Manopt."""
    kind, condition, tolerance = accuracy
    setting = Setting(kind, condition, "exact")
    dense, (a, A), (e, E) = setting.dense, setting.draw(), setting.draw()
    B, X = dense.B, dense.X
    sym = lambda a: (a + a.T) / 2  # noqa: E731
    projection = A - X @ sym(X.T @ B @ A)
    gradient = np.linalg.solve(B, E) - X @ sym(X.T @ E)
    assert dense.norm(to_float64(setting.geometry.projection(a)) - projection) < tolerance * dense.norm(A)
    assert dense.norm(to_float64(setting.geometry.riemannian_gradient(e)) - gradient) < tolerance * dense.dual_norm(E)


def test_special_case_m_equals_identity(accuracy):
    """W = B X and C = X^T B^2 X: the projection by a Kronecker solve of its Lyapunov equation."""
    kind, condition, tolerance = accuracy
    setting = Setting(kind, condition, "identity")
    dense, (a, A) = setting.dense, setting.draw()
    W = dense.B @ dense.X
    C, eye = W.T @ W, np.eye(P)
    S = np.linalg.solve(np.kron(C, eye) + np.kron(eye, C), (W.T @ A + A.T @ W).ravel()).reshape(P, P)
    for result in (setting.geometry.projection(a), setting.geometry.riemannian_gradient(a)):
        assert np.linalg.norm(to_float64(result) - (A - W @ S)) < tolerance * np.linalg.norm(A)


@pytest.mark.parametrize("retraction", [CholeskyQR(), QR(), Polar()], ids=str)
def test_change_of_variables(accuracy, metric, retraction):
    """With M = R^T R, X -> R X carries {X^T B X = I} with the metric of M to {X^T (R^{-T} B R^{-1}) X = I} with I."""
    kind, condition, tolerance = accuracy
    setting = Setting(kind, condition, metric, retraction=retraction)
    dense, R = setting.dense, setting.dense.R
    whitened = np.linalg.solve(R.T, np.linalg.solve(R.T, dense.B).T)
    plain = GeneralizedStiefel((whitened + whitened.T) / 2, P, retraction=retraction, probe=False).at(R @ dense.X)
    (a, A), (e, E), (v, V) = setting.draw(), setting.draw(), setting.tangent()
    h = dense.M @ V
    covector = lambda e: np.linalg.solve(R.T, e)  # noqa: E731
    results = {
        "projection": (setting.geometry.projection(a), plain.projection(R @ A), dense.norm(A)),
        "gradient": (
            setting.geometry.riemannian_gradient(e),
            plain.riemannian_gradient(covector(E)),
            dense.dual_norm(E),
        ),
        "hessian": (
            setting.geometry.riemannian_hessian(e, kind(h), v),
            plain.riemannian_hessian(covector(E), covector(h), R @ V),
            dense.dual_norm(h) + dense.dual_norm(dense.B @ V @ dense.multiplier(E)),
        ),
        "retraction": (setting.geometry.retraction(v), plain.retraction(R @ V), 1),
        "second-order retraction": (
            setting.geometry.second_order_retraction(v),
            plain.second_order_retraction(R @ V),
            1,
        ),
    }
    for name, (ours, theirs, scale) in results.items():
        if "retraction" in name:
            scale = dense.norm(to_float64(ours)) + 1
        assert np.linalg.norm(R @ to_float64(ours) - theirs) < tolerance * scale, name


@pytest.mark.parametrize(
    ("metric", "retraction", "second"),
    [
        ("exact", Polar(), True),
        ("exact", CholeskyQR(), False),
        ("exact", QR(), False),
        ("identity", Polar(), False),
        ("identity", CholeskyQR(), False),
        ("unrelated", Polar(), False),
        ("unrelated", QR(), False),
        ("unrelated", CholeskyQR(), False),
    ],
)
def test_which_retractions_are_of_second_order(metric, retraction, second):
    """Polar where M = B, none elsewhere; the one with the normal correction always."""
    setting = Setting(DOUBLE, 1e2, metric, retraction=retraction)
    verdict = check_retraction(setting.manifold, setting.manifold.retraction, order=2, rng=0)
    assert verdict.passed is second
    assert verdict.slope == pytest.approx(3 if second else 2, abs=0.3)
    check_retraction(setting.manifold, rng=0).raise_if_failed()
    check_retraction(setting.manifold, order=2, rng=0).raise_if_failed()


def test_polar_equals_the_second_order_retraction_where_m_is_b():
    """To third order: W = X and T = v^T B v, and the correction only rescales Y by a symmetric factor."""
    setting = Setting(DOUBLE, 1e2, "exact", retraction=Polar())
    v, _ = setting.tangent()
    error = [
        np.abs(setting.geometry.retraction(t * v) - setting.geometry.second_order_retraction(t * v)).max()
        for t in (1e-2, 1e-3)
    ]
    assert error[0] < 1e-5
    assert error[1] < max(error[0] * 1.2e-3, 1e-14)


def test_carried_product_is_used(setting):
    """A caller's B X is taken as it is: the geometry makes no product of its own."""

    class Counting:
        shape, products = (N, N), 0

        def __matmul__(self, v):
            Counting.products += 1
            return setting.B @ v

    counting = Counting()
    counting.like = setting.kind.like
    manifold = GeneralizedStiefel(counting, P, setting.M, probe=False)
    geometry = manifold.at(setting.x, gram_point=setting.B @ setting.x)
    a, _ = setting.draw()
    geometry.projection(a)
    geometry.riemannian_gradient(a)
    assert Counting.products == 0
    np.testing.assert_array_equal(
        to_float64(geometry.projection(a)),
        to_float64(GeneralizedStiefel(setting.B, P, setting.M).at(setting.x).projection(a)),
    )


def test_units_of_b_do_not_matter_to_the_checks(metric):
    """B in any unit: points and tangent vectors pass, what is off by a tenth does not."""
    for unit in (1e-16, 1e-6, 1e6, 1e16):
        B = unit * spd(N, 1e2, 0)
        M = {"identity": None, "exact": B, "unrelated": unit * spd(N, 1e2, 1)}[metric]
        manifold = GeneralizedStiefel(B, P, M)
        x = manifold.random_point(0)
        v = manifold.random_tangent_vector(x, 1)
        v *= np.linalg.norm(x) / np.linalg.norm(v)
        assert manifold.check_point(x) is None
        assert manifold.check_point(1.1 * x) is not None
        assert manifold.check_tangent(x, v) is None
        assert manifold.check_tangent(x, v + 0.1 * x) is not None
