"""Bad input of the pieces of the low-rank optimizers: the exact type of the error, and a message that names it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rankopt import (
    AdaRankGrad,
    CompletedTransport,
    FiraResidual,
    GaLore,
    KeepMoments,
    LinearTransport,
    MassTransport,
    Moments,
    RefreshSchedule,
    ResetMoments,
    SignResidual,
    SubspaceOptimizer,
    VarianceTransport,
    adarankgrad_step,
)
from rankopt.training.options import OPTIONS

M, N, B = 5, 4, 2
SCHEDULE = {"min_gap": 10, "max_gap": 200, "tolerance": 0.6, "staggered": True}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"min_gap": 0}, ValueError, r"min_gap must be at least 1, got 0"),
        ({"min_gap": 2.5}, TypeError, r"min_gap must be an integer, got 2.5"),
        ({"max_gap": -3}, ValueError, r"max_gap must be at least 1, got -3"),
        ({"max_gap": None}, TypeError, r"max_gap must be an integer, got None"),
        ({"max_gap": True}, TypeError, r"max_gap must be an integer, got True"),
        ({"tolerance": -0.1}, ValueError, r"tolerance must be at least 0, got -0.1"),
        ({"tolerance": math.nan}, ValueError, r"tolerance must be at least 0, got nan"),
        ({"tolerance": "0.6"}, TypeError, r"tolerance must be a number, got '0.6'"),
        ({"staggered": "no"}, TypeError, r"staggered must be a bool, got 'no'"),
    ],
)
def test_schedule(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        RefreshSchedule(**SCHEDULE | changes)
    assert caught.type is error


def test_the_latest_gap_may_be_the_smaller_one():
    assert RefreshSchedule(10, 4, 0.0, False).deadline(1, 0, True) == 5


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weight": [[1.0]]}, TypeError, r"weight must be a tensor, got list"),
        ({"weight": ones(M)}, ValueError, r"weight must be a matrix, got shape \(5,\)"),
        ({"basis": None}, TypeError, r"basis must be a tensor, got NoneType"),
        ({"basis": ones(M, B, 1)}, ValueError, r"basis must be a matrix, got shape \(5, 2, 1\)"),
        ({"basis": ones(N, B)}, ValueError, r"basis must have shape \(5, 2\), got \(4, 2\)"),
        ({"basis": ones(M, B).double()}, TypeError, r"basis must be torch.float32 on cpu .*, got torch.float64 on cpu"),
        ({"update": ones(N, B)}, ValueError, r"update must have shape \(2, 4\), got \(4, 2\)"),
        ({"update": ones(B, 1)}, ValueError, r"update must have shape \(2, 4\), got \(2, 1\)"),
        ({"update": 1.0}, TypeError, r"update must be a tensor, got float"),
        ({"update": ones(B, N).bfloat16()}, TypeError, r"update must be torch.float32 .*, got torch.bfloat16"),
        ({"lr": "0.1"}, TypeError, r"lr must be a number, got '0.1'"),
        ({"lr": math.nan}, ValueError, r"lr must be finite, got nan"),
        ({"weight_decay": None}, TypeError, r"weight_decay must be a number, got None"),
        ({"weight_decay": math.inf}, ValueError, r"weight_decay must be finite, got inf"),
        ({"scale": True}, TypeError, r"scale must be a number, got True"),
        ({"scale": -math.inf}, ValueError, r"scale must be finite, got -inf"),
    ],
)
def test_step(changes, error, message):
    arguments = {"weight": ones(M, N), "basis": ones(M, B), "update": ones(B, N)} | changes
    weight = arguments["weight"]
    with pytest.raises(error, match=message) as caught:
        adarankgrad_step(**{"lr": 0.1, "weight_decay": 0.0, "scale": 1.0} | arguments)
    assert caught.type is error
    assert not isinstance(weight, torch.Tensor) or bool((weight == 1).all())


@pytest.mark.parametrize("rule", [FiraResidual(), SignResidual()], ids=str)
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"residual": None}, TypeError, r"residual must be a tensor, got NoneType"),
        ({"residual": ones(N)}, ValueError, r"residual must be a matrix, got shape \(4,\)"),
        ({"low": [1.0]}, TypeError, r"low must be a tensor, got list"),
        ({"low": ones(N, B)}, ValueError, r"low must have shape \(4, 4\), got \(4, 2\)"),
        ({"low": ones(B, N).double()}, TypeError, r"low must be torch.float32 on cpu .*, got torch.float64"),
        ({"update": ones(B + 1, N)}, ValueError, r"update must have shape \(2, 4\), got \(3, 4\)"),
        ({"update": ones(B, N).half()}, TypeError, r"update must be torch.float32 on cpu .*, got torch.float16"),
    ],
)
def test_residual_rules(rule, changes, error, message):
    arguments = {"residual": ones(M, N), "low": ones(B, N), "update": ones(B, N)} | changes
    with pytest.raises(error, match=message) as caught:
        rule.step(**arguments, low_norm=1.0, norm=None)
    assert caught.type is error


@pytest.mark.parametrize(
    ("growth", "error", "message"),
    [
        (0.99, ValueError, r"growth must be at least 1, got 0.99"),
        (math.nan, ValueError, r"growth must be at least 1, got nan"),
        ("fast", TypeError, r"growth must be a number, got 'fast'"),
    ],
)
def test_growth_of_the_residual(growth, error, message):
    with pytest.raises(error, match=message) as caught:
        FiraResidual(growth)
    assert caught.type is error


MOMENTS = Moments(ones(B, N), ones(B, N), ones(B))
TRANSPORTS = [VarianceTransport, MassTransport, CompletedTransport, LinearTransport, KeepMoments, ResetMoments]


@pytest.mark.parametrize("rule", TRANSPORTS)
@pytest.mark.parametrize(
    ("moments", "rotation", "error", "message"),
    [
        ((ones(B, N), ones(B, N)), ones(3, B), TypeError, r"moments must be Moments\(mean, square\), got tuple"),
        (MOMENTS._replace(mean=None), ones(3, B), TypeError, r"moments.mean must be a tensor, got NoneType"),
        (MOMENTS._replace(mean=ones(B)), ones(3, B), ValueError, r"moments.mean must be a matrix, got shape \(2,\)"),
        (
            MOMENTS._replace(square=ones(B, 1)),
            ones(3, B),
            ValueError,
            r"moments.square must have shape \(2, 4\), got \(2, 1\)",
        ),
        (
            MOMENTS._replace(square=ones(B, N).double()),
            ones(3, B),
            TypeError,
            r"moments.square must be torch.float32 on cpu .*, got torch.float64",
        ),
        (MOMENTS, ones(B, 3), ValueError, r"rotation must have shape \(2, 2\), got \(2, 3\)"),
        (MOMENTS, ones(B), ValueError, r"rotation must be a matrix, got shape \(2,\)"),
        (MOMENTS, 1.0, TypeError, r"rotation must be a tensor, got float"),
        (MOMENTS, ones(3, B).double(), TypeError, r"rotation must be torch.float32 on cpu .*, got torch.float64"),
    ],
)
def test_moment_transports(rule, moments, rotation, error, message):
    with pytest.raises(error, match=message) as caught:
        rule().transported(moments, rotation, (0.1, 0.001))
    assert caught.type is error


@pytest.mark.parametrize(
    ("mass", "error", "message"),
    [
        (None, ValueError, r"moments must have a mass, shape \(b,\): MassTransport moves it with the squares"),
        (ones(3), ValueError, r"moments.mass must have shape \(2,\), got \(3,\)"),
        (0.5, TypeError, r"moments.mass must be a tensor, got float"),
    ],
)
def test_mass(mass, error, message):
    with pytest.raises(error, match=message) as caught:
        MassTransport().transported(MOMENTS._replace(mass=mass), ones(3, B), (0.1, 0.001))
    assert caught.type is error


@pytest.mark.parametrize("preset", [AdaRankGrad, GaLore])
@pytest.mark.parametrize(
    ("betas", "error", "message"),
    [
        (0.9, TypeError, r"betas must be two numbers, got 0.9"),
        (None, TypeError, r"betas must be two numbers, got None"),
        ("ab", TypeError, r"betas must be two numbers, got 'ab'"),
        ([0.9], ValueError, r"betas must be two numbers in \[0, 1\), got \(0.9,\)"),
    ],
)
def test_betas(preset, betas, error, message):
    with pytest.raises(error, match=message) as caught:
        preset([torch.nn.Parameter(ones(M, N))], betas=betas)
    assert caught.type is error


@pytest.mark.parametrize("betas", [[0.8, 0.9], np.array([0.8, 0.9]), iter((0.8, 0.9))], ids=lambda b: type(b).__name__)
def test_betas_may_be_any_sequence(betas):
    assert GaLore([torch.nn.Parameter(ones(M, N))], betas=betas).defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize("preset", [AdaRankGrad, GaLore])
def test_presets_give_all_options(preset):
    assert preset([torch.nn.Parameter(ones(M, N))]).defaults.keys() - {"format"} == OPTIONS


DEFAULTS = AdaRankGrad([torch.nn.Parameter(ones(1))]).defaults


@pytest.mark.parametrize(
    ("params", "defaults", "error", "message"),
    [
        ([ones(M, N)], None, TypeError, r"defaults must be a dict of all options, got NoneType"),
        ([ones(M, N)], {}, ValueError, r"defaults must give all options, but lack \['accumulate', 'betas', .*preset"),
        (
            [ones(M, N)],
            {name: value for name, value in DEFAULTS.items() if name not in ("eta", "lr")},
            ValueError,
            r"defaults must give all options, but lack \['eta', 'lr'\]; start from those of a preset",
        ),
        ([ones(M, N)], DEFAULTS | {"max_rank": 0}, ValueError, r"max_rank must be at least 1, got 0"),
        ([ones(M, N)], DEFAULTS | {"side": "top"}, ValueError, r"side must be one of .*, got 'top'"),
        ([], DEFAULTS, ValueError, r"optimizer got an empty parameter list"),
        ([ones(M, N).int()], DEFAULTS, TypeError, r"parameter '0' has dtype torch.int32; only floating-point"),
    ],
)
def test_optimizer(params, defaults, error, message):
    with pytest.raises(error, match=message) as caught:
        SubspaceOptimizer(params, defaults)
    assert caught.type is error
