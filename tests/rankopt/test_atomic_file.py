"""Files that are replaced whole, whatever happens meanwhile."""

from __future__ import annotations

import os

import pytest

from rankopt.atomic_file import replace_file
from tests.rankopt.test_interrupt import Interrupting


def write_new(stream):
    stream.write(b"new")


def test_a_link_stays_one(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    target, link = folder / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    replace_file(link, write_new)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [path.name for path in folder.iterdir()] == ["target"]


def test_a_link_to_a_file_that_is_not_there_yet(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("target")
    replace_file(link, write_new)
    assert (link.is_symlink(), (tmp_path / "target").read_bytes()) == (True, b"new")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(where, error, tmp_path, monkeypatch):
    """A disk that is full has its place back."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    write = Interrupting(write_new, 1 if where == "write" else None, error)
    if where != "write":
        monkeypatch.setattr(os, where, Interrupting(getattr(os, where), 1, error))
    with pytest.raises(error):
        replace_file(file, write)
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
