"""Matrix completion: against dense least squares, closed forms and the true matrix."""

import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from manifolds import FixedRankPoint, FixedRankTwoFactors, Sphere, check_gradient, check_hessian
from problems import AlternatingMinimization, CompletionProblem, MatrixCompletion, ObservedEntries, SubgradientSteps
from problems.entry_biases import Biases
from rankopt import GradientNorm, MaxIterations, TrustRegion, minimize

SOLVERS = ["conjugate-gradient", "trust-region", "lbfgs", "alternating", AlternatingMinimization(inner_steps=None)]


def setting(m=40, n=30, r=2, share=0.4, noise=0.0, seed=0):
    """A matrix of rank r, and its noisy entries at random places."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((m, r)) @ rng.standard_normal((r, n))
    rows, columns = np.nonzero(rng.random((m, n)) < share)
    values = truth[rows, columns] + noise * rng.standard_normal(rows.size)
    return truth, (rows, columns, values)


def relative_error(completion, truth):
    return np.linalg.norm(completion.row_factors_ @ completion.components_ - truth) / np.linalg.norm(truth)


def dense_cost(x, data, reg):
    rows, columns, values = data
    return 0.5 * np.sum((x[rows, columns] - values) ** 2) + 0.5 * reg * np.sum(x**2)


def ridge_row(basis, columns, values, reg):
    """Minimizer of |Q_i l - a|^2 + reg |l|^2 by a dense least-squares solver."""
    r = basis.shape[1]
    design = np.concatenate([basis[columns], reg**0.5 * np.eye(r)])
    return np.linalg.lstsq(design, np.concatenate([values, np.zeros(r)]), rcond=None)[0]


# ----------------------------------------------------------------------------------------------------- squared loss


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_every_solver_recovers_the_matrix_from_exact_entries(solver):
    truth, data = setting()
    completion = MatrixCompletion(rank=2, solver=solver, tol=1e-8).fit(data)
    assert relative_error(completion, truth) < 1e-6
    np.testing.assert_allclose(completion.singular_values_, np.linalg.svd(truth)[1][:2], rtol=1e-5)
    np.testing.assert_allclose(completion.components_ @ completion.components_.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_every_solver_finds_the_cost_of_dense_alternating_least_squares(solver):
    _, data = setting(noise=0.5)
    rows, columns, values = data
    reg, right = 0.05, np.linalg.qr(np.random.default_rng(1).standard_normal((30, 2)))[0]
    for _ in range(150):
        left = np.array([ridge_row(right, columns[rows == i], values[rows == i], reg) for i in range(40)])
        left = np.linalg.qr(left)[0]
        right = np.array([ridge_row(left, rows[columns == j], values[columns == j], reg) for j in range(30)])
        x = left @ right.T
        right = np.linalg.qr(right)[0]
    completion = MatrixCompletion(rank=2, solver=solver, reg=reg, tol=1e-8, max_iter=3000).fit(data)
    assert completion.cost_ == pytest.approx(dense_cost(x, data, reg), rel=1e-8)
    fitted = completion.row_factors_ @ completion.components_
    assert completion.cost_ == pytest.approx(dense_cost(fitted, data, reg), rel=1e-12)
    np.testing.assert_allclose(fitted, x, atol=1e-4)


@pytest.mark.parametrize("reg", [0.0, 0.3])
@pytest.mark.parametrize("manifold", [None, FixedRankTwoFactors(9, 7, 2)])
def test_derivatives_of_the_cost(reg, manifold):
    _, data = setting(m=9, n=7, noise=0.5)
    problem = CompletionProblem(ObservedEntries.of(data, "X", (9, 7)), 2, reg, manifold)
    x = problem.manifold.random_point(rng=3)
    assert problem.cost.value_and_gradient(x)[0] == pytest.approx(dense_cost(x.to_dense(), data, reg), rel=1e-13)
    check_gradient(problem.cost, problem.manifold, rng=0).raise_if_failed()
    identity = np.eye(7)  # the checks need the norm of the gradient, which an operator does not tell
    check_hessian(
        lambda x: problem.cost.value_and_gradient(x)[0],
        problem.manifold,
        lambda x: problem.cost.value_and_gradient(x)[1] @ identity,
        problem.cost.hessian_product,
        rng=0,
    ).raise_if_failed()


@pytest.mark.parametrize("manifold", [None, FixedRankTwoFactors(40, 30, 2)])
def test_start_is_the_multiple_of_the_truncated_svd_that_fits_best(manifold):
    _, data = setting(noise=0.5)
    problem = CompletionProblem(ObservedEntries.of(data, "X", (40, 30)), 2, 0.1, manifold)
    start = problem.spectral_start().to_dense()
    filled = np.zeros((40, 30))
    filled[data[0], data[1]] = data[2]
    u, s, vt = np.linalg.svd(filled)
    best = (u[:, :2] * s[:2]) @ vt[:2]
    ratio = start / best
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    costs = [dense_cost(t * start, data, 0.1) for t in (0.99, 1.0, 1.01)]
    assert costs[1] < min(costs[0], costs[2])


@pytest.mark.parametrize("method", ["conjugate-gradient", "lbfgs", "gradient-descent", "trust-region"])
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_two_factors_end_at_the_matrix_where_the_embedded_manifold_does(reg, method):
    _, data = setting(noise=0.1)
    entries, stopping = ObservedEntries.of(data, "X", (40, 30)), GradientNorm(relative=1e-8)
    embedded = CompletionProblem(entries, 2, reg)
    factored = CompletionProblem(entries, 2, reg, FixedRankTwoFactors(40, 30, 2))
    expected, result = (
        minimize(problem, problem.manifold, problem.spectral_start(), method, stopping=stopping)
        for problem in (embedded, factored)
    )
    assert result.success
    np.testing.assert_allclose(result.x.to_dense(), expected.x.to_dense(), atol=1e-6)


# -------------------------------------------------------------------------------------------- alternating minimization


def run_alternating(inner_steps, data, shape, reg, sweeps, rank=2):
    problem = CompletionProblem(ObservedEntries.of(data, "X", shape), rank, reg)
    start = problem.spectral_start()
    method = AlternatingMinimization(inner_steps)
    return minimize(problem, problem.manifold, start, method, stopping=MaxIterations(sweeps))


@pytest.mark.parametrize("reg", [0.0, 0.2])
def test_an_exact_half_sweep_solves_each_row_by_least_squares(reg):
    _, data = setting(noise=0.5)
    entries = ObservedEntries.of(data, "X", (40, 30))
    problem = CompletionProblem(entries, 2, reg)
    start = problem.spectral_start()
    left, right = AlternatingMinimization(None).start(problem.start(start), None)
    solved = left.solve(start.U, start.V)
    rows, columns, values = data
    expected = [ridge_row(start.V, columns[rows == i], values[rows == i], reg) for i in range(40)]
    np.testing.assert_allclose(solved, expected, atol=1e-10)
    solved = right.solve(start.V, start.U)
    expected = [ridge_row(start.U, rows[columns == j], values[columns == j], reg) for j in range(30)]
    np.testing.assert_allclose(solved, expected, atol=1e-10)


def test_as_many_inner_steps_as_unknowns_solve_exactly():
    _, data = setting(noise=0.5)
    problem = CompletionProblem(ObservedEntries.of(data, "X", (40, 30)), 2, 0.2)
    x = problem.spectral_start()
    exact, inexact = (AlternatingMinimization(k).start(problem.start(x), None)[0].solve(x.U, x.V) for k in (None, 2))
    np.testing.assert_allclose(inexact, exact, atol=1e-10)


@pytest.mark.parametrize("reg", [0.0, 0.1])
@pytest.mark.parametrize("popularity", [0.0, 1.0])
def test_two_preconditioned_steps_match_exact_least_squares(reg, popularity):
    """At rank 6 two steps are far from exact, and the sweeps need no more of them; columns differ in popularity."""
    rng = np.random.default_rng(4)
    m, n, r = 120, 90, 6
    truth = rng.standard_normal((m, r)) @ rng.standard_normal((r, n))
    share = 0.5 * (1 + np.arange(n)) ** (-0.3 * popularity)
    rows, columns = np.nonzero(rng.random((m, n)) < share)
    data = rows, columns, truth[rows, columns] + 0.3 * rng.standard_normal(rows.size)
    exact, one, two = (run_alternating(k, data, (m, n), reg, 60, r).history.fun for k in (None, 1, 2))
    np.testing.assert_allclose(two[-1], exact[-1], rtol=1e-5)
    assert (two[5:] < (1 + 1e-3) * exact[5:]).all()
    assert abs(two[1] / exact[1] - 1) > 1e-4
    assert one[1] > 1.01 * two[1] > 1.01 * exact[1]


def test_a_sweep_stays_at_the_optimum():
    """Each half-sweep starts from the factor of the point that it is given, whatever its core."""
    _, data = setting(noise=0.5)
    problem = CompletionProblem(ObservedEntries.of(data, "X", (40, 30)), 2, 0.1)
    optimum = run_alternating(None, data, (40, 30), 0.1, 300).x
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    optimum = FixedRankPoint(optimum.U, optimum.S @ turn, optimum.V @ turn)
    method = AlternatingMinimization(1)
    moved = method.sweep(optimum, method.start(problem.start(optimum), None))
    np.testing.assert_allclose(moved.to_dense(), optimum.to_dense(), atol=1e-6)


def test_rows_and_columns_without_observations_stay_zero():
    truth, (rows, columns, values) = setting()
    keep = (rows != 3) & (columns != 5)
    data = rows[keep], columns[keep], values[keep]
    for solver in ("alternating", AlternatingMinimization(None), "conjugate-gradient"):
        completion = MatrixCompletion(rank=2, solver=solver).fit(data, shape=truth.shape)
        np.testing.assert_allclose(completion.predict(np.full(30, 3), np.arange(30)), 0, atol=1e-8)
        np.testing.assert_allclose(completion.predict(np.arange(40), np.full(40, 5)), 0, atol=1e-8)


# ----------------------------------------------------------------------------------------------------------- offsets


def test_offsets_solve_the_normal_equations():
    _, data = setting(noise=0.5)
    rows, columns, values = data
    biases = Biases.fit(ObservedEntries.of(data, "X", (40, 30)), reg=3.0)
    design = np.zeros((rows.size, 70))
    design[np.arange(rows.size), rows] = 1
    design[np.arange(rows.size), 40 + columns] = 1
    expected = np.linalg.solve(design.T @ design + 3.0 * np.eye(70), design.T @ (values - values.mean()))
    np.testing.assert_allclose(np.concatenate([biases.rows, biases.columns]), expected, atol=1e-7)
    assert biases.mean == pytest.approx(values.mean(), rel=1e-14)


def test_offsets_are_added_to_predictions():
    _, (rows, columns, values) = setting(share=0.6)
    shifts = 3.0 + np.linspace(-2, 2, 40)[rows] + np.linspace(5, 0, 30)[columns]
    data = rows, columns, values + shifts
    completion = MatrixCompletion(rank=2, center=True, bias_reg=1.0).fit(data)
    plain = MatrixCompletion(rank=2).fit(data)
    assert completion.score(data) > plain.score(data)
    i, j = np.array([0, 7]), np.array([3, 29])
    x = completion.row_factors_ @ completion.components_
    offsets = completion.mean_ + completion.row_biases_[i] + completion.column_biases_[j]
    np.testing.assert_allclose(completion.predict(i, j), x[i, j] + offsets, atol=1e-12)


# ------------------------------------------------------------------------------------------------------- absolute loss


def with_outliers(r=2, share=0.1, seed=0):
    rng = np.random.default_rng(seed)
    truth, (rows, columns, values) = setting(100, 90, r, 0.35, seed=seed)
    wrong = rng.random(rows.size) < share
    return truth, (rows, columns, values + wrong * 10 * rng.standard_normal(rows.size))


def test_error_of_robust_completion_does_not_depend_on_the_rank():
    truth, data = with_outliers()
    fits = {rank: MatrixCompletion(rank=rank, loss="absolute").fit(data) for rank in (2, 5, 15)}
    errors = {rank: relative_error(fit, truth) for rank, fit in fits.items()}
    assert max(errors.values()) < 2e-5
    assert max(errors.values()) < 2 * min(errors.values())
    assert relative_error(MatrixCompletion(rank=2, tol=1e-2).fit(data), truth) > 0.1
    rows, columns, values = data
    x = fits[5].row_factors_ @ fits[5].components_
    assert fits[5].cost_ == pytest.approx(np.abs(x[rows, columns] - values).sum(), rel=1e-12)
    assert fits[5].status_ is None


def test_a_large_start_fits_outliers_where_the_rank_is_too_large():
    """What the tiny start is for."""
    truth, data = with_outliers(share=0.2)
    large = MatrixCompletion(rank=15, loss="absolute", solver=SubgradientSteps(initial_scale=0.1)).fit(data)
    tiny = MatrixCompletion(rank=15, loss="absolute").fit(data)
    assert relative_error(large, truth) > 0.05
    assert relative_error(tiny, truth) < 1e-4


def test_fewer_steps_where_they_are_limited():
    _, data = with_outliers()
    completion = MatrixCompletion(rank=2, loss="absolute", solver=SubgradientSteps(max_steps=7)).fit(data)
    assert completion.n_iter_ == 7


# ---------------------------------------------------------------------------------------------------------------- data


def test_sparse_matrices_and_triples_are_the_same_data():
    _, (rows, columns, values) = setting(noise=0.5)
    values[:5] = 0.0
    order = np.random.default_rng(0).permutation(rows.size)
    triple = MatrixCompletion(rank=2).fit((rows[order], columns[order], values[order]))
    matrix = scipy.sparse.csr_array((values, (rows, columns)), shape=(40, 30))
    assert matrix.nnz == rows.size
    for form in ("csr", "csc", "coo"):
        sparse = MatrixCompletion(rank=2).fit(matrix.asformat(form))
        np.testing.assert_allclose(sparse.row_factors_, triple.row_factors_, atol=1e-10)


def test_explicit_zeros_are_observations():
    values = np.array([0.0, 1.0, 2.0])
    entries = ObservedEntries.of(scipy.sparse.csr_array((values, ([0, 0, 1], [0, 1, 1])), shape=(2, 2)), "X")
    np.testing.assert_array_equal(entries.values, values)
    np.testing.assert_array_equal(entries.matrix().toarray(), [[0.0, 1.0], [0.0, 2.0]])
    np.testing.assert_array_equal(entries.transposed.matrix().toarray(), [[0.0, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize("solver", ["conjugate-gradient", "alternating", "trust-region"])
@pytest.mark.parametrize("options", [{}, {"reg": 0.1, "center": True}])
def test_float32_is_kept(solver, options):
    truth, (rows, columns, values) = setting()
    data = rows, columns, values.astype("f4")
    completion = MatrixCompletion(rank=2, solver=solver, tol=1e-4, **options).fit(data)
    assert completion.predict(rows, columns).dtype == completion.components_.dtype == np.float32
    robust = MatrixCompletion(rank=2, loss="absolute").fit(data)
    assert robust.row_factors_.dtype == np.float32
    assert relative_error(robust, truth) < 1e-3


def test_score_is_one_minus_the_unexplained_share():
    _, data = setting(noise=0.5)
    completion = MatrixCompletion(rank=2).fit(data)
    predicted = completion.predict(data[0], data[1])
    share = np.sum((predicted - data[2]) ** 2) / np.sum((data[2] - data[2].mean()) ** 2)
    assert completion.score(data) == pytest.approx(1 - share, rel=1e-12)
    assert completion.predict(np.array([], int), np.array([], int)).shape == (0,)


def test_no_dense_matrix_is_formed():
    """m = n = 20000 with 60000 observations: a dense matrix would take 3.2 GB."""
    n = 20_000
    rng = np.random.default_rng(0)
    places = np.unique(rng.integers(0, n * n, 60_000))
    data = places // n, places % n, rng.standard_normal(places.size)
    for options in ({"solver": "conjugate-gradient", "center": True}, {"solver": "alternating", "reg": 0.1}):
        tracemalloc.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            MatrixCompletion(rank=2, max_iter=3, **options).fit(data, shape=(n, n))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 60e6


def test_an_estimator_as_scikit_learn_knows_it():
    completion = MatrixCompletion(rank=3, reg=0.1, solver=TrustRegion())
    again = clone(completion)
    assert again.get_params() == completion.get_params()
    with pytest.raises(NotFittedError):
        completion.predict([0], [0])


def test_a_limit_of_iterations_is_a_warning():
    _, data = setting(noise=0.5)
    with pytest.warns(ConvergenceWarning, match="the solver stopped at a gradient of .*: .*limit"):
        completion = MatrixCompletion(rank=2, max_iter=1).fit(data)
    assert completion.n_iter_ == 1


# ------------------------------------------------------------------------------------------------------------ bad input

TRIPLE = setting()[1]
FITTED = MatrixCompletion(rank=2).fit(TRIPLE)
ROWS, COLUMNS, VALUES = TRIPLE


def fit(data=TRIPLE, shape=None, **options):
    return lambda: MatrixCompletion(**options).fit(data, shape=shape)


CALLS = {
    "rank zero": (fit(rank=0), ValueError, "rank must be at least 1, got 0"),
    "rank not whole": (fit(rank=2.0), TypeError, "rank must be an integer, got 2.0"),
    "rank too large": (fit(rank=31), ValueError, r"rank must be at most 30 for a matrix of shape \(40, 30\), got 31"),
    "loss": (fit(loss="huber"), ValueError, "loss must be 'squared' or 'absolute', got 'huber'"),
    "solver": (fit(solver="als"), ValueError, r"solver must be one of \(.*\) or a Method, got 'als'"),
    "solver of the other loss": (fit(solver=SubgradientSteps()), ValueError, "solver must be one of"),
    "solver for the absolute loss": (
        fit(loss="absolute", solver="lbfgs"),
        ValueError,
        "solver must be a SubgradientSteps value for loss='absolute', got 'lbfgs'",
    ),
    "ridge with the absolute loss": (fit(loss="absolute", reg=0.1), ValueError, "reg and center must be left out"),
    "reg": (fit(reg=-1.0), ValueError, r"reg must be at least 0, got -1.0"),
    "bias_reg": (fit(bias_reg="a"), TypeError, "bias_reg must be a number, got 'a'"),
    "tol": (fit(tol=-1), ValueError, "tol must be at least 0, got -1"),
    "max_iter": (fit(max_iter=0), ValueError, "max_iter must be at least 1, got 0"),
    "center": (fit(center="yes"), TypeError, "center must be True or False, got 'yes'"),
    "a dense matrix": (
        fit(np.eye(3)),
        TypeError,
        "X must be a scipy sparse matrix, whose stored entries .* got ndarray",
    ),
    "an empty matrix": (fit(scipy.sparse.csr_array((3, 3))), ValueError, "X has no observed entry"),
    "a pair": (fit((ROWS, COLUMNS)), TypeError, "X must be a scipy sparse matrix, .* got tuple"),
    "fractions as rows": (
        fit((ROWS * 1.0, COLUMNS, VALUES)),
        TypeError,
        "the rows of X must be a one-dimensional array of integers, got float64",
    ),
    "fewer columns": (fit((ROWS, COLUMNS[:-1], VALUES)), ValueError, "X has .* rows but .* columns; give one of each"),
    "fewer values": (fit((ROWS, COLUMNS, VALUES[:-1])), ValueError, "X has .* rows but values of shape"),
    "negative rows": (fit((ROWS - 1, COLUMNS, VALUES)), ValueError, r"X has indices from \(-1, 0\) to"),
    "outside the shape": (fit(shape=(40, 20)), ValueError, r"outside of a matrix of shape \(40, 20\)"),
    "another shape": (
        fit(scipy.sparse.csr_array(np.eye(3)), shape=(4, 3)),
        ValueError,
        r"X has shape \(3, 3\), but \(4, 3\) is needed",
    ),
    "an entry twice": (
        fit((np.array([0, 1, 1]), np.array([0, 2, 2]), np.ones(3))),
        ValueError,
        r"X has the entry \(1, 2\) twice; merge the observations first",
    ),
    "not finite": (fit((ROWS, COLUMNS, VALUES * np.nan)), ValueError, "the values of X contains NaN or infinity"),
    "complex": (fit((ROWS, COLUMNS, VALUES * 1j)), TypeError, "the values of X must have a real floating dtype"),
    "all zero": (
        fit((ROWS, COLUMNS, 0 * VALUES), rank=2),
        ValueError,
        "rank=2 cannot be started from the observed entries: the matrix has a rank below 2",
    ),
    "all zero, absolute": (
        fit((ROWS, COLUMNS, 0 * VALUES), rank=2, loss="absolute"),
        ValueError,
        "all observed entries are zero",
    ),
    "predict outside": (lambda: FITTED.predict([40], [0]), ValueError, r"predict has indices .* shape \(40, 30\)"),
    "predict fractions": (lambda: FITTED.predict([0.5], [0]), TypeError, "the rows of predict must be"),
    "score of another shape": (
        lambda: FITTED.score(scipy.sparse.csr_array(np.eye(3))),
        ValueError,
        r"X has shape \(3, 3\), but \(40, 30\) is needed",
    ),
    "inner_steps": (lambda: AlternatingMinimization(0), ValueError, "inner_steps must be at least 1, got 0"),
    "inner_steps not whole": (lambda: AlternatingMinimization(1.5), TypeError, "inner_steps must be an integer"),
    "step": (lambda: SubgradientSteps(step=0.0), ValueError, "step must be positive, got 0.0"),
    "decay": (lambda: SubgradientSteps(decay=1.0), ValueError, "decay must be positive and below 1, got 1.0"),
    "initial_scale": (lambda: SubgradientSteps(initial_scale=-1), ValueError, "initial_scale must be at least 0"),
    "max_steps": (lambda: SubgradientSteps(max_steps=0), ValueError, "max_steps must be at least 1, got 0"),
    "alternating elsewhere": (
        lambda: minimize(
            lambda x: x @ x,
            Sphere(3),
            method=AlternatingMinimization(),
            gradient=lambda x: 2 * x,
        ),
        TypeError,
        "AlternatingMinimization runs on a CompletionProblem, not on ObjectiveProblem",
    ),
    "alternating in two factors": (
        lambda: _alternate(FixedRankTwoFactors(4, 3, 1)),
        TypeError,
        r"AlternatingMinimization runs on FixedRank, not on FixedRankTwoFactors\(4, 3, 1\); leave manifold out",
    ),
}


def _alternate(manifold):
    problem = CompletionProblem(ObservedEntries.of(scipy.sparse.csr_array(np.ones((4, 3))), "X"), 1, manifold=manifold)
    return minimize(problem, manifold, problem.spectral_start(), AlternatingMinimization())


@pytest.mark.parametrize("name", CALLS)
def test_bad_input_is_refused(name):
    call, error, message = CALLS[name]
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
