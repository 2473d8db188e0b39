"""Tokenizers: bytes as they are, and byte pairs learned from the text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

_BATCH = 1000
"""Documents encoded at a time: the tokenizers' own records of a document are many times its size."""


class Tokenizer(Protocol):
    """What a corpus asks of a tokenizer.

    Attributes
    ----------
    vocabulary_size : int
    """

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens."""

    def encode(self, documents: Iterable[str]) -> Tensor:
        """One-dimensional tensor of the tokens of all documents, a line break after each."""

    def decode(self, tokens: Sequence[int] | Tensor) -> str:
        """Text of the tokens."""


class ByteTokenizer:
    """The 256 bytes of UTF-8 as tokens.

    Raises
    ------
    TypeError
        In ``encode``, if the documents are one text instead of several, or hold anything else; in ``decode``, if tokens
        are no whole numbers.
    ValueError
        In ``decode``, if a token is no byte.

    Examples
    --------
    >>> from problems import ByteTokenizer
    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode(["ab"]).tolist()
    [97, 98, 10]
    >>> tokenizer.decode([97, 98])
    'ab'
    """

    vocabulary_size = 256

    def encode(self, documents: Iterable[str]) -> Tensor:
        """One-dimensional tensor of the tokens of all documents, a line break after each."""
        encoded = bytearray("".join(_lines(documents)).encode())
        return torch.frombuffer(encoded, dtype=torch.uint8) if encoded else torch.zeros(0, dtype=torch.uint8)

    def decode(self, tokens: Sequence[int] | Tensor) -> str:
        """Text of the tokens; bytes that are no UTF-8, such as half a character at an end, are marked."""
        try:
            text = bytes(_as_list(tokens))
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"tokens must be whole numbers from 0 to 255: {error}") from None
        return text.decode("utf-8", errors="replace")


class BytePairTokenizer:
    r"""Byte-level byte-pair encoding, by the package ``tokenizers`` (``pip install "rankopt[text]"``).

    Parameters
    ----------
    description : str
        JSON text in the format of that package, as :meth:`save` writes it.

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If the description is not one.

    Examples
    --------
    >>> from problems import BytePairTokenizer
    >>> tokenizer = BytePairTokenizer.learn(["to be or not to be"] * 9, vocabulary_size=300)  # doctest: +SKIP
    >>> tokenizer.decode(tokenizer.encode(["to be"]))  # doctest: +SKIP
    'to be\n'
    """

    def __init__(self, description: str) -> None:
        package = _tokenizers()
        try:
            self._tokenizer = package.Tokenizer.from_str(description)
        except Exception as error:  # the package raises bare Exception
            raise ValueError(f"description is not that of a tokenizer: {error}") from error

    @classmethod
    def learn(cls, documents: Iterable[str], vocabulary_size: int) -> BytePairTokenizer:
        """A tokenizer with merges learned from the documents, at most as many as give the size asked for."""
        _require_documents(documents)
        if vocabulary_size < 256:
            raise ValueError(f"vocabulary_size must be at least the 256 bytes, got {vocabulary_size}")
        package = _tokenizers()
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            show_progress=False,
            initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
        )
        tokenizer.train_from_iterator(documents, trainer)
        return cls(tokenizer.to_str())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BytePairTokenizer:
        """The tokenizer that was saved there."""
        return cls(Path(path).read_text(encoding="utf-8"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON description of the tokenizer."""
        Path(path).write_text(self._tokenizer.to_str(), encoding="utf-8")

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens; less than asked for where the text holds no more pairs."""
        return self._tokenizer.get_vocab_size()

    def encode(self, documents: Iterable[str]) -> Tensor:
        """One-dimensional tensor of the tokens of all documents, a line break after each."""
        parts, batch = [torch.zeros(0, dtype=torch.int32)], []
        for line in _lines(documents):
            batch.append(line)
            if len(batch) == _BATCH:
                parts.append(self._encoded(batch))
                batch = []
        return torch.cat([*parts, self._encoded(batch)])

    def _encoded(self, batch: list[str]) -> Tensor:
        encodings = self._tokenizer.encode_batch_fast(batch)
        return torch.tensor([token for encoding in encodings for token in encoding.ids], dtype=torch.int32)

    def decode(self, tokens: Sequence[int] | Tensor) -> str:
        """Text of the tokens."""
        return self._tokenizer.decode(_as_list(tokens), skip_special_tokens=False)


def _require_documents(documents: Any) -> None:
    if isinstance(documents, (str, bytes)) or not isinstance(documents, Iterable):
        raise TypeError(f"documents must be a list or an iterator of texts, got {type(documents).__name__}")


def _lines(documents: Iterable[str]) -> Iterator[str]:
    """Documents with a line break after each."""
    _require_documents(documents)
    for document in documents:
        if not isinstance(document, str):
            raise TypeError(f"documents must hold texts, got {type(document).__name__}")
        yield f"{document}\n"


def _as_list(tokens: Sequence[int] | Tensor) -> list[int]:
    return tokens.tolist() if isinstance(tokens, Tensor) else list(tokens)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError('byte pairs need the package tokenizers: pip install "rankopt[text]"') from error
    return tokenizers
