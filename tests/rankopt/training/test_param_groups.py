"""Which parameters are projected: every one of a model once, in its place, and said so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from problems import LanguageModel, LanguageModelConfig
from rankopt import AdaRankGrad, GaLore, ParameterGroups, param_groups


def names(groups, low_rank):
    return {name for group in groups if group["low_rank"] == low_rank for name, _ in group["params"]}


def assert_all_once(groups, model):
    """Every trainable parameter in one group, once, under its name."""
    given = [(name, p) for group in groups for name, p in group["params"]]
    expected = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sorted(name for name, _ in given) == sorted(expected)
    assert all(expected[name] is p for name, p in given)


def reasons(groups):
    """Reason by name, from the table."""
    return {line.split()[0]: line.split("  ")[-1].strip() for line in str(groups).splitlines()}


class Experts(nn.Module):
    """Stacked weights (experts, in, out) of a mixture of experts."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(4, 16, 24))
        self.down = nn.Parameter(torch.randn(4, 24, 16))
        self.scale = nn.Parameter(torch.ones(4, 1, 1))


def test_language_model():
    model = LanguageModel(LanguageModelConfig(vocabulary_size=50, width=32, n_layers=2, n_heads=2, context=8))
    groups = param_groups(model, max_rank=8, full_rank_lr=3e-3, energy=0.9, residual="sign")
    assert_all_once(groups, model)
    assert names(groups, True) == {name for name, _ in model.hidden_weights()}
    assert len(names(groups, True)) == 14
    projected, plain = groups
    assert {k: projected[k] for k in ("max_rank", "energy", "residual")} == {
        "max_rank": 8, "energy": 0.9, "residual": "sign",
    }  # fmt: skip
    assert "lr" not in projected
    assert plain["lr"] == 3e-3
    assert reasons(groups)["head.weight"] == "head"
    assert reasons(groups)["embedding.weight"] == "embedding"
    assert reasons(groups)["norm.weight"] == "not a matrix"
    assert reasons(groups)["blocks.0.attention.query.weight"] == "matrix"


@pytest.mark.parametrize("preset", [AdaRankGrad, GaLore])
def test_every_parameter_moves(preset):
    model = LanguageModel(LanguageModelConfig(vocabulary_size=50, width=32, n_layers=2, n_heads=2, context=8))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = preset(param_groups(model, max_rank=8, full_rank_lr=1e-3), 1e-2)
    tokens = torch.arange(9)[None] % 50
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(tokens[:, :-1], tokens[:, 1:])[1]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    for name, p in model.named_parameters():
        assert (p != before[name]).any(), name
        assert ("basis" in optimizer.state[p]) == (name in names(param_groups(model, 8), True))


@pytest.mark.parametrize("width", [32, 256])
def test_width_equal_to_the_vocabulary_does_not_make_heads(width):
    """As many outputs as tokens: the attention of a byte-level model of width 256 is no head, nor with positions."""
    model = LanguageModel(LanguageModelConfig(vocabulary_size=width, width=width, n_layers=1, n_heads=2, context=8))
    assert len(names(param_groups(model, 8), True)) == 7
    assert "head.weight" in names(param_groups(model, 8), False)
    model = nn.Sequential(nn.Embedding(16, 16), nn.Linear(16, 16), nn.Linear(16, 16))
    assert names(param_groups(model, 8), True) == {"1.weight", "2.weight"}


def test_heads():
    """By name, or as the one linear layer with as many outputs as there are tokens."""
    unnamed = nn.Sequential(nn.Embedding(60, 16), nn.Linear(16, 24), nn.Linear(24, 60))
    assert reasons(param_groups(unnamed)) == {
        "0.weight": "embedding", "1.weight": "matrix", "1.bias": "not a matrix", "2.weight": "head",
        "2.bias": "not a matrix",
    }  # fmt: skip
    for name in ("head", "lm_head", "classification_head", "classifier", "score"):
        model = nn.Module()
        model.body, named = nn.Linear(16, 16), nn.Linear(16, 12)
        model.add_module(name, named)
        model.inner = nn.Module()
        model.inner.add_module(name, nn.Linear(16, 12))
        assert names(param_groups(model), True) == {"body.weight"}, name


def test_tied_head():
    """One weight for embedding and head is an embedding, once; the head may come first."""
    for first in ("embedding", "output"):
        model = nn.Module()
        tied = nn.Parameter(torch.randn(60, 16))
        for name in (first, {"embedding": "output", "output": "embedding"}[first]):
            model.add_module(name, nn.Embedding(60, 16) if name == "embedding" else nn.Linear(16, 60, bias=False))
            getattr(model, name).weight = tied
        model.body = nn.Linear(16, 16)
        groups = param_groups(model)
        assert_all_once(groups, model)
        assert names(groups, True) == {"body.weight"}
        assert reasons(groups)[f"{first}.weight"] == "embedding"


def test_shared_layers_count_once():
    layer = nn.Linear(16, 16)
    model = nn.ModuleDict({"a": layer, "b": layer, "c": nn.Linear(16, 16)})
    model["c"].weight = layer.weight
    groups = param_groups(model)
    assert_all_once(groups, model)
    assert names(groups, True) == {"a.weight"}
    AdaRankGrad(groups)


def test_convolutional_network():
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 32, 3, groups=4), nn.ConvTranspose2d(32, 16, 2),
        nn.Conv1d(16, 8, 3), nn.Conv3d(8, 9, 2), nn.Conv2d(16, 4, 1), nn.Linear(4, 10),
    )  # fmt: skip
    groups = param_groups(model, max_rank=4)
    assert_all_once(groups, model)
    assert reasons(groups) == {
        "0.weight": "flattened to 16x27", "2.weight": "flattened to 32x36", "3.weight": "flattened to 32x64",
        "4.weight": "flattened to 8x48", "5.weight": "flattened to 9x64",
        "6.weight": "tiny: fewer than 8 rows or columns", "7.weight": "tiny: fewer than 8 rows or columns",
        "1.weight": "not a matrix", **{f"{i}.bias": "not a matrix" for i in range(8)},
    }  # fmt: skip
    (projected,) = (group for group in groups if group["low_rank"])
    assert projected["row_dims"] == 1
    optimizer = AdaRankGrad(groups)
    model[0].weight.grad = torch.randn(16, 3, 3, 3)
    optimizer.step()
    assert optimizer.state[model[0].weight]["basis"].shape[0] == 16


def test_experts():
    model = nn.ModuleDict({"experts": Experts(), "router": nn.Linear(16, 16, bias=False)})
    groups = param_groups(model, max_rank=4)
    assert_all_once(groups, model)
    assert [(g["low_rank"], g.get("row_dims"), [n for n, _ in g["params"]]) for g in groups] == [
        (True, 1, ["router.weight"]),
        (True, -1, ["experts.up", "experts.down"]),
        (False, None, ["experts.scale"]),
    ]
    assert reasons(groups)["experts.up"] == "flattened to 64x24"
    optimizer = AdaRankGrad(groups, energy=None)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    assert optimizer.state[model["experts"].up]["basis"].shape == (24, 4)
    assert optimizer.state[model["experts"].down]["basis"].shape == (16, 4)


def test_multihead_attention():
    model = nn.MultiheadAttention(16, 2, add_bias_kv=True)
    groups = param_groups(model)
    assert_all_once(groups, model)
    assert names(groups, True) == {"in_proj_weight", "out_proj.weight"}
    assert reasons(groups)["bias_k"] == "tiny: fewer than 8 rows or columns"
    separate = nn.MultiheadAttention(16, 2, kdim=24, vdim=8)
    assert names(param_groups(separate), True) == {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"}


def test_other_layers():
    """Recurrent weights, bilinear forms, bare parameters, and norms of matrices."""
    model = nn.ModuleDict({
        "rnn": nn.LSTM(16, 12), "bilinear": nn.Bilinear(9, 10, 8), "bag": nn.EmbeddingBag(30, 16),
        "position_embedding": nn.ParameterList([torch.randn(20, 16)]), "norm": nn.LayerNorm((20, 16)),
    })  # fmt: skip
    model.position_embeddings = nn.Parameter(torch.randn(1, 20, 16))
    groups = param_groups(model)
    assert_all_once(groups, model)
    assert {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "bilinear.weight"} <= names(groups, True)
    embeddings = {"bag.weight", "position_embedding.0", "position_embeddings"}
    assert embeddings | {"norm.weight", "norm.bias"} <= names(groups, False)
    assert {reasons(groups)[name] for name in embeddings} == {"embedding"}
    assert reasons(groups)["norm.weight"] == "norm"
    assert reasons(groups)["bilinear.weight"] == "flattened to 72x10"


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    model[0].requires_grad_(False)
    groups = param_groups(model)
    assert_all_once(groups, model)
    assert names(groups, True) == {"1.weight"}
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"model has no trainable parameter; set requires_grad"):
        param_groups(model)


def test_patterns():
    model = LanguageModel(LanguageModelConfig(vocabulary_size=50, width=32, n_layers=2, n_heads=2, context=8))
    every = names(param_groups(model), True)
    groups = param_groups(model, full_rank=["blocks.0.*", "blocks.1.attention.query.weight"])
    assert_all_once(groups, model)
    assert names(groups, True) == {n for n in every if n.startswith("blocks.1") and "query" not in n}
    assert reasons(groups)["blocks.0.attention.key.weight"] == "named in full_rank"
    assert reasons(groups)["blocks.0.attention_norm.weight"] == "not a matrix"
    groups = param_groups(model, low_rank=["head.*", "embedding.weight"])
    assert names(groups, True) == every | {"head.weight", "embedding.weight"}
    assert reasons(groups)["head.weight"] == "named in low_rank"
    # full_rank goes first; generators are read once
    groups = param_groups(model, low_rank=(n for n in ["head.*"]), full_rank=(n for n in ["*"]))
    assert names(groups, True) == set()
    assert len(groups) == 1
    for argument in ("full_rank", "low_rank"):
        with pytest.raises(ValueError, match=rf"{argument} names 'nothing.\*', which matches no trainable.*blocks.0"):
            param_groups(model, **{argument: ["nothing.*"]})


def test_smallest_size():
    model = nn.Sequential(nn.Linear(16, 4, bias=False), nn.Linear(4, 30, bias=False))
    assert names(param_groups(model), True) == set()
    assert names(param_groups(model, min_size=4), True) == {"0.weight", "1.weight"}
    assert names(param_groups(model, min_size=5), True) == set()
    assert reasons(param_groups(model, min_size=5))["0.weight"] == "tiny: fewer than 5 rows or columns"


def test_table():
    model = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.Embedding(9, 3))
    groups = param_groups(model, max_rank=8)
    assert isinstance(groups, ParameterGroups)
    assert isinstance(groups, list)
    assert str(groups).splitlines() == [
        "0.weight  32x64  low rank, at most 8  matrix",
        "0.bias    32     AdamW                not a matrix",
        "1.weight  32     AdamW                not a matrix",
        "1.bias    32     AdamW                not a matrix",
        "2.weight  9x3    AdamW                embedding",
    ]


def test_rate_of_plain_groups_defaults_to_the_optimizers():
    model = nn.Sequential(nn.Linear(16, 16))
    optimizer = AdaRankGrad(param_groups(model), 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
    optimizer = AdaRankGrad(param_groups(model, full_rank_lr=0.1), 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]


def test_options_reach_the_projected_groups_only_and_are_checked():
    model = nn.Sequential(nn.Linear(16, 16))
    optimizer = AdaRankGrad(param_groups(model, max_rank=4, scale=0.25, subspace="svd"))
    assert [group["scale"] for group in optimizer.param_groups] == [0.25, 1.0]
    assert [group["subspace"] for group in optimizer.param_groups] == ["svd", "range"]
    with pytest.raises(ValueError, match=r"energy must lie in \(0, 1\]"):
        AdaRankGrad(param_groups(model, energy=2.0))
