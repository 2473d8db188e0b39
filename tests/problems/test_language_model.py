"""The language model against a dense computation in numpy, its causality, its sizes and its seeds."""

import math

import numpy as np
import pytest
import torch

from problems import LanguageModel, LanguageModelConfig

CONFIG = LanguageModelConfig(vocabulary_size=11, width=16, n_layers=2, n_heads=2, context=12)


@pytest.fixture(scope="module")
def model():
    """With weights large enough for every part to matter."""
    model = LanguageModel(CONFIG, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return model


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(0, 11, (3, 12), generator=torch.Generator().manual_seed(3))


def dense_logits(weights, sequence):
    """The model of one sequence in numpy: rotations as complex numbers, attention row by row."""
    w = {name: weight.detach().numpy() for name, weight in weights.items()}
    heads, head_width = CONFIG.n_heads, CONFIG.width // CONFIG.n_heads
    half = head_width // 2

    def normalised(x, name):
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * w[name]

    def turned(x):
        angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
        z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
        return np.hstack([z.real, z.imag])

    x = w["embedding.weight"][sequence]
    for layer in range(CONFIG.n_layers):
        block = f"blocks.{layer}"
        y = normalised(x, f"{block}.attention_norm.weight")
        q, k, v = (y @ w[f"{block}.attention.{part}.weight"].T for part in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(heads):
            part = slice(head * head_width, (head + 1) * head_width)
            scores = turned(q[:, part]) @ turned(k[:, part]).T / math.sqrt(head_width)
            for t in range(len(x)):
                share = np.exp(scores[t, : t + 1] - scores[t, : t + 1].max())
                mixed[t, part] = share / share.sum() @ v[: t + 1, part]
        x = x + mixed @ w[f"{block}.attention.output.weight"].T
        y = normalised(x, f"{block}.feed_forward_norm.weight")
        gate, up = (y @ w[f"{block}.feed_forward.{part}.weight"].T for part in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{block}.feed_forward.down.weight"].T
    return normalised(x, "norm.weight") @ w["head.weight"].T


def test_logits_are_those_of_a_dense_computation(model, tokens):
    expected = np.stack([dense_logits(model.state_dict(), sequence) for sequence in tokens.numpy()])
    # Angles are in float32.
    np.testing.assert_allclose(model(tokens).detach().numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_loss_is_the_mean_of_negative_log_probabilities(model, tokens):
    targets = tokens.roll(-1, dims=1)
    logits, loss = model(tokens, targets)
    p = np.exp(logits.detach().numpy())
    p /= p.sum(axis=-1, keepdims=True)
    rows, columns = np.indices(targets.shape)
    assert loss.item() == pytest.approx(-np.log(p[rows, columns, targets.numpy()]).mean(), rel=1e-12)
    ignoring = targets.clone()
    ignoring[1:] = -100
    assert model(tokens, ignoring)[1].item() == pytest.approx(-np.log(p[0, np.arange(12), targets[0].numpy()]).mean())


def test_predictions_depend_on_the_past_only(model, tokens):
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 11
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-12)
    assert ((before[:, 7:] - after[:, 7:]).abs().amax(dim=-1) > 1e-6).all()


def test_predictions_depend_on_the_order(model, tokens):
    swapped = tokens[:1].clone()
    swapped[0, 0], swapped[0, 1] = 3, 5
    other = swapped.clone()
    other[0, 0], other[0, 1] = 5, 3
    assert (model(swapped)[0, -1] - model(other)[0, -1]).abs().max() > 1e-6


@pytest.mark.parametrize("layers", [1, 3])
def test_number_of_parameters(layers):
    config = LanguageModelConfig(vocabulary_size=50, width=24, n_layers=layers, n_heads=2, intermediate=40)
    block = 4 * 24 * 24 + 3 * 24 * 40 + 2 * 24
    model = LanguageModel(config)
    assert sum(weight.numel() for weight in model.parameters()) == 2 * 50 * 24 + layers * block + 24
    assert len(list(model.hidden_weights())) == 7 * layers
    assert sum(weight.numel() for _, weight in model.hidden_weights()) == layers * (block - 2 * 24)


def test_names_of_the_weights():
    names = list(LanguageModel(LanguageModelConfig(width=8, n_layers=1, n_heads=2)).state_dict())
    assert names == [
        "embedding.weight",
        "blocks.0.attention_norm.weight",
        "blocks.0.attention.query.weight",
        "blocks.0.attention.key.weight",
        "blocks.0.attention.value.weight",
        "blocks.0.attention.output.weight",
        "blocks.0.feed_forward_norm.weight",
        "blocks.0.feed_forward.gate.weight",
        "blocks.0.feed_forward.up.weight",
        "blocks.0.feed_forward.down.weight",
        "norm.weight",
        "head.weight",
    ]


@pytest.mark.parametrize(("width", "expected"), [(8, 24), (64, 176), (96, 256), (128, 344), (768, 2048)])
def test_default_width_of_the_feed_forward_part(width, expected):
    inner = LanguageModelConfig(width=width).intermediate
    assert inner == expected
    assert inner % 8 == 0
    assert 0 <= inner - 8 * width / 3 < 8


def test_initial_weights_come_from_the_seed_alone():
    state = torch.random.get_rng_state()
    first, same = LanguageModel(CONFIG, seed=5), LanguageModel(CONFIG, seed=torch.Generator().manual_seed(5))
    assert torch.equal(state, torch.random.get_rng_state())
    other = LanguageModel(CONFIG, seed=6)
    for a, b, c in zip(first.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.ndim == 1 or not torch.equal(a, c)


def test_deviations_of_initial_weights():
    model = LanguageModel(LanguageModelConfig(width=128, n_layers=2))
    weights = dict(model.named_parameters())
    for name in ("embedding", "head", "blocks.1.attention.query", "blocks.1.feed_forward.gate"):
        assert weights[f"{name}.weight"].std().item() == pytest.approx(0.02, rel=0.03)
    for name in ("blocks.0.attention.output", "blocks.1.feed_forward.down"):
        assert weights[f"{name}.weight"].std().item() == pytest.approx(0.01, rel=0.03)
    assert (weights["norm.weight"] == 1).all()


def test_bfloat16_is_close(model, tokens):
    targets = tokens.roll(-1, dims=1)
    low = LanguageModel(CONFIG, seed=1).to(torch.bfloat16)
    exact = LanguageModel(CONFIG, seed=1)
    logits, loss = low(tokens, targets)
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    # Eight bits of mantissa on logits of size 0.1.
    assert loss.item() == pytest.approx(exact(tokens, targets)[1].item(), abs=5e-3)


def test_hidden_states_lead_to_the_logits(model, tokens):
    states = model.hidden_states(tokens)
    assert states.shape == (3, 12, 16)
    torch.testing.assert_close(states @ model.head.weight.T, model(tokens))


def test_greedy_continuation_takes_the_likeliest_token_within_the_context(model, tokens):
    written = model.generate(tokens[:, :4], 15, temperature=0)
    assert torch.equal(written[:, :4], tokens[:, :4])
    assert written.shape == (3, 19)
    for t in (4, 12, 18):
        assert torch.equal(written[:, t], model(written[:, max(t - 12, 0) : t])[:, -1].argmax(dim=-1))


def test_drawn_continuation_depends_on_its_seed(model, tokens):
    state = torch.random.get_rng_state()
    draws = [model.generate(tokens[:, :4], 8, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("sizes", "error", "name"),
    [
        ({"width": 0}, ValueError, "width"),
        ({"n_layers": 0}, ValueError, "n_layers"),
        ({"context": -1}, ValueError, "context"),
        ({"vocabulary_size": 0}, ValueError, "vocabulary_size"),
        ({"intermediate": 0}, ValueError, "intermediate"),
        ({"width": 12, "n_heads": 4}, ValueError, "even width"),
        ({"width": 15, "n_heads": 2}, ValueError, "multiple of 2"),
        ({"context": 8.5}, TypeError, "context"),
        ({"n_layers": True}, TypeError, "n_layers"),
    ],
)
def test_sizes_that_are_none(sizes, error, name):
    with pytest.raises(error, match=name):
        LanguageModelConfig(**sizes)


@pytest.mark.parametrize("shape", [(12,), (1, 13), (1, 0), (1, 2, 3)])
def test_tokens_of_another_shape_are_refused(model, shape):
    with pytest.raises(ValueError, match="tokens must have shape"):
        model(torch.zeros(shape, dtype=torch.long))
