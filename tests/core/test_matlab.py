"""Order files that a user was sent: what MATLAB writes is read, what it can hide is refused."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from matlab import hdf5_order, v5_file, v5_matrix

from neuromusic.core.errors import InputError
from neuromusic.core.matlab import read_arrays
from neuromusic.design.orders import read_order


def test_that_description_is_what_scipy_reads(tmp_path):
    body = np.array([9, 16], "<u4").tobytes() + np.array([1.5, 2.5]).tobytes()
    path = v5_file(tmp_path / "a.mat", v5_matrix(6, (1, 2), body))
    assert scipy.io.loadmat(path)["TrnOrd"].tolist() == [[1.5, 2.5]]
    assert read_arrays(path, ["TrnOrd"])["TrnOrd"].tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_read_alike(tmp_path, compressed):
    rng = np.random.default_rng(0)
    content = {
        "a": rng.normal(size=(3, 4)), "b": np.arange(6, dtype=np.int16).reshape(2, 3),
        "c": np.array([[True, False]]), "d": np.float32([[1, 2]]), "e": np.zeros((0, 3)),
        "t": "Größe 中文", "f": np.arange(24.0).reshape(2, 3, 4),
    }  # fmt: skip
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content, do_compression=compressed)
    theirs = scipy.io.loadmat(path)
    ours = read_arrays(path, list(content))
    for key in set(content) - {"t"}:
        np.testing.assert_array_equal(ours[key], theirs[key])
    assert ours["t"] == theirs["t"].item() == "Größe 中文"


@pytest.mark.skipif(shutil.which("octave-cli") is None, reason="Octave is not installed")
def test_what_octave_writes_is_read_and_its_objects_are_refused(tmp_path):
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
    ("category", "what"),
    [(2, "a struct"), (3, "an object"), (16, "a function handle"), (17, "an object"),
     (5, "a sparse matrix"), (6 | 0x800, "complex"), (99, "class 99")],
)  # fmt: skip
@pytest.mark.parametrize("inside", [False, True])
def test_objects_and_function_handles_are_refused(tmp_path, category, what, inside):
    element = v5_matrix(category, (1, 1), bytes(64))
    if inside:
        element = v5_matrix(1, (1, 1), element)
    with pytest.raises(InputError, match=what if category != 17 or inside else "no variable"):
        read_order(v5_file(tmp_path / "a.mat", element), "train")


def test_objects_that_scipy_writes_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    fields = np.zeros((1, 1), dtype=[("x", object)])
    thing = scipy.io.matlab.MatlabObject(fields, "evil")
    for content in (thing, {"x": 1.0}, scipy.sparse.eye(3).tocsc()):
        scipy.io.savemat(path, {"TrnOrd": content})
        with pytest.raises(InputError, match="only numbers, text and cells are read"):
            read_order(path, "train")


def test_a_data_type_at_which_scipy_ends_the_process(tmp_path):
    body = np.array([200, 16], "<u4").tobytes() + bytes(16)
    path = v5_file(tmp_path / "a.mat", v5_matrix(6, (1, 2), body))
    with pytest.raises(InputError, match="has data of type 200"):
        read_order(path, "train")
    text = v5_file(tmp_path / "b.mat", v5_matrix(1, (1, 1), v5_matrix(4, (1, 2), body)))
    with pytest.raises(InputError, match="a text has data of type 200"):
        read_order(text, "train")


def test_cells_in_cells_without_end(tmp_path):
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
     "C:\\blues.00001_15s.wav", "blues.0000१_15s.wav", "blues.00001_15s.wav\n",
     "blues.00001_15s.wav\0"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_no_clips(tmp_path, name):
    cells = np.empty((1, 1), dtype=object)
    cells[0, 0] = name
    scipy.io.savemat(tmp_path / "a.mat", {"TrnOrd": cells})
    with pytest.raises(InputError, match=r"row 1, column 1: .* is no clip name") as caught:
        read_order(tmp_path / "a.mat", "train")
    assert str(caught.value).isprintable()


def test_73_files_read_no_other_file(tmp_path):
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
        with pytest.raises(InputError, match="lies in another file") as caught:
            read_order(hdf5_order(path, make), "train")
        assert "geheim" not in str(caught.value)
    hdf5_order(tmp_path / "real.mat", lambda file: file.create_dataset("x", data=[1]))
    for link in (h5py.ExternalLink("real.mat", "/TrnOrd"), h5py.SoftLink("/other")):
        with h5py.File(path, "w") as file:
            file["other"] = 1
            file["TrnOrd"] = link
        with pytest.raises(InputError, match="is a link to elsewhere"):
            read_order(path, "train")
