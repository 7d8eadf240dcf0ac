"""MATLAB files from other people: ordinary ones are read, anything dangerous is refused."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from matlab import hdf5_order, v5_file, v5_matrix

from neuromusic.core.errors import InputError
from neuromusic.core.matlab import is_hdf5, read_arrays
from neuromusic.core.matlab_names import read_names
from neuromusic.core.matlab_writer import ReadLater, cell, save_mat, structs
from neuromusic.design.orders import read_order


def test_files_written_byte_by_byte_are_read_as_scipy_reads_them(tmp_path):
    body = np.array([9, 16], "<u4").tobytes() + np.array([1.5, 2.5]).tobytes()
    path = v5_file(tmp_path / "a.mat", v5_matrix(6, (1, 2), body))
    assert scipy.io.loadmat(path)["TrnOrd"].tolist() == [[1.5, 2.5]]
    assert read_arrays(path, ["TrnOrd"])["TrnOrd"].tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize("compressed", [False, True])
def test_files_written_by_scipy_are_read_as_scipy_reads_them(tmp_path, compressed):
    rng = np.random.default_rng(0)
    content = {
        "a": rng.normal(size=(3, 4)), "b": np.arange(6, dtype=np.int16).reshape(2, 3),
        "c": np.array([[True, False]]), "d": np.float32([[1, 2]]), "e": np.zeros((0, 3)),
        "t": "Größe 中文", "f": np.arange(24.0).reshape(2, 3, 4),
    }  # fmt: skip
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content, do_compression=compressed)
    expected = scipy.io.loadmat(path)
    arrays = read_arrays(path, list(content))
    for key in set(content) - {"t"}:
        np.testing.assert_array_equal(arrays[key], expected[key])
    assert arrays["t"] == expected["t"].item() == "Größe 中文"


@pytest.mark.skipif(shutil.which("octave-cli") is None, reason="Octave is not installed")
def test_cells_written_by_octave_are_read_and_its_objects_refused(tmp_path):
    code = (
        "TrnOrd = {'blues.00001_15s.wav', 'pop.00002_15s.wav'; 'rock.00003_15s.wav', "
        "'jazz.00004_15s.wav'}; save -v6 v6.mat TrnOrd; save -v7 v7.mat TrnOrd;"
        "TrnOrd = struct('x', {{1}}); save -v7 struct.mat TrnOrd;"
        "TrnOrd = {@(x) system('touch ran')}; save -v7 handle.mat TrnOrd;"
    )
    subprocess.run(["octave-cli", "--eval", code], cwd=tmp_path, check=False, capture_output=True)
    for name in ("v6.mat", "v7.mat"):
        clips = read_order(tmp_path / name, "train").clips
        assert clips.tolist()[0] == ["blues.00001_15s.wav", "rock.00003_15s.wav"]
    for name in ("struct.mat", "handle.mat"):
        with pytest.raises(InputError, match=rf"{name}: "):
            read_order(tmp_path / name, "train")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("category", "message"),
    [(2, "a struct"), (3, "an object"), (16, "a function handle"), (17, "an object"),
     (5, "a sparse matrix"), (6 | 0x800, "complex"), (99, "class 99")],
)  # fmt: skip
@pytest.mark.parametrize("inside", [False, True])
def test_objects_and_function_handles_are_refused(tmp_path, category, message, inside):
    element = v5_matrix(category, (1, 1), bytes(64))
    if inside:
        element = v5_matrix(1, (1, 1), element)
    with pytest.raises(InputError, match=message if category != 17 or inside else "no variable"):
        read_order(v5_file(tmp_path / "a.mat", element), "train")


def test_objects_written_by_scipy_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    fields = np.zeros((1, 1), dtype=[("x", object)])
    thing = scipy.io.matlab.MatlabObject(fields, "evil")
    for content, what in ((thing, "an object"), (scipy.sparse.eye(3).tocsc(), "a sparse matrix")):
        scipy.io.savemat(path, {"TrnOrd": content})
        with pytest.raises(InputError, match=f"is not a cell array of names .it holds {what}"):
            read_order(path, "train")
        with pytest.raises(InputError, match=f"it holds {what}; only numbers, text and cells are"):
            read_arrays(path, ["TrnOrd"])
    scipy.io.savemat(path, {"TrnOrd": {"x": 1.0}})
    with pytest.raises(InputError, match="TrnOrd is a struct without a field of names"):
        read_order(path, "train")


def test_a_data_type_that_makes_scipy_abort_is_refused(tmp_path):
    body = np.array([200, 16], "<u4").tobytes() + bytes(16)
    path = v5_file(tmp_path / "a.mat", v5_matrix(6, (1, 2), body))
    with pytest.raises(InputError, match="has data of type 200"):
        read_order(path, "train")
    text = v5_file(tmp_path / "b.mat", v5_matrix(1, (1, 1), v5_matrix(4, (1, 2), body)))
    with pytest.raises(InputError, match="a text has data of type 200"):
        read_order(text, "train")


def test_deeply_nested_cells_are_refused(tmp_path):
    element = b""
    for _ in range(5_000):
        element = (
            np.array([14, 48 + len(element)], "<u4").tobytes() + v5_matrix(1, (1, 1), element)[8:]
        )
        if len(element) > 100_000:
            break
    with pytest.raises(InputError, match="cells in cells"):
        read_order(v5_file(tmp_path / "a.mat", element), "train")


@pytest.mark.parametrize(
    "name",
    ["../../x", "../blues.00001_15s.wav", "/etc/passwd", "blues.00001_15s.wav/../../x",
     "C:\\blues.00001_15s.wav", "blues.0000१_15s.wav", "blues.00001_15s.wav\n"],
)  # fmt: skip
def test_names_of_clips_that_contain_a_path_are_refused(tmp_path, name):
    cells = np.empty((1, 1), dtype=object)
    cells[0, 0] = name
    scipy.io.savemat(tmp_path / "a.mat", {"TrnOrd": cells})
    with pytest.raises(InputError, match=r"row 1, column 1: .* is not a clip name") as caught:
        read_order(tmp_path / "a.mat", "train")
    assert str(caught.value).isprintable()


def test_a_73_file_cannot_make_us_read_another_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes("geheim".encode("utf-16-le"))
    path = tmp_path / "a.mat"

    def external(file):
        return file.create_dataset("x", (6, 1), np.uint16, external=[(str(secret), 0, 12)])

    def virtual(file):
        with h5py.File(tmp_path / "other.h5", "w") as other:
            other["y"] = np.frombuffer("geheim".encode("utf-16-le"), np.uint16)
        layout = h5py.VirtualLayout((6,), np.uint16)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "y", (6,))
        return file.create_virtual_dataset("x", layout)

    for make in (external, virtual):
        with pytest.raises(InputError, match="is stored in another file") as caught:
            read_order(hdf5_order(path, make), "train")
        assert "geheim" not in str(caught.value)
    hdf5_order(tmp_path / "real.mat", lambda file: file.create_dataset("x", data=[1]))
    for link in (h5py.ExternalLink("real.mat", "/TrnOrd"), h5py.SoftLink("/other")):
        with h5py.File(path, "w") as file:
            file["other"] = 1
            file["TrnOrd"] = link
        with pytest.raises(InputError, match="TrnOrd is a link"):
            read_order(path, "train")


def test_a_73_cell_array_has_the_shape_that_matlab_shows(tmp_path):
    names = [["a", "b", "c"], ["d", "e", "f"]]
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        table = file.create_dataset("TrnOrd", (3, 2), dtype=h5py.ref_dtype)
        for (row, column), name in np.ndenumerate(np.array(names)):
            codes = np.array([[ord(name)]], np.uint16)
            table[column, row] = file.create_dataset(f"#refs#/{name}", data=codes).ref
        number = file.create_dataset("#refs#/number", data=np.float64([[1]]))
        table[0, 0] = number.ref
    assert is_hdf5(tmp_path / "a.mat")
    names = read_names(tmp_path / "a.mat", "TrnOrd", bool)
    assert names.cells.tolist() == [["<float64>", "b", "c"], ["d", "e", "f"]]


def test_scipy_reads_written_variables_and_equal_variables_give_equal_bytes(tmp_path):
    source = {"x": np.arange(6.0).reshape(2, 3)}
    variables = {
        "x": ReadLater(source, "x"), "vector": np.arange(3.0), "names": cell(["a", "bc"]),
        "column": cell(["a", "bc"], row=False),
        "runs": structs([{"name": "a", "n": 1.0}, {"name": "b", "n": 2.0}]),
    }  # fmt: skip
    for name in ("a.mat", "b.mat"):
        save_mat(tmp_path / name, variables)
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()
    assert b"neuromusic" in (tmp_path / "a.mat").read_bytes()[:116]
    read = scipy.io.loadmat(tmp_path / "a.mat")
    np.testing.assert_array_equal(read["x"], source["x"])
    assert read["vector"].shape == (3, 1)
    assert read["names"].shape == (1, 2) and read["column"].shape == (2, 1)
    assert read["runs"]["name"][0, 1].item() == "b"
