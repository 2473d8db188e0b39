"""Bad input of QuadraticObjective: the exact type of the error, and a message that names the culprit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from manifolds import GeneralizedStiefel, Grassmann, Product, Sphere, Stiefel
from rankopt import QuadraticObjective, minimize

A = np.diag([1.0, 2.0, 3.0, 4.0])
SKEWED = A + np.eye(4, k=1)


class WrongShape:
    shape, dtype = (4, 4), np.dtype("float64")

    def __matmul__(self, v):
        return v[:3]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"A": None}, TypeError, r"A must be an array, a sparse matrix or an object with shape and @, got NoneType"),
        ({"A": A.tolist()}, TypeError, r"A must be an array.*got list"),
        ({"A": A[:3]}, ValueError, r"A must be a square matrix, got shape \(3, 4\)"),
        ({"A": A[0]}, ValueError, r"A must be a square matrix, got shape \(4,\)"),
        ({"A": A.astype(int)}, TypeError, r"A must have a real floating dtype, got int64"),
        ({"A": A.astype(complex)}, TypeError, r"A must have a real floating dtype, got complex128"),
        ({"A": SKEWED}, ValueError, r"A must be symmetric, but x\^T A y and y\^T A x differ.*\(A \+ A\^T\) / 2"),
        ({"A": scipy.sparse.linalg.aslinearoperator(SKEWED)}, ValueError, r"A must be symmetric, but x\^T A y"),
        ({"A": torch.asarray(SKEWED)}, ValueError, r"A must be symmetric, but x\^T A y"),
        ({"A": np.where(A == 2.0, np.nan, A)}, ValueError, r"A gives NaN or infinity on a random vector"),
        ({"A": WrongShape()}, ValueError, r"A maps shape \(4, 4\) to \(3, 4\); it must keep"),
        ({"weights": 2.0}, ValueError, r"weights must be a sequence of finite numbers, got 2.0"),
        ({"weights": []}, ValueError, r"weights must be a sequence of finite numbers"),
        ({"weights": [1.0, np.inf]}, ValueError, r"weights must be a sequence of finite numbers"),
        ({"weights": "heavy"}, TypeError, r"weights must be a sequence of finite numbers, got 'heavy'"),
        ({"linear": [1.0] * 4}, TypeError, r"linear must be an array like a point, got list"),
        ({"linear": np.ones((3, 2))}, ValueError, r"linear must have the shape \(4, p\) of a point, got \(3, 2\)"),
        ({"linear": np.ones((2, 4, 2))}, ValueError, r"linear must have the shape \(4, p\) of a point"),
        ({"linear": np.ones((4, 2), np.float32)}, TypeError, r"linear and A must agree.*float32"),
        ({"linear": torch.ones(4, 2).double()}, TypeError, r"linear and A must agree.*torch"),
        ({"linear": np.full((4, 2), np.nan)}, ValueError, r"linear contains NaN or infinity"),
        ({"scale": np.nan}, ValueError, r"scale must be finite, got nan"),
        ({"scale": np.inf}, ValueError, r"scale must be finite, got inf"),
        ({"scale": "-1"}, TypeError, r"scale must be a number, got '-1'"),
        ({"refresh": 0}, ValueError, r"refresh must be at least 1, got 0"),
        ({"refresh": 2.5}, TypeError, r"refresh must be an integer, got 2.5"),
    ],
)
def test_constructor(arguments, error, message):
    with pytest.raises(Exception, match=message) as caught:
        QuadraticObjective(**{"A": A} | arguments)
    assert caught.type is error


QUADRATIC = QuadraticObjective(A)


@pytest.mark.parametrize(
    ("objective", "manifold", "error", "message"),
    [
        (QUADRATIC, Product(x=Sphere(4), y=Sphere(4)), TypeError, r"manifold must have single arrays as points"),
        (QUADRATIC, Stiefel(5, 2), ValueError, r"A is of order 4, but the points of Stiefel\(5, 2\) have.*\(5, 2\)"),
        (QUADRATIC, Sphere(4, 2, 2), ValueError, r"A is of order 4, but the points of Sphere\(4, 2, 2\)"),
        (QuadraticObjective(A, (2.0, 1.0)), Stiefel(4, 3), ValueError, r"weights must be 3 numbers.*got 2"),
        (QuadraticObjective(A, (2.0, 1.0)), Sphere(4), ValueError, r"weights must be 1 numbers.*got 2"),
        (
            QuadraticObjective(A, linear=np.ones((4, 2))),
            Stiefel(4, 3),
            ValueError,
            r"linear must have the shape \(4, 3",
        ),
        (QuadraticObjective(A, linear=np.ones((4, 1))), Sphere(4), ValueError, r"linear must have the shape \(4,\)"),
        (QuadraticObjective(A, (2.0, 1.0)), Grassmann(4, 2), ValueError, r"weights must be equal.*use Stiefel"),
        (QuadraticObjective(A, linear=np.ones((4, 2))), Grassmann(4, 2), ValueError, r"linear left out, on a Grassm"),
        (QUADRATIC, GeneralizedStiefel(torch.eye(4), 2), TypeError, r"A and B of the manifold must agree"),
        (QUADRATIC, "sphere", TypeError, r"manifold must be a Manifold, got str"),
    ],
)
def test_manifold(objective, manifold, error, message):
    with pytest.raises(Exception, match=message) as caught:
        minimize(objective, manifold, rng=0)
    assert caught.type is error


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x0": torch.eye(4).double()[:, :2]}, TypeError, r"x0 and A must agree in library"),
        ({"x0": np.eye(4, 2, dtype=np.float32)}, TypeError, r"x0 and A must agree.*float32"),
        ({"x0": np.eye(4)}, ValueError, r"x0: point has shape \(4, 4\), but Stiefel\(4, 2\) needs"),
        ({"x0": 2 * np.eye(4, 2)}, ValueError, r"x0 is far off the manifold"),
        ({"x0": np.full((4, 2), np.nan)}, ValueError, r"x0 contains NaN or infinity"),
        ({"x0": [[1.0, 0.0]] * 4}, TypeError, r"x0: point must be a numpy array or a torch tensor, got list"),
        ({"gradient": lambda x: x}, ValueError, r"gradient and hessian must be left out"),
        ({"hessian": lambda x, v: v}, ValueError, r"gradient and hessian must be left out"),
    ],
)
def test_run(arguments, error, message):
    with pytest.raises(Exception, match=message) as caught:
        minimize(QUADRATIC, Stiefel(4, 2), **{"rng": 0} | arguments)
    assert caught.type is error


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1.0] * 4, TypeError, r"a point must be a numpy array or a torch tensor, got list"),
        (np.ones((3, 2)), ValueError, r"A is of order 4, but the point has the shape \(3, 2\)"),
        (np.float64(1.0), ValueError, r"A is of order 4, but the point has the shape \(\)"),
        (np.ones((4, 2), np.float32), TypeError, r"the point and A must agree"),
        (np.ones((4, 3)), ValueError, r"weights must be 3 numbers, one for each column, got 2"),
    ],
)
def test_evaluation(x, error, message):
    objective = QuadraticObjective(A, (2.0, 1.0))
    for evaluate in (objective.value_and_gradient, lambda v: objective.hessian_product(np.eye(4, 2), v)):
        with pytest.raises(Exception, match=message) as caught:
            evaluate(x)
        assert caught.type is error


def test_cost_that_is_not_finite_at_the_start():
    objective = QuadraticObjective(np.where(A == 2.0, np.nan, A), probe=False)
    with pytest.raises(ValueError, match="objective must be finite at the start point x0, got cost nan"):
        minimize(objective, Stiefel(4, 2), rng=0)


def test_probe_can_be_left_out():
    # Of a matrix that is not symmetric, what is minimised is up to the caller.
    assert QuadraticObjective(SKEWED, probe=False).n == 4
