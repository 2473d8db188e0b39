"""Bad input: gradients that are no numbers, odd shapes, and options and parameters that are refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from rankopt import AdaRankGrad, GaLore, RefreshLog
from tests.rankopt.training.streams import (
    SHAPES,
    TALL,
    WIDE,
    assert_identical,
    feed,
    low_rank,
    snapshot,
    stream,
    weight,
)

BAD = [math.nan, math.inf, -math.inf]
KINDS = {
    "plain": {},
    "mass": {"moment_transport": "mass"},
    "sign": {"residual": "sign"},
    "fira": {"residual": "fira"},
    "together": {"foreach": True},
    "clipped": {"max_grad_norm": 1.0},
    "long": {"side": "long"},
    "galore": {"preset": GaLore, "max_gap": 3},
}


def spoiled(gradient, value):
    gradient = gradient.clone()
    gradient.view(-1)[gradient.numel() // 2] = value
    return gradient


# ------------------------------------------------------------------------------------------- gradients not finite


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_gradients_are_skipped(kind, value):
    """At the first step, at refreshes, between them: the layer is as it was but for the count; the others go on."""
    options = {"weight_decay": 0.1, "max_rank": 3, "max_gap": 3, **KINDS[kind]}
    preset = options.pop("preset", AdaRankGrad)
    layers = {"bad": weight(WIDE), "bad tall": weight(TALL), "bad bias": weight((5,)), "good": weight(WIDE, seed=1),
              "good bias": weight((6,))}  # fmt: skip
    optimizer = preset(layers.items(), 0.1, **options)
    rng = np.random.default_rng(0)
    skipped = 0
    for t in range(12):
        gradients = {name: torch.tensor(rng.standard_normal(p.shape)) for name, p in layers.items()}
        is_bad = t in (0, 2, 3, 4, 7)
        if is_bad:
            gradients |= {name: spoiled(g, value) for name, g in gradients.items() if name.startswith("bad")}
            skipped += 1
        before = dict(zip(layers, snapshot(optimizer), strict=True))
        feed(optimizer, *(x for name, p in layers.items() for x in (p, gradients[name])))
        after = dict(zip(layers, snapshot(optimizer), strict=True))
        for name in layers:
            assert torch.isfinite(after[name][0]).all()
            if is_bad and name.startswith("bad"):
                old, new = before[name], after[name]
                assert torch.equal(new[0], old[0])
                assert new[1].pop("skipped") == skipped
                old[1].pop("skipped", None)
                if old[1]:
                    assert_identical(new[1], old[1])
            else:
                assert (after[name][0] != before[name][0]).any()
    for name, p in layers.items():
        assert optimizer.state[p]["skipped"] == (skipped if name.startswith("bad") else 0)
        assert int(optimizer.state[p]["step"]) == (12 - skipped if name.startswith("bad") else 12)


def test_refresh_stays_due():
    """Bad at the step of a refresh: it comes with the next good gradient."""
    log, w = RefreshLog(), weight(WIDE)
    optimizer = AdaRankGrad([w], max_rank=3, max_gap=4, tolerance=0.0, on_refresh=log)
    for t, g in enumerate(stream(WIDE, 12)):
        feed(optimizer, w, spoiled(g, math.nan) if t in (0, 5, 6) else g)
    # steps are counted without the skipped ones
    assert [(e.step, e.reason) for e in log.events] == [(1, "first"), (5, "gap"), (9, "gap")]
    assert optimizer.state[w]["skipped"] == 3


def test_overflow_of_the_norm_is_skipped_too():
    """Finite entries whose squares are not: no decomposition sees them."""
    w = weight(WIDE, dtype=torch.float32)
    before = w.detach().clone()
    optimizer = AdaRankGrad([w], max_rank=3)
    feed(optimizer, w, torch.full(WIDE, 3e38))
    assert torch.equal(w, before)
    assert optimizer.state[w]["skipped"] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_large_half_precision_gradients_are_no_overflow(dtype):
    """Squares of 60000 overflow in half precision, not in the arithmetic."""
    w, bias = weight(WIDE, dtype=dtype), weight((5,), dtype=dtype)
    optimizer = AdaRankGrad([w, bias], max_rank=3, residual="sign")
    for _ in range(3):
        feed(optimizer, w, torch.full(WIDE, 6e4), bias, torch.full((5,), 6e4))
    assert optimizer.state[w]["skipped"] == optimizer.state[bias]["skipped"] == 0
    assert torch.isfinite(w).all()
    assert torch.isfinite(bias).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-18, 1e12])
def test_tiny_and_large_gradients(kind, size):
    """Single precision, squares down to 1e-36 and up to 1e24: finite, and about Adam's step."""
    options = {"max_rank": 3, "max_gap": 3, "eps": 1e-30, **KINDS[kind]}
    preset = options.pop("preset", AdaRankGrad)
    w = weight(WIDE, dtype=torch.float32)
    optimizer = preset([w], 0.01, scale=1.0, **options)
    for g in stream(WIDE, 6, dtype=torch.float32):
        before = w.detach().clone()
        feed(optimizer, w, size * g)
        assert torch.isfinite(w).all()
    assert optimizer.state[w]["skipped"] == 0
    assert 1e-4 < (w - before).abs().max() < 1


# ------------------------------------------------------------------------------------------------ zero gradients


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_zero_gradients(shape, kind):
    """First: only the decay moves the weight, and there is no basis. Later: Adam coasts, and a refresh stays due."""
    options = {"max_rank": 3, "max_gap": 3, **KINDS[kind]}
    preset = options.pop("preset", AdaRankGrad)
    w = weight(shape)
    start = w.detach().clone()
    log = RefreshLog()
    optimizer = preset([w], 0.1, weight_decay=0.5, on_refresh=log, **options)
    zero = torch.zeros(shape, dtype=torch.float64)
    for _ in range(2):
        feed(optimizer, w, zero)
    torch.testing.assert_close(w.detach(), start * (1 - 0.1 * 0.5) ** 2)
    assert "basis" not in optimizer.state[w]
    assert len(log) == 0
    for g in (low_rank(shape, 4), zero, zero, zero, zero):
        before = w.detach().clone()
        feed(optimizer, w, g)
        assert torch.isfinite(w).all()
        assert (w != before).any()
    assert len(log) == 1
    assert optimizer.state[w]["refresh"]
    feed(optimizer, w, low_rank(shape, 4, seed=1))
    assert len(log) == 2
    assert optimizer.state[w]["step"] == 8
    assert optimizer.state[w]["skipped"] == 0


@pytest.mark.parametrize("rule", ["svd", "riemannian", "geodesic", "dct", "random"])
def test_zero_gradients_and_gradients_of_rank_one_under_every_rule(rule):
    w = weight(WIDE)
    optimizer = AdaRankGrad([{"params": [w], "subspace": rule}], energy=None, max_rank=4, max_gap=1)
    zero = torch.zeros(WIDE, dtype=torch.float64)
    for g in (zero, low_rank(WIDE, 1), low_rank(WIDE, 1, seed=1), zero, low_rank(WIDE, 6), low_rank(WIDE, 2, seed=2)):
        feed(optimizer, w, g)
        assert torch.isfinite(w).all()


def test_parameters_without_gradient():
    used, unused, frozen = weight(WIDE), weight(WIDE, seed=1), weight((5,))
    before = [unused.detach().clone(), frozen.detach().clone()]
    for foreach in (False, True):
        optimizer = AdaRankGrad([used, unused, frozen], 0.1, weight_decay=0.5, foreach=foreach)
        feed(optimizer, used, stream(WIDE, 1)[0])
        assert_identical([unused.detach(), frozen.detach()], before)
        assert not optimizer.state[unused]
        assert not optimizer.state[frozen]
    AdaRankGrad([unused]).step()


# ---------------------------------------------------------------------------------------------------- odd shapes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (1, 1), (2, 3), (1, 1, 4), (0, 3), (3, 0), (0,), ()], ids=str)
def test_odd_shapes(shape, kind):
    """Ranks far above the matrix, rows and columns, scalars, nothing at all."""
    options = {"max_rank": 64, "max_gap": 2, **KINDS[kind]}
    preset = options.pop("preset", AdaRankGrad)
    w = weight(shape)
    before = w.detach().clone()
    optimizer = preset([w], 0.1, **options)
    rng = np.random.default_rng(0)
    for _ in range(5):
        feed(optimizer, w, torch.tensor(rng.standard_normal(shape)))
    assert torch.isfinite(w).all()
    assert bool((w != before).any()) == (w.numel() > 0)
    if "basis" in optimizer.state[w]:
        assert optimizer.state[w]["basis"].shape[1] == min(shape[0], math.prod(shape[1:]))


@pytest.mark.parametrize("shape", [(1, 6), (6, 1)], ids=str)
def test_rows_and_columns_are_normalised_adam(shape):
    """A vector as a matrix of rank one: its basis is a sign, so the step is Adam's."""
    w, plain = weight(shape), weight(shape)
    optimizer = AdaRankGrad([w], 0.1, max_gap=2)
    adam = torch.optim.Adam([plain], 0.1)
    rng = np.random.default_rng(0)
    for _ in range(6):
        g = torch.tensor(rng.standard_normal(shape))
        feed(optimizer, w, g)
        feed(adam, plain, g)
    torch.testing.assert_close(w, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(10, 12), (12, 16), (4, 10, 4)], ids=str)
@pytest.mark.parametrize("accumulate", [None, "low-rank"])
def test_parameters_that_changed_their_shape_are_refused(shape, accumulate):
    w, other = nn.Parameter(weight(WIDE).detach()), weight(WIDE)
    optimizer = AdaRankGrad([("layer.weight", w), ("other", other)], max_rank=3, accumulate=accumulate)
    w.backward(stream(WIDE, 1)[0])
    other.backward(stream(WIDE, 1)[0])
    optimizer.step()
    w.data = torch.zeros(shape, dtype=torch.float64)
    w.grad = torch.zeros(shape, dtype=torch.float64)
    other.grad = stream(WIDE, 1)[0]
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match=r"parameter 'layer.weight' does not fit its shape .*changed its shape"):
        optimizer.step()
    assert_identical(snapshot(optimizer), before)


def test_plain_parameters_that_changed_their_shape_are_refused():
    w = weight((5,))
    optimizer = AdaRankGrad([("bias", w)])
    feed(optimizer, w, torch.ones(5))
    w.data, w.grad = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"'bias' does not fit its shape \(6,\): exp_avg should have shape \(6,\)"):
        optimizer.step()


# -------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("option", "value", "error", "message"),
    [
        ("energy", 0.0, ValueError, r"energy must lie in \(0, 1\] \(or be None for a constant rank\), got 0.0"),
        ("energy", 1.5, ValueError, r"energy must lie in \(0, 1\].*got 1.5"),
        ("energy", -0.1, ValueError, r"energy must lie in \(0, 1\]"),
        ("energy", math.nan, ValueError, r"energy must lie in \(0, 1\].*got nan"),
        ("min_rank", 200, ValueError, r"min_rank must not exceed max_rank, got 200 > 128"),
        ("min_rank", 0, ValueError, r"min_rank must be at least 1, got 0"),
        ("max_rank", 0, ValueError, r"max_rank must be at least 1, got 0"),
        ("max_rank", 2.5, TypeError, r"max_rank must be an integer, got 2.5"),
        ("max_rank", True, TypeError, r"max_rank must be an integer, got True"),
        ("min_gap", 0, ValueError, r"min_gap must be at least 1"),
        ("max_gap", 0, ValueError, r"max_gap must be at least 1"),
        ("max_gap", "10", TypeError, r"max_gap must be an integer, got '10'"),
        ("oversampling", -1, ValueError, r"oversampling must be at least 0"),
        ("power_iterations", -1, ValueError, r"power_iterations must be at least 0"),
        ("seed", -1, ValueError, r"seed must be at least 0"),
        ("seed", None, TypeError, r"seed must be an integer, got None"),
        ("lr", -1e-3, ValueError, r"lr must be finite and not negative, got -0.001"),
        ("lr", torch.tensor(-1.0), ValueError, r"lr must be finite and not negative"),
        ("lr", math.nan, ValueError, r"lr must be finite"),
        ("lr", "0.1", TypeError, r"lr must be a number, got '0.1'"),
        ("eps", -1.0, ValueError, r"eps must be finite and not negative"),
        ("weight_decay", -0.1, ValueError, r"weight_decay must be finite and not negative"),
        ("weight_decay", None, TypeError, r"weight_decay must be a number, got None"),
        ("scale", math.inf, ValueError, r"scale must be finite"),
        ("residual_scale", -1.0, ValueError, r"residual_scale must be finite and not negative"),
        ("tolerance", -0.5, ValueError, r"tolerance must be finite and not negative"),
        ("betas", (0.9, 1.0), ValueError, r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ("betas", (-0.1, 0.9), ValueError, r"betas must be two numbers"),
        ("betas", (0.9,), ValueError, r"betas must be two numbers"),
        ("betas", (0.9, math.nan), ValueError, r"betas must be two numbers"),
        ("moment_transport", "magic", ValueError, r"moment_transport must be one of .*'variance', 'mass'.*got 'magic'"),
        ("residual", "drop", ValueError, r"residual must be one of \(None, 'fira', 'sign'\), got 'drop'"),
        ("side", "top", ValueError, r"side must be one of \('short', 'long', 'left', 'right'\), got 'top'"),
        ("accumulate", "full", ValueError, r"accumulate must be one of \(None, 'low-rank'\), got 'full'"),
        ("accumulate", True, ValueError, r"accumulate must be one of"),
        ("moment_dtype", torch.int8, TypeError, r"moment_dtype must be a floating torch.dtype or None, got torch.int8"),
        ("moment_dtype", "float32", TypeError, r"moment_dtype must be a floating torch.dtype"),
        ("max_grad_norm", 0.0, ValueError, r"max_grad_norm must be positive \(or None for no clipping\), got 0.0"),
        ("max_grad_norm", -1.0, ValueError, r"max_grad_norm must be positive"),
        ("max_grad_norm", math.nan, ValueError, r"max_grad_norm must be positive"),
    ],
)
def test_options(option, value, error, message):
    """Refused in the constructor, in a group, and in a group added later, which is not added then."""
    with pytest.raises(error, match=message) as caught:
        AdaRankGrad([weight(WIDE)], **{option: value})
    assert caught.type is error
    with pytest.raises(error, match=message):
        AdaRankGrad([{"params": [weight(WIDE)], option: value}])
    optimizer = AdaRankGrad([weight(WIDE)])
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": [weight(WIDE)], option: value})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("option", "value", "error", "message"),
    [
        ("subspace", "krylov", ValueError, r"subspace must be one of \('range', 'svd',.*got 'krylov'"),
        ("eta", 0.0, ValueError, r"eta must lie in \(0, 1\], got 0.0"),
        ("eta", 1.5, ValueError, r"eta must lie in \(0, 1\]"),
    ],
)
def test_options_of_groups_only(option, value, error, message):
    group = {"params": [weight(WIDE)], "subspace": "riemannian"} | {option: value}
    with pytest.raises(error, match=message):
        AdaRankGrad([group])


def test_unknown_arguments():
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'rank'"):
        AdaRankGrad([weight(WIDE)], rank=4)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'energy'"):
        GaLore([weight(WIDE)], energy=0.9)


# ----------------------------------------------------------------------------------------------------- parameters


def test_empty():
    with pytest.raises(ValueError, match=r"optimizer got an empty parameter list"):
        AdaRankGrad([])
    optimizer = AdaRankGrad([{"params": []}, {"params": [weight(WIDE)]}])
    (p,) = optimizer.param_groups[1]["params"]
    feed(optimizer, p, stream(WIDE, 1)[0])
    assert optimizer.state[p]["step"] == 1


def test_the_same_parameter_twice():
    w = weight(WIDE)
    with pytest.raises(ValueError, match=r"parameter '1' is given twice; each parameter belongs in one group, once"):
        AdaRankGrad([w, w])
    with pytest.raises(ValueError, match=r"parameter 'b' is given twice"):
        AdaRankGrad([("a", w), ("b", w)])
    with pytest.raises(ValueError, match=r"parameter '1' is given twice"):
        AdaRankGrad([{"params": [w]}, {"params": [w]}])
    optimizer = AdaRankGrad([("a", w)])
    with pytest.raises(ValueError, match=r"parameter 'again' is given twice"):
        optimizer.add_param_group({"params": [("again", w)]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (lambda: torch.zeros(3, 4, dtype=torch.complex64), TypeError, r"'odd' is complex; train torch.view_as_real"),
        (lambda: torch.zeros(3, 4, dtype=torch.int64), TypeError, r"'odd' has dtype torch.int64; only floating-point"),
        (lambda: torch.zeros(3, 4, dtype=torch.bool), TypeError, r"'odd' has dtype torch.bool"),
        (lambda: torch.eye(3).to_sparse(), TypeError, r"'odd' is sparse \(torch.sparse_coo\); only dense"),
        (lambda: 2 * weight(WIDE), ValueError, r"can't optimize a non-leaf Tensor"),
        (lambda: np.zeros((3, 4)), TypeError, r"optimizer can only optimize Tensors"),
        (lambda: "weight", TypeError, r"optimizer can only optimize Tensors"),
    ],
)
def test_parameters_of_other_kinds(tensor, error, message):
    with pytest.raises(error, match=message):
        AdaRankGrad([("good", weight(WIDE)), ("odd", tensor())])


def test_a_set_of_parameters_has_no_order():
    with pytest.raises(TypeError, match=r"params of a group must be ordered, such as a list.*got a set"):
        AdaRankGrad([{"params": {weight(WIDE), weight(TALL)}}])


@pytest.mark.parametrize("low_rank_path", [True, False])
def test_sparse_gradients_are_refused_before_anything_changes(low_rank_path):
    embedding, other = nn.Embedding(10, 6, sparse=True), weight((10, 6), dtype=torch.float32)
    optimizer = AdaRankGrad(
        [{"params": [("other", other)]}, {"params": [("embedding", embedding.weight)], "low_rank": low_rank_path}]
    )
    other.grad = torch.ones(10, 6)
    embedding(torch.tensor([1, 2])).sum().backward()
    before = snapshot(optimizer)
    message = r"gradient of parameter 'embedding' is sparse; use dense gradients.*torch.optim.SparseAdam"
    with pytest.raises(TypeError, match=message):
        optimizer.step()
    assert_identical(snapshot(optimizer), before)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"betas": 0.9}, TypeError, "betas"),
        ({"energy": "0.9"}, TypeError, "energy"),
        ({"energy": True}, TypeError, "energy"),
        ({"max_grad_norm": "1"}, TypeError, "max_grad_norm"),
        ({"row_dims": 0}, ValueError, "row_dims"),
        ({"row_dims": 5}, ValueError, "row_dims"),
        ({"row_dims": 1.0}, TypeError, "row_dims"),
        ({"max_rnk": 4}, ValueError, "did you mean 'max_rank'"),
    ],
)
def test_options_of_a_group_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        AdaRankGrad([{"params": [torch.nn.Parameter(torch.ones(4, 6))], **options}])


def test_keys_of_the_users_own_pass():
    optimizer = AdaRankGrad(
        [{"params": [torch.nn.Parameter(torch.ones(4, 6))], "initial_lr": 1.0, "label": "matrices"}]
    )
    assert optimizer.param_groups[0]["label"] == "matrices"
