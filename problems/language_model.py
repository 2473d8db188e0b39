"""A small language model of the LLaMA kind: the network that the training optimizers are shown and compared on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROTARY_BASE = 10_000.0
_INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class LanguageModelConfig:
    """Size of a :class:`LanguageModel`.

    Parameters
    ----------
    vocabulary_size : int
        Number of tokens; 256 for bytes.
    width : int
        Width of the residual stream, a multiple of ``2 * n_heads`` (rotary embeddings turn pairs of features).
    n_layers : int
        Number of blocks.
    n_heads : int
        Attention heads per block.
    intermediate : int, optional
        Width inside the feed-forward part; by default 8/3 of the width, rounded up to a multiple of 8.
    context : int
        Tokens at most that the model looks back on, itself included.

    Raises
    ------
    ValueError
        If a size is not positive, or the width does not divide into heads.

    Examples
    --------
    >>> from problems import LanguageModelConfig
    >>> LanguageModelConfig(width=64, n_layers=2).intermediate
    176
    """

    vocabulary_size: int = 256
    width: int = 128
    n_layers: int = 4
    n_heads: int = 4
    intermediate: int | None = None
    context: int = 64

    def __post_init__(self) -> None:
        if self.intermediate is None:
            object.__setattr__(self, "intermediate", -(-(8 * self.width) // 24) * 8)
        for name, value in vars(self).items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.width % (2 * self.n_heads):
            raise ValueError(
                f"width must be a multiple of 2 * n_heads = {2 * self.n_heads}, so that heads have even width, "
                f"got {self.width}"
            )


class LanguageModel(nn.Module):
    """Decoder-only transformer: RMSNorm before each part, rotary embeddings, causal attention, SwiGLU, no biases.

    Embedding and head are not tied. Weights are normal with deviation 0.02, those that write to the residual stream
    (``output`` and ``down``) with 0.02 / sqrt(2 n_layers).

    Parameters
    ----------
    config : LanguageModelConfig, optional
    seed : int or torch.Generator
        Of the initial weights; the global generator is neither read nor moved.

    References
    ----------
    Touvron et al., LLaMA: open and efficient foundation language models, 2023, section 2.2.

    Examples
    --------
    >>> import torch
    >>> from problems import LanguageModel, LanguageModelConfig
    >>> model = LanguageModel(LanguageModelConfig(width=32, n_layers=2, context=16))
    >>> tokens = torch.tensor([list(b"to be or not to b")])
    >>> logits, loss = model(tokens[:, :-1], tokens[:, 1:])
    >>> logits.shape
    torch.Size([1, 16, 256])
    """

    def __init__(self, config: LanguageModelConfig | None = None, *, seed: int | torch.Generator = 0) -> None:
        super().__init__()
        self.config = config = LanguageModelConfig() if config is None else config
        # Modules draw initial weights of their own from the global generator, except where there is nothing to draw.
        with torch.device("meta"):
            self.embedding = nn.Embedding(config.vocabulary_size, config.width)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
            self.norm = nn.RMSNorm(config.width, eps=1e-6)
            self.head = nn.Linear(config.width, config.vocabulary_size, bias=False)
        self.to_empty(device=torch.get_default_device())
        self._draw_weights(seed)

    @torch.no_grad()
    def _draw_weights(self, seed: int | torch.Generator) -> None:
        generator = seed if isinstance(seed, torch.Generator) else torch.Generator("cpu").manual_seed(seed)
        into_stream = _INITIAL_DEVIATION / (2 * self.config.n_layers) ** 0.5
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0)
                continue
            deviation = into_stream if name.endswith(("output.weight", "down.weight")) else _INITIAL_DEVIATION
            drawn = torch.randn(weight.shape, generator=generator, device=generator.device, dtype=torch.float32)
            weight.copy_(drawn * deviation)

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """States before the head, of shape (batch, length, width), from tokens of shape (batch, length)."""
        if tokens.ndim != 2 or not 1 <= tokens.shape[1] <= self.config.context:
            raise ValueError(
                f"tokens must have shape (batch, length) with a length from 1 to the context {self.config.context}, "
                f"got {tuple(tokens.shape)}"
            )
        states = self.embedding(tokens)
        rotation = _rotation(tokens.shape[1], self.config.width // self.config.n_heads, states.device, states.dtype)
        for block in self.blocks:
            states = block(states, rotation)
        return self.norm(states)

    @overload
    def forward(self, tokens: Tensor, targets: None = None) -> Tensor: ...
    @overload
    def forward(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]: ...
    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of the next token and, where targets are given, their mean cross-entropy.

        Parameters
        ----------
        tokens : integer tensor of shape (batch, length)
        targets : integer tensor of shape (batch, length), optional
            The token that follows each; -100 where none counts.

        Returns
        -------
        Tensor or tuple of Tensor
            Logits of shape (batch, length, vocabulary_size); with targets also the loss in nats, in at least float32.
        """
        logits = self.head(self.hidden_states(tokens))
        if targets is None:
            return logits
        exact = logits if logits.dtype == torch.float64 else logits.float()
        return logits, functional.cross_entropy(exact.flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def generate(self, tokens: Tensor, length: int, *, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Tokens of shape (batch, given + length): each new one is drawn from the prediction of the last context.

        Parameters
        ----------
        tokens : integer tensor of shape (batch, given)
        length : int
            Number of new tokens.
        temperature : float
            Logits are divided by it; at 0 the likeliest token is taken.
        seed : int
        """
        generator = torch.Generator("cpu").manual_seed(seed)
        for _ in range(length):
            logits = self(tokens[:, -self.config.context :])[:, -1].float().cpu()
            if temperature == 0:
                drawn = logits.argmax(dim=-1, keepdim=True)
            else:
                drawn = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)
            tokens = torch.cat([tokens, drawn.to(tokens)], dim=1)
        return tokens

    def hidden_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and matrices of the blocks: all parameters but embedding, head and norms."""
        return ((name, weight) for name, weight in self.blocks.named_parameters("blocks") if weight.ndim == 2)


class Block(nn.Module):
    """Attention and feed-forward part, each added to the stream."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.feed_forward = FeedForward(config)

    def forward(self, states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """States of the same shape."""
        states = states + self.attention(self.attention_norm(states), rotation)
        return states + self.feed_forward(self.feed_forward_norm(states))


class Attention(nn.Module):
    """Causal multi-head attention with rotary embeddings."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)

    def forward(self, states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """States of the same shape."""
        query, key, value = (
            linear(states).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        query, key = _rotated(query, *rotation), _rotated(key, *rotation)
        heads = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(heads.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        inner = config.intermediate
        assert inner is not None  # the config has filled it in
        self.gate = nn.Linear(config.width, inner, bias=False)
        self.up = nn.Linear(config.width, inner, bias=False)
        self.down = nn.Linear(inner, config.width, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """States of the same shape."""
        return self.down(functional.silu(self.gate(states)) * self.up(states))


def _rotation(length: int, head_width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position * base^(-2i / head_width), each of shape (length, head_width / 2).

    They are made per call and not kept as buffers, since angles must not be rounded when the model is cast to bfloat16.
    """
    exponents = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles = torch.outer(positions, _ROTARY_BASE**-exponents)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Features i and i + head_width / 2 turned as a pair by their position's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
