"""Text files: the same numbers by pyarrow and without it, whatever lines look like, and errors that name the line."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from problems import CsvRows, SvmlightRows, open_rows, text_rows
from problems.data_files import read_labels
from tests.problems.files import D, X, dense, parts, save_text, write_csv, write_svm, write_zero_based


@pytest.fixture(params=["pyarrow", "numpy"], autouse=True)
def _parser(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    else:
        pytest.importorskip("pyarrow.csv")


@pytest.fixture(params=[1, 7, 50, 2**21], autouse=True)
def _pieces(request, monkeypatch):
    """Pieces that end within lines, headers and marks of order."""
    monkeypatch.setattr(text_rows, "_PIECE_BYTES", request.param)


def of_text(tmp_path, text, **options):
    (tmp_path / "x.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return CsvRows(tmp_path / "x.csv", **options)


WRITTEN = ["1", " 2", "3 ", "+4", "-5", "6.", ".7", "8e2", "1e400", "-1e-400", "4.9e-324", "0.1", "1_0", '"11"', "inf"]


def test_fields_are_what_python_reads(tmp_path):
    rows = of_text(tmp_path, "".join(f"{field},0\n" for field in WRITTEN))
    found = dense(rows.blocks(4))[:, 0]
    np.testing.assert_array_equal(found, [float(field.strip('"')) for field in WRITTEN])


def test_numbers_are_rounded_to_the_nearest(tmp_path):
    x = np.random.default_rng(0).standard_normal((40, 3)) * 10.0 ** np.arange(-30, 60, 30)
    rows = of_text(tmp_path, "".join(",".join(map(repr, map(float, row))) + "\n" for row in x))
    np.testing.assert_array_equal(dense(rows.blocks(7)), x)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("header", ["", "ä,b,c", "\n \na,b,c"])
def test_ends_of_lines_marks_and_blank_lines(header, mark, last, end, tmp_path):
    lines = [*([header] if header else []), "1,2,3", "", "4,,6", "  ", "7,8,nan"]
    text = "\n".join(lines) + ("\n" if last else "")
    rows = of_text(tmp_path, mark + text.replace("\n", end).encode())
    assert rows.shape == (3, 3)
    assert rows.columns == (header.strip().split(",") if header else None)
    np.testing.assert_array_equal(dense(rows.blocks(2)), [[1, 2, 3], [4, np.nan, 6], [7, 8, np.nan]])


def test_quoted_fields_and_chosen_columns(tmp_path):
    text = 'kind,"a ""b""",c\n"x, y",1,"2"\nz,3,4\n'
    rows = of_text(tmp_path, text, columns=["c", 'a "b"', "c"])
    np.testing.assert_array_equal(dense(rows.blocks(5)), [[2, 1, 2], [4, 3, 4]])
    assert rows.labels("kind").tolist() == ["x, y", "z"]


def test_one_column_and_one_row(tmp_path):
    np.testing.assert_array_equal(dense(of_text(tmp_path, "5").blocks(5)), [[5]])
    np.testing.assert_array_equal(dense(of_text(tmp_path, "a\n1\n\n2\n").blocks(5)), [[1], [2]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n\n3,x\n4,5\n", "x.csv, line 4: 'x' in column 'b' is no number"),
        ("1,2\n3,NA\n", "x.csv, line 2: 'NA' in column 1 is no number"),
        ("a,b\n1,2\n3\n", "x.csv, line 3 has 1 fields, not 2"),
        ("a,b\n1,2\n3,4,5\n", "x.csv, line 3 has 3 fields, not 2"),
        ('a,b\n1,2\n"3\n4",5\n', "x.csv, line 3 has 1 fields, not 2"),
        ("a,b\r\n1,2\r\n3,0x1\r\n", "x.csv, line 3: '0x1' in column 'b' is no number"),
        ("a,b\r1,2\r3,y\r", "x.csv, line 3: 'y' in column 'b' is no number"),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_line_of_a_bad_field_is_named(mark, text, message, tmp_path):
    rows = of_text(tmp_path, mark + text)
    with pytest.raises(ValueError, match=message):
        list(rows.blocks(10))


def test_other_encodings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x.csv is no text in UTF-8: "):
        of_text(tmp_path, "a,b\n1,2\nä,3\n".encode("latin-1"))


def test_blocks_have_the_wanted_sizes(tmp_path):
    write_csv(tmp_path / "x.csv", X)
    found = list(CsvRows(tmp_path / "x.csv").blocks(64))
    assert [len(block) for block in found] == [64] * 10 + [60]
    np.testing.assert_array_equal(dense(found), X)


def test_svmlight_files_of_a_folder_number_columns_alike(tmp_path):
    # Only the second file shows that columns are numbered from zero, and only the last one has all of them.
    x = X[:90].copy()
    x[:, 0] *= np.arange(90) == 40
    x[:60, -1] = 0
    x[80, -1] = 2.0
    zero = open_rows(parts(tmp_path / "zero", np.split(x, 3), ".svm", write_zero_based))
    one = open_rows(parts(tmp_path / "one", np.split(x, 3), ".svm", write_svm))
    for rows in (zero, one):
        assert rows.shape == (90, D)
        np.testing.assert_array_equal(dense(rows.blocks(25)), x)
    np.testing.assert_array_equal(read_labels(tmp_path / "one"), [*range(30)] * 3)


def test_svmlight_columns_that_are_not_met_are_given(tmp_path):
    file = save_text(tmp_path / "x.svm", "1 1:2 # note\n\n-1 3:4\n")
    assert SvmlightRows(file).shape == (2, 3)
    rows = SvmlightRows(file, n_features=5, zero_based=True)
    np.testing.assert_array_equal(dense(rows.blocks(1)), [[0, 2, 0, 0, 0], [0, 0, 0, 4, 0]])
    with pytest.raises(ValueError, match=r"n_features must be at least 3, the columns of .*x.svm, got 2"):
        SvmlightRows(file, n_features=2)
    save_text(file, "1 0:2\n")
    with pytest.raises(ValueError, match=r"x.svm has a column 0, so that zero_based must be True or left out"):
        SvmlightRows(file, zero_based=False)
