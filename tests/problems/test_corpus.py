"""Text from files and folders, its split, batches and tokenizers."""

import gzip
import logging
import lzma
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from problems import BytePairTokenizer, ByteTokenizer, Corpus, read_text

ARTICLES = [f"article {number}: " + "word " * (3 + number % 5) for number in range(40)]


@pytest.fixture
def counting():
    """Training tokens 0, 1, 2, ... so that every window tells its place."""
    return Corpus(torch.arange(100), torch.arange(50), 100, str)


# ------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(("name", "pack"), [("a.txt", bytes), ("a.txt.gz", gzip.compress), ("a.xz", lzma.compress)])
def test_a_file_is_read_packed_or_not(tmp_path, name, pack):
    file = tmp_path / name
    file.write_bytes(pack("naïve\ntext\n".encode()))
    assert read_text(file) == ["naïve\ntext\n"]
    assert read_text(str(file)) == ["naïve\ntext\n"]


def test_a_folder_is_read_in_order_without_what_is_no_text(tmp_path, caplog):
    files = {
        "b.txt": b"second",
        "a/z.md": b"first",
        "c.txt.gz": gzip.compress(b"third"),
        "blank.txt": b" \n",
        "broken.txt": b"\xff\xfe\x00",
        "half.txt.xz": lzma.compress(b"a text" * 99)[:40],
        "picture.png": b"no text",
        ".hidden.txt": b"no",
        ".git/config.txt": b"no",
    }
    for name, contents in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(contents)
    with caplog.at_level(logging.WARNING):
        assert read_text(tmp_path) == ["first", "second", "third"]
    assert len(caplog.records) == 2
    assert "broken.txt" in caplog.text
    assert "half.txt.xz" in caplog.text
    assert read_text(tmp_path, extensions=[".md"]) == ["first"]


def test_documents_of_a_file_are_separated(tmp_path):
    file = tmp_path / "articles.txt"
    file.write_text('<doc id="1" title="A">\nA\n\ntext a\n</doc>\n<doc id="2">\nB\n</doc>\n', encoding="utf-8")
    assert [document.strip() for document in read_text(file, separator="</?doc[^>]*>")] == ["A\n\ntext a", "B"]
    file.write_text("one\n----\ntwo -- two\n--\nthree", encoding="utf-8")
    assert [document.strip() for document in read_text(file, separator="^-+$")] == ["one", "two -- two", "three"]
    # What a group matched is between documents, too.
    assert len(read_text(file, separator="^(?:-+|(=+))$")) == 3


def test_a_mark_of_byte_order_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(tmp_path / "a.txt") == ["abc"]


def test_the_standard_library_is_the_default():
    documents = read_text()
    assert documents == read_text()
    assert any("class Cmd:" in document for document in documents)
    assert not any("class TestCase:" in document and "import torch" in document for document in documents)
    assert sum(map(len, documents)) > 2_000_000


@pytest.mark.parametrize(
    ("contents", "options", "error", "message"),
    [
        (None, {}, FileNotFoundError, "there is no file or folder"),
        (b"", {}, ValueError, "there is no text"),
        (b" \n\t", {}, ValueError, "there is no text"),
        (b"\xff\xff", {}, ValueError, "not UTF-8"),
        (b"text", {"separator": "("}, ValueError, "separator must be a regular expression"),
    ],
)
def test_text_that_is_none(tmp_path, contents, options, error, message):
    file = tmp_path / "text.txt"
    if contents is not None:
        file.write_bytes(contents)
    with pytest.raises(error, match=message):
        read_text(file, **options)


@pytest.mark.parametrize(
    ("name", "contents"), [("a.gz", b"no gzip"), ("a.xz", b"no xz"), ("b.gz", gzip.compress(b"a" * 99, mtime=0)[:-9])]
)
def test_a_packed_file_that_is_broken(tmp_path, name, contents):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_text(tmp_path / name)


def test_an_empty_folder_has_no_text(tmp_path):
    with pytest.raises(ValueError, match="there is no text"):
        read_text(tmp_path)


# ------------------------------------------------------------------------------------------- split and tokens


def test_documents_are_shuffled_whole_and_one_is_cut():
    corpus = Corpus.from_documents(ARTICLES, validation_fraction=0.25, seed=3)
    train, validation = corpus.decode(corpus.train), corpus.decode(corpus.validation)
    assert len(validation) == pytest.approx(0.25 * len(train + validation), abs=len(ARTICLES))
    whole = [article for article in ARTICLES if article + "\n" in train or article + "\n" in validation]
    assert len(whole) >= len(ARTICLES) - 1
    assert sorted((train + validation).replace("\n", "")) == sorted("".join(ARTICLES))
    numbers = [int(line.split()[1].rstrip(":")) for line in validation.splitlines() if line.startswith("article")]
    # A split by position would have held out the last ten.
    assert numbers != sorted(numbers)
    assert min(numbers) < 20


def test_the_shuffle_depends_on_its_seed():
    first, same, other = (Corpus.from_documents(ARTICLES, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.train, same.train)
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_one_document_is_split_by_position():
    text = "".join(f"{number:04d}" for number in range(1000))
    corpus = Corpus.from_documents([text])
    assert corpus.decode(corpus.train) == text[:3600] + "\n"
    assert corpus.decode(corpus.validation) == text[3600:] + "\n"


def test_part_of_the_shuffled_text_is_kept():
    corpus = Corpus.from_documents(ARTICLES, max_characters=200)
    kept = corpus.decode(corpus.train) + corpus.decode(corpus.validation)
    assert len(kept.replace("\n", "")) == 200
    whole = Corpus.from_documents(ARTICLES)
    assert corpus.decode(whole.train).replace("\n", "").startswith(kept.replace("\n", "")[:180])
    everything = Corpus.from_documents(ARTICLES, max_characters=10**9)
    assert everything.fingerprint == whole.fingerprint


def test_bytes_are_held_as_bytes():
    corpus = Corpus.from_documents(["äöü" * 20])
    assert corpus.train.dtype == torch.uint8
    assert corpus.vocabulary_size == 256
    assert bytes(corpus.train.tolist()).startswith("äöü".encode())


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_bytes_decode_to_the_text(documents):
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(documents)) == "".join(document + "\n" for document in documents)


def test_half_a_character_is_marked():
    assert ByteTokenizer().decode("aä".encode()[:-1]) == "a�"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.encode("a text"), TypeError, "documents must be a list or an iterator of texts, got str"),
        (lambda t: t.encode(b"a text"), TypeError, "documents must be a list or an iterator of texts, got bytes"),
        (lambda t: t.encode(None), TypeError, "documents must be a list or an iterator of texts, got NoneType"),
        (lambda t: t.encode(["a", 1]), TypeError, "documents must hold texts, got int"),
        (lambda t: t.encode([b"a"]), TypeError, "documents must hold texts, got bytes"),
        (lambda t: t.decode([97, 256]), ValueError, "tokens must be whole numbers from 0 to 255: "),
        (lambda t: t.decode(torch.tensor([-1])), ValueError, "tokens must be whole numbers from 0 to 255: "),
        (lambda t: t.decode([97.5]), TypeError, "tokens must be whole numbers from 0 to 255: 'float'"),
        (lambda t: t.decode(torch.zeros(2, 2, dtype=torch.int64)), TypeError, "tokens must be whole .*: 'list'"),
        (lambda t: t.decode("a text"), TypeError, "tokens must be whole numbers from 0 to 255: 'str'"),
    ],
)
def test_bad_input_of_bytes(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(ByteTokenizer())
    assert caught.type is error


def test_byte_pairs_are_not_learned_from_the_letters_of_one_text():
    with pytest.raises(TypeError, match="documents must be a list or an iterator of texts, got str"):
        BytePairTokenizer.learn("to be or not to be", 300)


def test_fingerprint_is_of_the_tokens_and_not_of_how_they_are_held():
    tokens = torch.arange(90)
    corpus = Corpus(tokens, tokens, 100, str)
    assert Corpus(tokens.to(torch.uint8), tokens.short(), 100, str).fingerprint == corpus.fingerprint
    changed = tokens.clone()
    changed[-1] = 0
    others = [Corpus(tokens, changed, 100, str), Corpus(changed, tokens, 100, str), Corpus(tokens, tokens, 101, str)]
    assert len({corpus.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"documents": "one text"}, TypeError, "documents must be a sequence"),
        ({"documents": []}, ValueError, "train has no tokens"),
        ({"documents": ["a", "b", "c", "d"]}, ValueError, "validation has no tokens"),
        ({"validation_fraction": 0}, ValueError, "validation_fraction"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"tokenizer": "words"}, ValueError, "tokenizer must be"),
        ({"max_characters": 0}, ValueError, "max_characters"),
    ],
)
def test_documents_that_make_no_corpus(options, error, message):
    with pytest.raises(error, match=message):
        Corpus.from_documents(**{"documents": ARTICLES, **options})


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        (torch.zeros(0, dtype=torch.long), ValueError, "train has no tokens"),
        (torch.zeros(4, 4, dtype=torch.long), TypeError, "one dimension"),
        (torch.zeros(4), TypeError, "integer tensor"),
        ([1, 2], TypeError, "integer tensor"),
        (torch.tensor([1, 10]), ValueError, "from 0 to"),
        (torch.tensor([1, -1]), ValueError, "from 0 to"),
    ],
)
def test_tokens_that_are_none(train, error, message):
    with pytest.raises(error, match=message):
        Corpus(train, torch.arange(9), 10, str)


# ------------------------------------------------------------------------------------------------- windows


def test_batches_depend_on_seed_and_step_only(counting):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = counting.batch(7, 32, 8, seed=1)
    counting.batch(8, 32, 8, seed=1)
    again = Corpus(torch.arange(100), torch.arange(50), 100, str).batch(7, 32, 8, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], counting.batch(8, 32, 8, seed=1)[0])
    assert not torch.equal(first[0], counting.batch(7, 32, 8, seed=2)[0])
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_windows_are_of_the_text_and_reach_its_ends(counting):
    tokens, targets = counting.batch(0, 5000, 8)
    assert tokens.dtype == targets.dtype == torch.int64
    assert tokens.shape == targets.shape == (5000, 8)
    assert torch.equal(tokens, tokens[:, :1] + torch.arange(8))
    assert torch.equal(targets, tokens + 1)
    assert tokens.min() == 0
    assert targets.max() == 99


@pytest.mark.parametrize(
    ("n_windows", "context", "expected"), [(3, 8, 3), (100, 8, 6), (1, 8, 1), (100, 49, 1), (5, 10, 4)]
)
def test_validation_windows_do_not_overlap(counting, n_windows, context, expected):
    tokens, targets = counting.validation_windows(context, n_windows)
    assert tokens.shape == targets.shape == (expected, context)
    assert tokens.unique().numel() == tokens.numel()
    assert torch.equal(targets, tokens + 1)
    assert tokens[0, 0] == 0
    if expected > 1:
        assert targets[-1, -1] == 49


@pytest.mark.parametrize("context", [99, 100])
def test_text_shorter_than_a_context_is_refused(counting, context):
    with pytest.raises(ValueError, match=r"validation text has 50 tokens, too few for a context"):
        counting.validation_windows(context)
    if context == 99:
        assert counting.batch(0, 2, context)[0].shape == (2, 99)
    else:
        with pytest.raises(ValueError, match=r"train text has 100 tokens, too few"):
            counting.batch(0, 2, context)


# ---------------------------------------------------------------------------------------------- byte pairs


def test_byte_pairs_decode_to_the_text_and_are_learned_from_the_training_text(tmp_path):
    pytest.importorskip("tokenizers")
    corpus = Corpus.from_documents(["to be or not to be, " * 200 + "§zyx" * 100], tokenizer="bpe", vocabulary_size=300)
    assert 256 < corpus.vocabulary_size <= 300
    text = corpus.decode(corpus.train) + corpus.decode(corpus.validation)
    assert text.replace("\n", "") == "to be or not to be, " * 200 + "§zyx" * 100
    # A word of the training text is one token, one that only the held-out text has is several.
    assert corpus.tokenizer.encode([" not"]).tolist()[1:] == corpus.tokenizer.encode([""]).tolist()
    assert len(corpus.tokenizer.encode(["zyx"])) > 2
    corpus.tokenizer.save(tmp_path / "tokenizer.json")
    loaded = BytePairTokenizer.load(tmp_path / "tokenizer.json")
    again = Corpus.from_documents(["to be or not to be, " * 200 + "§zyx" * 100], tokenizer=loaded)
    assert again.fingerprint == corpus.fingerprint


def test_byte_pairs_encode_what_they_never_saw():
    pytest.importorskip("tokenizers")
    tokenizer = BytePairTokenizer.learn(["abc"], 256)
    documents = ["日本語 \x00\t\n", *["b"] * 2500]
    assert tokenizer.decode(tokenizer.encode(documents)) == "".join(f"{document}\n" for document in documents)


def test_bad_tokenizers_are_refused(tmp_path):
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match="at least the 256 bytes"):
        BytePairTokenizer.learn(["abc"], 255)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="not that of a tokenizer"):
        BytePairTokenizer.load(tmp_path / "tokenizer.json")


def test_without_its_package_byte_pairs_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r'pip install "rankopt\[text\]"'):
        Corpus.from_documents(ARTICLES, tokenizer="bpe")
