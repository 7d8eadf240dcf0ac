"""Order files as MATLAB, Octave and other programs write them."""

import re
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from helpers import neuromusic
from matlab import string_file, string_file_hdf5, v5_file, v5_matrix

from neuromusic.core.errors import InputError
from neuromusic.design.orders import ORDER_FILES, Order, check_design, read_order, write_order

ORDERS = Path(__file__).parents[2] / "orders"
NAMES = [
    ["blues.00001_15s.wav", "rock.00002_15s.wav"],
    ["pop.00003_15s.wav", "jazz.00004_15s.wav"],
    ["metal.00005_15s.wav", "disco.00006_15s.wav"],
]
GRID = np.array(NAMES)  # trials x runs


def cells(array):
    """Return a cell array, also of arrays."""
    out = np.empty((len(array), len(array[0])), dtype=object)
    for index, _ in np.ndenumerate(out):
        out[index] = array[index[0]][index[1]]
    return out


def column(names):
    return cells([[name] for name in names])


def octave_text(path, name="TrnOrd", end="\n", grid=GRID):
    """Write a cell array as Octave's ``save`` does by default."""
    rows, columns = grid.shape
    lines = ["# Created by Octave 7.3.0, Thu Nov 26 04:18:25 2026 UTC <me@lab>", f"# name: {name}",
             "# type: cell", f"# rows: {rows}", f"# columns: {columns}"]  # fmt: skip
    for text in grid.ravel(order="F"):
        lines += ["# name: <cell-element>", "# type: sq_string", "# elements: 1",
                  f"# length: {len(text)}", text, "", "", ""]  # fmt: skip
    path.write_bytes(end.join([*lines, "", ""]).encode())


def hdf5_nested(path):
    """Write a row of two columns of three cells in MATLAB 7.3."""
    with h5py.File(path, "w", userblock_size=512) as file:
        table = file.create_dataset("TrnOrd", (2, 1), dtype=h5py.ref_dtype)
        for run in range(2):
            inner = file.create_dataset(f"#refs#/{run}", (1, 3), dtype=h5py.ref_dtype)
            for trial in range(3):
                codes = np.array([[ord(c)] for c in NAMES[trial][run]], np.uint16)
                data = file.create_dataset(f"#refs#/{run}{trial}", data=codes)
                inner[0, trial] = data.ref
            table[run, 0] = inner.ref


def save(value, name="TrnOrd"):
    return lambda path: scipy.io.savemat(path, {name: value})


READ = {
    "padded with spaces": save(cells([[f"  {name}   " for name in row] for row in NAMES])),
    "a cell in each cell": save(cells([[cells([[name]]) for name in row] for row in NAMES])),
    "a row of columns": save(cells([[column(GRID[:, 0]), column(GRID[:, 1])]])),
    "a column of rows": save(cells([[cells([row])] for row in NAMES])),
    "all in one cell": save(cells([[cells(NAMES)]])),
    "a row of char matrices": save(cells([[np.array(GRID[:, run]) for run in range(2)]])),
    ".WAV": save(cells([[name.replace(".wav", ".WAV") for name in row] for row in NAMES])),
    "in a struct": save({"TrnOrd": cells(NAMES), "n": 3.0}, "S"),
    "a struct of that name": save({"clips": cells(NAMES), "n": 3.0}),
    "another name": save(cells(NAMES), "order"),
    "string array, version 5": lambda path: string_file(path, GRID),
    "string array, big-endian": lambda path: string_file(path, GRID, order=">"),
    "string array, version 7.3": lambda path: string_file_hdf5(path, GRID),
    "nested, version 7.3": hdf5_nested,
    "Octave's text": octave_text,
    "Octave's text with CRLF": lambda path: octave_text(path, end="\r\n"),
    "Octave's text, another name": lambda path: octave_text(path, name="x"),
}


@pytest.mark.parametrize("kind", READ)
def test_the_same_order_is_read_from_every_kind_of_file(tmp_path, caplog, kind):
    path = tmp_path / "o.mat"
    READ[kind](path)
    assert read_order(path, "train").clips.tolist() == GRID.T.tolist()
    is_other = "another name" in kind
    assert ("has no variable TrnOrd; read" in caplog.text) is is_other


def test_a_char_matrix_is_one_run(tmp_path):
    scipy.io.savemat(tmp_path / "o.mat", {"TrnOrd": np.array(["pop.00003_15s.wav", GRID[0, 0]])})
    clips = read_order(tmp_path / "o.mat", "train").clips
    assert clips.tolist() == [["pop.00003_15s.wav", "blues.00001_15s.wav"]]


@pytest.mark.skipif(shutil.which("octave-cli") is None, reason="Octave is not installed")
def test_files_that_octave_writes_are_read_or_refused_with_the_remedy(tmp_path):
    code = (
        "TrnOrd = {'blues.00001_15s.wav', 'pop.00002_15s.wav'; 'rock.00003_15s.wav', "
        "'jazz.00004_15s.wav'}; a = TrnOrd; n = 3; f = {1, ['x' 10 'y']}; save text.mat f TrnOrd n;"
        "save -binary bin.mat TrnOrd; save -hdf5 h5.mat TrnOrd; save -zip zip.mat TrnOrd;"
        "S.TrnOrd = TrnOrd; save struct.mat S; TrnOrd = char(TrnOrd); save char.mat TrnOrd;"
        "TrnOrd = {a(:,1), a(:,2)}; save nested.mat TrnOrd"
    )
    subprocess.run(["octave-cli", "--eval", code], cwd=tmp_path, check=False, capture_output=True)
    expected = [["blues.00001_15s.wav", "rock.00003_15s.wav"],
                ["pop.00002_15s.wav", "jazz.00004_15s.wav"]]  # fmt: skip
    for name in ("text.mat", "struct.mat", "nested.mat"):
        assert read_order(tmp_path / name, "train").clips.tolist() == expected
    assert read_order(tmp_path / "char.mat", "train").clips.tolist() == [
        [*expected[0], *expected[1]]
    ]
    for name in ("bin.mat", "h5.mat", "zip.mat"):
        with pytest.raises(InputError, match=f"{name}: is .*save -v7"):
            read_order(tmp_path / name, "train")


def two_candidates(path):
    scipy.io.savemat(path, {"a": cells(NAMES), "b": cells(NAMES)})


def a_table(path):
    v5_file(path, v5_matrix(17, None, b"", class_name="table"))


REFUSED = {
    "has no variable TrnOrd, and a and b could be it": two_candidates,
    r"it holds an object of the class table\); type 'TrnOrd = table2cell\(TrnOrd\)": a_table,
    "holds numbers.*cellstr": save(np.ones((40, 12))),
    "1 x 2 cells of 2 x 1 and 3 x 1 names": save(
        cells([[column(GRID[:, 0]), column(GRID[:2, 0])]])
    ),
    "3 x 1 cells of 2 x 1 names": save(cells([[column(row)] for row in NAMES])),
    "row 2, column 1: '<empty>'": save(cells([[GRID[0, 0]], [np.zeros((0, 0))]])),
    "row 1, column 1: '<missing>'": lambda path: string_file(path, np.array([[None]])),
    "row 1, column 1: 'blues": lambda path: string_file(path, cells([[f"{GRID[0, 0]}\1"]])),
    "Octave's text format.*save -v7": lambda path: path.write_text("# name: TrnOrd\n# type: cell\n"
                                                                   "# rows: 9\n# columns: 1\n"),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_a_file_that_is_ambiguous_or_of_another_kind_is_refused_with_the_remedy(tmp_path, message):
    path = tmp_path / "o.mat"
    REFUSED[message](path)
    with pytest.raises(InputError, match=message) as caught:
        read_order(path, "train")
    assert str(path) in str(caught.value)


def test_the_command_checks_such_files(tmp_path):
    """In a process: the string array is read, the numbers are refused in one line."""
    string_file(tmp_path / "a.mat", GRID)
    scipy.io.savemat(tmp_path / "b.mat", {"ValOrd": np.ones((2, 2))})
    done = neuromusic(
        "orders", "check", "--train-order", "a.mat", "--test-order", "b.mat", cwd=tmp_path
    )
    assert done.returncode == 2
    assert re.fullmatch(r"Error: b\.mat: ValOrd is not a cell array .*\n", done.stderr)


def test_the_real_orders_come_with_the_project(shared):
    """They are the laboratory's, cell by cell, and follow the published design."""
    for split, name in ORDER_FILES.items():
        order = read_order(ORDERS / name, split)
        original = scipy.io.loadmat(shared / "data/orders" / name)
        (variable,) = (key for key in original if not key.startswith("__"))
        ours = scipy.io.loadmat(ORDERS / name)[variable]
        assert ours.shape == original[variable].shape == order.clips.T.shape
        for left, right in zip(ours.flat, original[variable].flat, strict=True):
            assert left.item() == right.item()
        assert check_design(order) == []


def test_an_order_is_always_written_as_the_same_bytes(tmp_path):
    """Without the time of day: those that come with the project are written again."""
    for split, name in ORDER_FILES.items():
        write_order(read_order(ORDERS / name, split), tmp_path / name)
        assert (tmp_path / name).read_bytes() == (ORDERS / name).read_bytes()
    order = Order("train", GRID.T)
    write_order(order, tmp_path / "a.mat")
    assert (tmp_path / "a.mat").read_bytes()[:116].rstrip() == (
        b"MATLAB 5.0 MAT-file, written by neuromusic"
    )
