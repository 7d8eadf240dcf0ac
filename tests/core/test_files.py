"""Typed readers: what they return, what they refuse, and what they call an unreachable file."""

import ast
import errno
import io
import os

import numpy as np
import pytest

from neuromusic.core import files, tables
from neuromusic.core.errors import InputError

NOT_READABLE = {
    files.read_json: ("JSON file", b"{"),
    tables.read_table: ("table", b'a\tb\n"'),
    files.read_npz: (r"\.npz file", b"PK"),
    files.open_array: (r"\.npy file", b"\x93NUMPY"),
}


@pytest.mark.parametrize("read", NOT_READABLE)
def test_a_damaged_file_is_refused_with_its_name_and_the_remedy(read, tmp_path):
    kind, content = NOT_READABLE[read]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"file: is not a readable {kind} \(.+\); make it again"):
        read(path, remedy="make it again")


@pytest.mark.parametrize("read", NOT_READABLE)
def test_a_missing_file_is_not_called_damaged(read, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "file")


def test_an_unreachable_file_is_not_called_damaged(tmp_path, monkeypatch):
    """Even if a library hides the disk error behind one of its own."""
    path = tmp_path / "file"
    path.touch()

    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("builtins.open", fail)
    with (
        pytest.raises(OSError, match="Input/output error") as caught,
        files.readable(path, "table"),
    ):
        raise ValueError("the library found no header")
    assert caught.value.filename == str(path)
    assert not isinstance(caught.value, InputError)


def test_a_table_as_text_keeps_every_cell(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\n007\tNA\n1.0\n")
    assert tables.read_table(path, as_text=True).to_numpy().tolist() == [["007", "NA"], ["1.0", ""]]
    assert tables.read_table(path)["a"].tolist() == [7, 1]


@pytest.mark.parametrize("as_text", [True, False])
def test_a_row_with_too_many_cells_is_refused(tmp_path, as_text):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(InputError, match=r"a\.csv: is not a readable table"):
        tables.read_table(path, as_text=as_text)


def test_a_file_beyond_the_size_limit_is_refused(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\n" * 1000)
    with pytest.raises(InputError, match=r"is 2 kB; such a table may be at most 1 kB"):
        tables.read_table(path, most_bytes=1000)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_a_truncated_array_is_refused(tmp_path, version):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.arange(6.0), version)
    path = tmp_path / "a.npy"
    path.write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(files.open_array(path), np.arange(6.0))
    path.write_bytes(buffer.getvalue()[:-8])
    with pytest.raises(InputError, match=r"a\.npy: is not a readable \.npy file \(it has"):
        files.open_array(path)


def test_hashes_agree_with_published_values(tmp_path):
    """SHA-256 of "abc" (FIPS 180-2) and the check value of CRC-32."""
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"123456789")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "a") == expected
    assert files.checksum(tmp_path / "b") == 0xCBF43926


@pytest.mark.parametrize("n_failures", [1, 3])
def test_a_race_of_python_311_is_no_damage(tmp_path, monkeypatch, n_failures):
    """numpy reads headers with `ast`, which fails now and then while other threads parse."""
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    np.save(tmp_path / "a.npy", np.arange(3))
    parse, left = ast.literal_eval, n_failures

    def failing(text):
        nonlocal left
        left -= 1
        if left >= 0:
            raise SystemError("AST constructor recursion depth mismatch (before=57, after=54)")
        return parse(text)

    monkeypatch.setattr(ast, "literal_eval", failing)
    assert files.read_npz(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    assert left < 0
    left = n_failures
    assert files.open_array(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert left < 0
