"""Text for language models: reading it, splitting it by documents, and batches that depend only on seed and step."""

from __future__ import annotations

import gzip
import hashlib
import logging
import lzma
import os
import re
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from problems.tokenizer import BytePairTokenizer, ByteTokenizer, Tokenizer

_log = logging.getLogger(__name__)

TEXT_EXTENSIONS = (".txt", ".text", ".md", ".rst", ".tex", ".html", ".xml", ".csv", ".tsv", ".json", ".jsonl", ".py")
"""Files of a folder that are read by default, also where ``.gz`` or ``.xz`` follows."""

_OPENERS: dict[str, Callable[..., Iterable[bytes]]] = {".gz": gzip.open, ".xz": lzma.open}
_NOT_SOURCES = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"}
"""Folders of the standard library that some systems leave out or others write to."""


def read_text(
    path: str | os.PathLike[str] | None = None,
    *,
    separator: str | None = None,
    extensions: Sequence[str] = TEXT_EXTENSIONS,
) -> list[str]:
    """Documents of a file, of the files of a folder, or of the Python standard library's own sources.

    Parameters
    ----------
    path : path, optional
        A UTF-8 text file, also one that ends in ``.gz`` or ``.xz``; or a folder, whose text files are read in the order
        of their paths, hidden ones left out. By default the ``.py`` files of the standard library without its tests.
    separator : str, optional
        Regular expression between the documents of a file, for instance ``"</?doc[^>]*>"`` for articles that
        WikiExtractor wrote; ``^`` and ``$`` match at lines. By default a file is one document.
    extensions : sequence of str
        Which files of a folder are read.

    Returns
    -------
    list of str
        Documents that are not blank, in a fixed order.

    Raises
    ------
    FileNotFoundError
        If the path is not there.
    ValueError
        If there is no text, or a single file cannot be read as text. Such files of a folder are left out, with a line
        in the log.

    Examples
    --------
    >>> from problems import read_text
    >>> documents = read_text()
    >>> any("def bisect_left" in document for document in documents)
    True
    """
    try:
        between = None if separator is None else re.compile(separator, flags=re.MULTILINE)
    except re.error as error:
        raise ValueError(f"separator must be a regular expression, got {separator!r}: {error}") from error
    documents: list[str] = []
    for text in _texts(None if path is None else Path(path), extensions):
        parts = [text] if between is None else between.split(text)
        # Groups of the expression come out of the split too, and those that did not match as None.
        documents += [part for part in parts if part and not part.isspace()]
    if not documents:
        raise ValueError(f"there is no text in {path or 'the standard library'}")
    return documents


def _texts(path: Path | None, extensions: Sequence[str]) -> Iterator[str]:
    if path is None:
        folder = Path(sysconfig.get_path("stdlib"))
        yield from _readable(_files(folder, (".py",), leave_out=_NOT_SOURCES))
    elif path.is_dir():
        endings = tuple(extension + packing for extension in extensions for packing in ("", *_OPENERS))
        yield from _readable(_files(path, endings))
    elif path.exists():
        yield _read(path)
    else:
        raise FileNotFoundError(f"there is no file or folder {path}")


def _files(folder: Path, endings: tuple[str, ...], leave_out: Iterable[str] = ()) -> list[Path]:
    """Files with these endings below the folder, in the order of their paths, the same on every system."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in leave_out]
        found += [Path(parent, name) for name in names if name.lower().endswith(endings) and not name.startswith(".")]
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def _readable(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        try:
            yield _read(file)
        except (OSError, ValueError) as error:
            _log.warning("left out: %s", error)


def _read(file: Path) -> str:
    try:
        with _OPENERS.get(file.suffix.lower(), open)(file, "rb") as stream:
            return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{file} cannot be unpacked: {error}") from error


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokens to train on and to validate with.

    Parameters
    ----------
    train, validation : integer tensors of one dimension
        On the CPU, of any integer type; batches are int64.
    vocabulary_size : int
    decode : callable
        Text of a sequence of tokens.
    tokenizer : Tokenizer, optional
        What made the tokens.

    Examples
    --------
    >>> from problems import Corpus
    >>> corpus = Corpus.from_documents(["to be or not to be " * 20])
    >>> tokens, targets = corpus.batch(step=0, batch_size=4, context=8)
    >>> tokens.shape, bool((tokens[:, 1:] == targets[:, :-1]).all())
    (torch.Size([4, 8]), True)
    >>> corpus.decode(corpus.train[:5])
    'to be'
    """

    train: Tensor
    validation: Tensor
    vocabulary_size: int
    decode: Callable[[Sequence[int] | Tensor], str]
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            tokens = getattr(self, name)
            if not isinstance(tokens, Tensor) or tokens.ndim != 1 or tokens.is_floating_point():
                raise TypeError(f"{name} must be an integer tensor of one dimension")
            if tokens.numel() == 0:
                raise ValueError(f"{name} has no tokens: the text is empty or too short to be split")
            low, high = tokens.min().item(), tokens.max().item()
            if low < 0 or high >= self.vocabulary_size:
                raise ValueError(
                    f"{name} must hold tokens from 0 to vocabulary_size - 1 = {self.vocabulary_size - 1}, "
                    f"got {low} to {high}"
                )

    @classmethod
    def from_documents(
        cls,
        documents: Sequence[str],
        *,
        tokenizer: str | Tokenizer = "bytes",
        vocabulary_size: int = 4096,
        validation_fraction: float = 0.1,
        max_characters: int | None = None,
        seed: int = 0,
    ) -> Corpus:
        """Shuffle documents, split them and turn them into tokens.

        Whole documents are shuffled before the split, so that the validation text is of the same kind as the training
        text; the one at the border is cut. A text that is a single document is therefore split by position.

        Parameters
        ----------
        documents : sequence of str
        tokenizer : {"bytes", "bpe"} or Tokenizer
            ``"bpe"`` learns byte pairs from the training text (:class:`BytePairTokenizer`).
        vocabulary_size : int
            At most, for ``"bpe"``.
        validation_fraction : float
            Share of the characters that is held out.
        max_characters : int, optional
            Characters of the shuffled text to keep.
        seed : int
            Of the shuffle.

        Raises
        ------
        ImportError
            If ``tokenizer`` is ``"bpe"`` and the package for it is not installed.
        ValueError
            If there is no text.
        """
        if isinstance(documents, str):
            raise TypeError("documents must be a sequence of texts, not one text: pass [text]")
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {validation_fraction}")
        if max_characters is not None and max_characters < 1:
            raise ValueError(f"max_characters must be at least 1, got {max_characters}")
        if isinstance(tokenizer, str) and tokenizer not in ("bytes", "bpe"):
            raise ValueError(f"tokenizer must be 'bytes', 'bpe' or a tokenizer, got {tokenizer!r}")
        order = np.random.default_rng(seed).permutation(len(documents))
        shuffled = [documents[index] for index in order]
        total = sum(map(len, shuffled))
        if max_characters is not None:
            shuffled, _ = _cut(shuffled, max_characters)
            total = min(total, max_characters)
        train, validation = _cut(shuffled, total - round(total * validation_fraction))
        if tokenizer == "bpe":
            tokenizer = BytePairTokenizer.learn(train, vocabulary_size)
        elif isinstance(tokenizer, str):
            tokenizer = ByteTokenizer()
        size = tokenizer.vocabulary_size
        held, held_out = (_compact(tokenizer.encode(part), size) for part in (train, validation))
        return cls(held, held_out, size, tokenizer.decode, tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all tokens, by which a checkpoint knows the corpus it was trained on."""
        digest = hashlib.sha256(f"{self.vocabulary_size} {len(self.train)}".encode())
        for tokens in (self.train, self.validation):
            # One width, so that the hash does not depend on how compactly the tokens are held.
            for part in tokens.split(2**20):
                digest.update(part.to(torch.int32).numpy().astype("<i4", copy=False).tobytes())
        return digest.hexdigest()

    def batch(self, step: int, batch_size: int, context: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Tokens and those that follow them, from random places of the training text.

        The places depend on seed and step only, so that a resumed run sees what the uninterrupted one would have seen.

        Parameters
        ----------
        step : int
        batch_size : int
            Number of windows.
        context : int
            Tokens per window.
        seed : int

        Returns
        -------
        tokens, targets : int64 tensors of shape (batch_size, context)

        Raises
        ------
        ValueError
            If the training text is shorter than a window and its last target.
        """
        places = self._places("train", context)
        return self._windows(self.train, np.random.default_rng((seed, step)).integers(places, size=batch_size), context)

    def validation_windows(self, context: int, n_windows: int = 128) -> tuple[Tensor, Tensor]:
        """Tokens and targets of windows that do not overlap, spread evenly over the validation text.

        Parameters
        ----------
        context : int
            Tokens per window.
        n_windows : int
            At most.

        Returns
        -------
        tokens, targets : int64 tensors of shape (windows, context)
        """
        places = self._places("validation", context)
        count = min(n_windows, (places - 1) // context + 1)
        # Integers in between: the distance of two starts is at least a context, since count windows fit.
        starts = np.arange(count) * (places - 1) // max(count - 1, 1)
        return self._windows(self.validation, starts, context)

    def _places(self, name: str, context: int) -> int:
        """Number of starts of a window."""
        places = len(getattr(self, name)) - context
        if places < 1:
            raise ValueError(
                f"the {name} text has {places + context} tokens, too few for a context of {context} and the token "
                "after it; give more text or a shorter context"
            )
        return places

    @staticmethod
    def _windows(tokens: Tensor, starts: np.ndarray, context: int) -> tuple[Tensor, Tensor]:
        windows = tokens[torch.from_numpy(starts)[:, None] + torch.arange(context + 1)].long()
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def _cut(documents: Sequence[str], characters: int) -> tuple[list[str], list[str]]:
    """Documents before and after that many characters; the one at the border is in both, a part in each."""
    before: list[str] = []
    for index, document in enumerate(documents):
        if len(document) > characters:
            return [*before, *filter(None, [document[:characters]])], [document[characters:], *documents[index + 1 :]]
        before.append(document)
        characters -= len(document)
    return before, []


def _compact(tokens: Tensor, vocabulary_size: int) -> Tensor:
    """The same in the smallest integers that hold the vocabulary and that torch can index."""
    kind = torch.uint8 if vocabulary_size <= 2**8 else torch.int16 if vocabulary_size <= 2**15 else torch.int32
    return tokens.to(kind)
