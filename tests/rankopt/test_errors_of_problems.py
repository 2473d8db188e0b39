"""Bad input of the problems that solvers run on: the exact type of the error, and a message that names it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from manifolds import CholeskyQR, Exponential, Product, Sphere, Stiefel
from rankopt import (
    Method,
    ObjectiveProblem,
    QuadraticObjective,
    QuadraticProblem,
    SampledProblem,
    ScipyFunction,
    minimize,
)

A = np.diag([1.0, 2.0, 3.0])
QUADRATIC, FRAMES = QuadraticObjective(A), Stiefel(3, 2)


class Steps(Method):
    """A method of which only the step is of interest."""

    def __init__(self, step):
        self._step = step

    def start(self, state, context):
        return None

    def step(self, state, memory, context):
        return self._step(state)


CALLS = {
    "objective is a number": (
        lambda: ObjectiveProblem(3.0, Sphere(3)),
        TypeError,
        r"objective must be callable or have value_and_gradient\(x\), got float",
    ),
    "objective is missing": (lambda: ObjectiveProblem(None, Sphere(3)), TypeError, "objective must be .*NoneType"),
    "manifold is a name": (
        lambda: ObjectiveProblem(ScipyFunction(rosen, rosen_der), "sphere"),
        TypeError,
        "manifold must be a Manifold, got str",
    ),
    "manifold is a class": (
        lambda: ObjectiveProblem(ScipyFunction(rosen, rosen_der), Sphere),
        TypeError,
        "manifold must be a Manifold, got ABCMeta",
    ),
    "cost is not finite": (
        lambda: ObjectiveProblem(ScipyFunction(lambda x: np.inf, rosen_der), Sphere(3)).start(np.eye(3)[0]),
        ValueError,
        "objective must be finite at the start point x0, got cost inf",
    ),
    "start is far off": (
        lambda: ObjectiveProblem(ScipyFunction(rosen, rosen_der), Sphere(3)).start(np.ones(3)),
        ValueError,
        "x0 is far off the manifold",
    ),
    "function is a callable": (
        lambda: SampledProblem(rosen),
        TypeError,
        r"function must be a SampledFunction such as SampledFunction\(manifold, values\), got <function rosen",
    ),
    "function is missing": (lambda: SampledProblem(None), TypeError, "function must be a SampledFunction .*None"),
    "quadratic is a matrix": (
        lambda: QuadraticProblem(A, FRAMES, CholeskyQR()),
        TypeError,
        r"quadratic must be a QuadraticObjective such as QuadraticObjective\(A\), got array",
    ),
    "manifold has tuples as points": (
        lambda: QuadraticProblem(QUADRATIC, Product(Sphere(3)), CholeskyQR()),
        TypeError,
        r"manifold must be an ArrayManifold such as Stiefel\(5, 2\), got Product",
    ),
    "retraction without normalizers": (
        lambda: QuadraticProblem(QUADRATIC, FRAMES, Exponential()),
        TypeError,
        r"retraction must be an Orthonormalization such as CholeskyQR\(\), got Exponential\(\)",
    ),
    "retraction is a name": (
        lambda: QuadraticProblem(QUADRATIC, FRAMES, "qr"),
        TypeError,
        "retraction must be an Orthonormalization .*got 'qr'",
    ),
    "start of another dtype": (
        lambda: QUADRATIC.on(FRAMES).start(np.eye(3, 2, dtype="f4")),
        TypeError,
        "x0 and A must agree in library, dtype and device",
    ),
    "step is a state": (
        lambda: minimize(QUADRATIC, FRAMES, method=Steps(lambda state: state), rng=0),
        TypeError,
        r"a method's step must be a Step such as Step\(curve.accept\(t\), memory, t\), got <",
    ),
    "step is a tuple": (
        lambda: minimize(QUADRATIC, FRAMES, method=Steps(lambda state: (state, None, 1.0)), rng=0),
        TypeError,
        r"a method's step must be a Step .*got \(",
    ),
    "fun is a number": (lambda: ScipyFunction(3.0, rosen_der), TypeError, "fun must be a callable, got float"),
    "jac is missing": (lambda: ScipyFunction(rosen, None), TypeError, "jac must be a callable, or True .*got None"),
    "hessp is a name": (
        lambda: ScipyFunction(rosen, rosen_der, "bfgs"),
        TypeError,
        "hessp must be a callable, got str",
    ),
    "args are a list": (
        lambda: ScipyFunction(rosen, rosen_der, None, [1.0]),
        TypeError,
        "args must be a tuple, got list",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_input(case):
    call, error, message = CALLS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert caught.type is error
