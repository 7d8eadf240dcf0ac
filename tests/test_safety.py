"""Files that a user was sent are data: nothing in them runs, fills the memory or leaves its place.

Each attack is made for real and given to the reader that a command uses.
"""

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import optuna
import pandas as pd
import pytest
import safetensors.numpy
import scipy.io
import scipy.sparse
import soundfile
import torch
from helpers import TINY_TOML, write_features
from test_confusions import judgements, write_sheet

import neuromusic as package
from neuromusic import audio, pipeline, staging, stimuli, trials
from neuromusic.cli.main import cli
from neuromusic.config import load_config
from neuromusic.datasets import folder
from neuromusic.errors import InputError
from neuromusic.fmri.responses import read_responses
from neuromusic.matfile import read_arrays
from neuromusic.orders import read_order
from neuromusic.provenance import read_record, write_text
from neuromusic.ready_made import _read_npz
from neuromusic.rundir import load_run
from neuromusic.similar import load_index
from neuromusic.store import open_prepared
from neuromusic.untrusted import check_file_name, check_zip, read_json
from neuromusic.xlsx import read_first_sheet

SOURCE = Path(package.__file__).parent


def quiet(text):
    pass


class Payload:
    """Something that makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_the_payload_would_work(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()


# --- What the source never calls ----------------------------------------------------------------

NEVER = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "joblib.load",
    "yaml.load", "marshal.loads", "shelve.open", "os.system", "os.popen", "pd.read_pickle",
    "shutil.unpack_archive", "tarfile.open", "scipy.io.loadmat", "torch.hub.load",
}  # fmt: skip
NEEDS = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}


def faults_of(path):
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            names |= {(getattr(node, "module", "") or "").split(".")[0]}
            if names & {"pickle", "dill", "marshal", "shelve", "yaml", "tarfile", "ctypes"}:
                yield f"{path.name}:{node.lineno} imports one of {names}"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        if name in NEVER or name.endswith((".extractall", ".extract", ".read_pickle")):
            yield f"{path.name}:{node.lineno} calls {name}"
        if name in NEEDS and given.get(NEEDS[name][0]) is not NEEDS[name][1]:
            yield f"{path.name}:{node.lineno} calls {name} without {NEEDS[name]}"
        if given.get("shell") or given.get("allow_pickle") or given.get("trust_remote_code"):
            yield f"{path.name}:{node.lineno} calls {name} with {given}"


def test_the_source_runs_and_unpacks_nothing_from_a_file():
    assert not [fault for path in SOURCE.rglob("*.py") for fault in faults_of(path)]


@pytest.mark.parametrize(
    "line",
    ["eval(x)", "import pickle", "np.load(p)", "np.load(p, allow_pickle=True)", "torch.load(p)",
     "subprocess.run(c, shell=True)", "zipfile.ZipFile(p).extractall()", "from yaml import load"],
)  # fmt: skip
def test_that_search_finds(tmp_path, line):
    (tmp_path / "x.py").write_text(line)
    assert list(faults_of(tmp_path / "x.py"))


# --- Code in checkpoints, weights and arrays ----------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A prepared set and a run of one epoch."""
    root = tmp_path_factory.mktemp("safety")
    train, test = write_features(root / "train.npz"), write_features(root / "t.npz", 2, 1, 50)
    pipeline.make_prepared_features(train, test, root / "prepared", quiet)
    (root / "tiny.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 1"))
    pipeline.make_run(
        load_config(root / "tiny.toml"), root / "prepared", root / "run", False, quiet
    )
    return root


@pytest.fixture
def run(place, tmp_path):
    return Path(shutil.copytree(place / "run", tmp_path / "run"))


@pytest.fixture
def prepared(place, tmp_path):
    return Path(shutil.copytree(place / "prepared", tmp_path / "prepared"))


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_checkpoint_that_holds_code_is_refused_in_one_line(place, run, tmp_path, runner, form):
    mark = tmp_path / "ran"
    for name in ("model.safetensors", "provenance.json"):
        (run / name).unlink()
    whole = torch.load(run / "last.ckpt", weights_only=True) | {"callbacks": Payload(mark)}
    if form == "torch":
        torch.save(whole, run / "last.ckpt")
    else:
        (run / "last.ckpt").write_bytes(pickle.dumps(Payload(mark)))
    made = [str(place / "tiny.toml"), "--prepared", str(place / "prepared"), "--out", str(run)]
    refused = runner.invoke(cli, ["train", *made, "--resume"])
    assert refused.exit_code == 2
    message = refused.stderr[refused.stderr.index("Error: ") :]  # behind the bar
    assert "last.ckpt: is damaged" in message
    assert len(message.strip().splitlines()) == 1
    assert not mark.exists()


def test_weights_that_are_a_pickle_are_refused(run, tmp_path):
    torch.save({"x": Payload(tmp_path / "ran")}, run / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: is damaged"):
        load_run(run)
    assert not (tmp_path / "ran").exists()


def lying_header(path, kind):
    content = path.read_bytes()
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    key = next(name for name in header if name != "__metadata__")
    if kind == "length":
        path.write_bytes((2**62).to_bytes(8, "little") + content[8:])
        return
    if kind == "offsets":
        header[key]["data_offsets"] = [0, 2**50]
    elif kind == "shape":
        header[key]["shape"] = [2**40, 2**40]
    elif kind == "deep":
        header["__metadata__"]["neuromusic"] = "[" * 100_000
    else:
        own = json.loads(header["__metadata__"]["neuromusic"])
        own |= {
            "classes": {"classes": ["../../x", *own["classes"][1:]]},
            "huge": {"model": "mlp", "options": {"hidden": [2**40]}},
            "spec": {"spec": own["spec"] | {"n_bands": 2**40}},
        }[kind]
        header["__metadata__"]["neuromusic"] = json.dumps(own)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n :])


@pytest.mark.parametrize(
    "kind", ["length", "offsets", "shape", "deep", "classes", "huge", "spec"]
)  # fmt: skip
def test_weights_whose_header_lies_are_refused(run, kind):
    lying_header(run / "model.safetensors", kind)
    with pytest.raises(InputError, match=r"safetensors: is damaged|is no plain name"):
        load_run(run)


def pickled_arrays(mark):
    held = np.empty(1, dtype=object)
    held[0] = Payload(mark)
    return held


@pytest.mark.parametrize("reader", ["responses", "features", "index"])
def test_pickled_archives_are_not_unpickled(tmp_path, reader):
    path, mark = tmp_path / "a.npz", tmp_path / "ran"
    held = pickled_arrays(mark)
    names = ("responses", "sounds", "features", "clip", "genre", "frame_s", "weights", "stage")
    np.savez(path, **dict.fromkeys(names, held))
    if reader == "index":
        assert load_index(path, "w", "s").vectors == {}
    else:
        with pytest.raises(InputError, match=r"a\.npz: is no readable"):
            read_responses(path) if reader == "responses" else _read_npz(path)
    assert not mark.exists()


def test_a_pickled_array_in_a_prepared_set_is_not_unpickled(prepared, tmp_path):
    np.save(prepared / "features.npy", pickled_arrays(tmp_path / "ran"), allow_pickle=True)
    with pytest.raises(InputError, match="is damaged"):
        open_prepared(prepared)
    assert not (tmp_path / "ran").exists()


def test_the_journal_of_a_sweep_which_may_be_pickled_is_no_database(tmp_path):
    (tmp_path / "j.log").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for url in (str(tmp_path / "j.log"), f"sqlite:///{tmp_path / 'j.log'}"):
        with pytest.raises(InputError, match="is no database that opens"):
            trials.open_storage(url)
    assert not (tmp_path / "ran").exists()


def test_a_study_of_another_program_is_refused(tmp_path):
    storage = trials.open_storage(f"sqlite:///{tmp_path / 's.db'}")
    study = optuna.create_study(storage=storage, study_name="x")
    for place in (None, "../../x"):
        study.add_trial(optuna.create_trial(value=1.0, user_attrs={"place": place}))
        with pytest.raises(InputError, match="was not made by neuromusic"):
            trials.places(study)


# --- MATLAB -------------------------------------------------------------------------------------


def v5_matrix(category, shape, body, name=b"TrnOrd"):
    """Return a MATLAB 5 element by the format's description, its body as given."""

    def sub(kind, data):
        return np.array([kind, len(data)], "<u4").tobytes() + data + bytes(-len(data) % 8)

    flags = np.array([category, 0], "<u4").tobytes()
    dims = np.array(shape, "<i4").tobytes()
    inner = sub(6, flags) + sub(5, dims) + sub(1, name) + body
    return np.array([14, len(inner)], "<u4").tobytes() + inner


def v5_file(path, *elements):
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(elements))
    return path


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


def hdf5_order(path, make):
    """Write a cell array of one cell, whose text ``make(file)`` gives as a dataset."""
    with h5py.File(path, "w") as file:
        table = file.create_dataset("TrnOrd", (1, 1), dtype=h5py.ref_dtype)
        table[0, 0] = make(file).ref
    return path


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


# --- Files that grow ----------------------------------------------------------------------------


def zlib_bomb(path):
    """MATLAB 5: a compressed text of 200 million characters in 200 kB."""
    stream, zeros = zlib.compressobj(), bytes(10_000_000)
    n = 200_000_000
    head = np.array([17, n], "<u4").tobytes()
    start = v5_matrix(4, (1, n // 2), head)
    start = np.array([14, len(start) - 8 + n], "<u4").tobytes() + start[8:]
    packed = stream.compress(start) + b"".join(
        stream.compress(zeros) for _ in range(n // len(zeros))
    )
    packed += stream.flush()
    v5_file(path, np.array([15, len(packed)], "<u4").tobytes() + packed)


def huge_dimensions(path):
    """MATLAB 5: a few bytes that declare 4 GB."""
    body = np.array([9, 2**32 - 8], "<u4").tobytes()
    v5_file(path, v5_matrix(6, (2**29, 1), body))


def huge_cells(path):
    """MATLAB 5: two dimensions whose product is beyond 64 bits."""
    v5_file(path, v5_matrix(1, (2**31 - 1, 2**31 - 1, 2**31 - 1), b""))


def chunk_bomb(path):
    """MATLAB 7.3: a cell of 100 characters in a chunk that unpacks to 400 MB."""
    shape, chunk = (100, 1), (200_000_000, 1)

    def make(file):
        data = file.create_dataset(
            "x", shape, np.uint16, maxshape=(None, 1), chunks=chunk, compression="gzip",
        )  # fmt: skip
        packer, zeros = zlib.compressobj(), bytes(10_000_000)
        packed = b"".join(packer.compress(zeros) for _ in range(40)) + packer.flush()
        data.id.write_direct_chunk((0, 0), packed)
        return data

    hdf5_order(path, make)


def long_flac(path):
    """Two hours of silence at 8 kHz in a hundred kilobytes."""
    with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
        for _ in range(120):
            file.write(np.zeros(60 * 8000, np.int16))


def lying_flac(path):
    """A tenth of a second that declares 2 ** 36 - 1 samples."""
    soundfile.write(path, np.full(800, 0.1), 8000, format="FLAC")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO: the last 36 bits before the checksum
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)


def lying_wav(path):
    """A wav of 100 bytes that declares 2 GB of 65 535 channels at 4 GHz."""
    soundfile.write(path, np.full(30, 0.1), 8000, subtype="PCM_16", format="WAV")
    content = bytearray(path.read_bytes())
    content[22:24] = b"\xff\xff"
    content[24:28] = b"\xff\xff\xff\xff"
    content[40:44] = (2**31 - 2**20).to_bytes(4, "little")
    path.write_bytes(content)


def zip_bomb(path):
    """An archive of arrays that would unpack to half a gigabyte of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        head = {"descr": "<f8", "fortran_order": False, "shape": (60_000_000, 1)}
        with file.open("responses.npy", "w", force_zip64=True) as part:
            np.lib.format.write_array_header_1_0(part, head)
            for _ in range(48):
                part.write(bytes(10_000_000))


def lying_npy(path):
    """An archive whose array declares a terabyte and has ten bytes."""
    with zipfile.ZipFile(path, "w") as file, file.open("responses.npy", "w") as part:
        head = {"descr": "<f8", "fortran_order": False, "shape": (2**37, 1)}
        np.lib.format.write_array_header_1_0(part, head)
        part.write(bytes(10))


def wide_text(path):
    """A spreadsheet of which a part unpacks to 300 MB."""
    write_sheet(path, judgements([0], [0]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/sharedStrings.xml", b" " * 300_000_000)


def deep_xml(path):
    """A spreadsheet with tags in tags."""
    n = 200_000
    write_sheet(path, [["<a>" * n + "</a>" * n]])


def million_rows(path):
    """A million events."""
    row = "0\t15\t'disco'\t7\t0\t15\n"
    path.write_text("onset\tduration\tgenre\ttrack\tstart\tend\n" + row * 1_000_000)


def one_line(path):
    """Settings and events of one line of 300 MB."""
    path.write_bytes(b"a" * 300_000_000)


def deep_toml(path):
    """Settings with lists in lists."""
    path.write_text("[model.options]\nx = " + "[" * 7_000 + "]" * 7_000)


def deep_keys(path):
    """Settings with sections in sections."""
    path.write_text("model.options" + ".a" * 7_000 + " = 1")


def deep_json(path):
    """JSON with lists in lists."""
    path.write_text("[" * 1_000_000)


BOMBS = [
    (zlib_bomb, "order", "unpacks to over 16 MB"),
    (huge_dimensions, "order", "declares 4294967288 bytes where 0 are"),
    (huge_cells, "order", "a cell array declares"),
    (chunk_bomb, "order", "unpacks in pieces of 400 MB"),
    (long_flac, "sound", "declares 120 minutes"),
    (lying_flac, "sound", "declares .* hours|declares .* minutes"),
    (lying_wav, "sound", "declares 4294967295 Hz|no readable sound|is cut short"),
    (zip_bomb, "npz", "would unpack to 480 MB"),
    (lying_npy, "npz", "is no readable"),
    (wide_text, "xlsx", "unpacks to over 10 MB"),
    (deep_xml, "xlsx", ""),
    (million_rows, "events", "has over 100000 rows"),
    (one_line, "events", "has 300 MB"),
    (one_line, "settings", "has 300 MB"),
    (deep_toml, "settings", "is no readable TOML"),
    (deep_keys, "settings", "over 16 deep"),
    (deep_json, "json", "is no readable JSON"),
]
READER = """
import resource, sys, time
from pathlib import Path
from neuromusic.errors import InputError
path, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "order":
    from neuromusic.orders import read_order
    read = lambda: read_order(path, "train")
elif kind == "sound":
    from neuromusic import audio
    read = lambda: audio.read(path)
elif kind == "streamed":
    from neuromusic import audio
    read = lambda: print(sum(map(len, audio.blocks(path, 60))))
elif kind == "npz":
    from neuromusic.fmri.responses import read_responses
    read = lambda: read_responses(path)
elif kind == "xlsx":
    from neuromusic.xlsx import read_first_sheet
    read = lambda: read_first_sheet(path)
elif kind == "events":
    from neuromusic.events import read_events
    read = lambda: read_events(path)
elif kind == "settings":
    from neuromusic.config import load_config
    read = lambda: load_config(path)
else:
    from neuromusic.untrusted import read_json
    read = lambda: read_json(path, "")
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    read()
except InputError as error:
    print(error)
print(time.process_time() - began)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1000)
"""


def measured(path, kind):
    """Read a file in a process of its own; return (what it said, CPU seconds, MB more)."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path), kind], capture_output=True, text=True, check=True
    )
    *said, seconds, grown_mb = done.stdout.splitlines()
    return "\n".join(said), float(seconds), float(grown_mb)


@pytest.mark.parametrize(("make", "kind", "message"), BOMBS)
def test_a_file_that_grows_is_refused_before_it_does(tmp_path, make, kind, message):
    path = tmp_path / f"a.{'npz' if kind == 'npz' else 'x'}"
    make(path)
    said, seconds, grown_mb = measured(path, kind)
    assert pd.Series([said]).str.contains(message).all(), said
    assert seconds < 3  # a hang is endless; the machine may be busy
    assert grown_mb < 200


def test_a_long_sound_is_read_in_pieces(tmp_path):
    long_flac(tmp_path / "a.flac")
    assert (tmp_path / "a.flac").stat().st_size < 300_000
    said, _, grown_mb = measured(tmp_path / "a.flac", "streamed")
    assert int(said) == 7200 * audio.RATE_HZ
    assert grown_mb < 100


def test_an_archive_of_real_arrays_is_no_bomb(tmp_path):
    features = np.random.default_rng(0).normal(-40, 10, (200, 1000)).astype(np.float16)
    silence = np.full((800, 1000), -80, np.float16)
    np.savez_compressed(tmp_path / "a.npz", a=np.tile(np.concatenate([features, silence]), (60, 1)))
    check_zip(tmp_path / "a.npz")  # 120 MB


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_hidden_in_another_encoding_are_refused(tmp_path, encoding):
    lol = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))
    bomb = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a0 "ha">{lol}]>'
    path = write_sheet(tmp_path / "a.xlsx", [["&a8;"]], bomb)
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            is_sheet = name.endswith("b.xml")
            new.writestr(name, content.decode().encode(encoding) if is_sheet else content)
    with pytest.raises(InputError, match=r"declares entities|is no readable spreadsheet"):
        read_first_sheet(path)


def test_deep_json_where_a_command_reads_it(prepared, run):
    deep = "[" * 200_000
    (prepared / "prepared.json").write_text(deep)
    with pytest.raises(InputError, match=r"prepared\.json: is no readable JSON"):
        open_prepared(prepared)
    (run / "provenance.json").write_text(deep)
    assert read_record(run) is None
    with pytest.raises(InputError):
        load_run(run)
    with pytest.raises(InputError, match="is no readable JSON"):
        read_json(run / "provenance.json", "")


# --- Names and links that lead elsewhere --------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", " ", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[31m",
     "x" * 256, "中" * 86, None, 3.5],
)  # fmt: skip
def test_names_that_are_no_plain_ones(name):
    with pytest.raises(InputError, match=r"here: .* is no plain name") as caught:
        check_file_name(name, "here")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["a b.wav", "中文 歌.wav", "x" * 255, "..a", "a..b", ".hidden"])
def test_names_that_are_plain(name):
    assert check_file_name(name, "here") == name


@pytest.fixture
def lists(small_clips, tmp_path):
    """Two classes of three clips as lists of their own, hard links."""
    return make_lists(small_clips, tmp_path, "hard")


def make_lists(small_clips, root, link):
    for genre in ("blues", "rock"):
        (root / "tree" / genre).mkdir(parents=True)
        for path in small_clips.glob(f"{genre}.*"):
            shutil.copy(path, root / "tree" / genre)
    files = folder.table(root / "tree")
    return staging.make_file_lists(files, "2:0:1", 0, 15.0, root / "lists", link, quiet)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("path", "../../x.wav", "leaves the directory"), ("path", "/etc/x.wav", "leaves"),
     ("path", "blues/../../x.wav", "leaves"), ("clip", "../x.wav", "is no plain name"),
     ("genre", "../../blues", "is no plain name"), ("run", "one", "is no number")],
)  # fmt: skip
def test_a_list_that_leads_elsewhere_is_refused(lists, column, value, message):
    table = pd.read_csv(lists / "train.tsv", sep="\t", dtype=str, keep_default_na=False)
    table.loc[1, column] = value
    table.to_csv(lists / "train.tsv", sep="\t", index=False)
    for command in (stimuli.read_lists, lambda p: staging.write_variants(p, 0, 1, quiet)):
        with pytest.raises(InputError, match=message):
            command(lists)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'a\tb\n"', b"split\n1\t2\t3\n", b""])
def test_a_list_that_is_no_table_is_refused(lists, content):
    (lists / "train.tsv").write_bytes(content)
    with pytest.raises(InputError, match=r"train\.tsv: "):
        stimuli.read_lists(lists)


def test_links_out_of_a_list_are_followed_only_where_they_were_asked_for(
    small_clips, tmp_path, lists
):
    for root in (tmp_path, tmp_path / "sym"):
        root.mkdir(exist_ok=True)
    made = make_lists(small_clips, tmp_path / "sym", "sym")
    assert len(stimuli.read_lists(made)) == 6
    path = lists / stimuli.read_lists(lists)["path"][0]
    secret = tmp_path / "private.wav"
    shutil.copy(path, secret)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(InputError, match="is a link that leaves"):
        stimuli.read_lists(lists)


def test_variants_are_not_written_through_a_link(lists, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(lists / "blues", outside)
    before = sorted(outside.iterdir())
    shutil.rmtree(lists / "blues")
    (lists / "blues").symlink_to(outside)
    with pytest.raises(InputError, match="is a link that leaves"):
        staging.write_variants(lists, 0, 1, quiet)
    assert sorted(outside.iterdir()) == before


def test_a_file_is_not_written_through_a_link_that_waits_for_it(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".a.json.partial").symlink_to(victim)
    write_text(tmp_path / "a.json", "theirs")
    assert victim.read_text() == "mine"
    assert (tmp_path / "a.json").read_text() == "theirs"


@pytest.mark.parametrize("name", ["figures", ".evaluation.json.partial", "metrics.csv"])
def test_a_run_with_a_link_out_of_it_is_refused(run, tmp_path, name):
    (tmp_path / "victim").mkdir()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="is a link that leaves"):
        load_run(run)


def test_links_within_a_run_are_fine(run):
    (run / "latest").symlink_to(run / "config.toml")
    assert load_run(run).classes


def change_rows(prepared, column, row, value):
    path = prepared / "rows.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table.loc[row, column] = value
    table.to_csv(path, sep="\t", index=False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("clip", "../../x.wav", "is no plain name"), ("genre", "../../x", "row 3: genre"),
     ("frames", "100000", "row 3: frames"), ("frames", "-1", "row 3: frames"),
     ("frames", "x", "row 3: frames"), ("row", "0", "row 3: row")],
)  # fmt: skip
def test_rows_of_a_prepared_set_that_were_tampered_with(prepared, column, value, message):
    change_rows(prepared, column, 2, value)
    with pytest.raises(InputError, match=message):
        open_prepared(prepared)


@pytest.mark.parametrize(
    ("key", "value"),
    [("classes", ["../../x"]), ("classes", "blues"), ("frame_s", -1.0), ("frame_s", "1"),
     ("n_bands", None), ("front_end", []), ("front_end", {})],
)  # fmt: skip
def test_the_description_of_a_prepared_set_that_was_tampered_with(prepared, key, value):
    meta = json.loads((prepared / "prepared.json").read_text())
    (prepared / "prepared.json").write_text(json.dumps(meta | {key: value}))
    with pytest.raises(InputError, match=r"prepared\.json"):
        open_prepared(prepared)


def test_features_whose_clips_lead_elsewhere(tmp_path):
    path = write_features(tmp_path / "a.npz")
    content = dict(np.load(path))
    for key in ("clip", "genre"):
        names = content[key].astype("<U40")
        names[3] = "../../x"
        np.savez(path, **(content | {key: names}))
        with pytest.raises(InputError, match=rf"{key}: '\.\./\.\./x' is no plain name"):
            _read_npz(path)


def test_staged_names_of_a_folder_stay_in_their_class(tmp_path, small_clips):
    """A file name cannot hold a separator; a name with dots alone is no way up either."""
    for name in ("..blues.wav", "a b 中文.wav"):
        (tmp_path / "tree/..x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree/y z").mkdir(exist_ok=True)
        shutil.copy(next(small_clips.iterdir()), tmp_path / "tree/y z" / name)
    files = folder.table(tmp_path / "tree")
    out = staging.make_file_lists(files, "2:0:0", 0, 15.0, tmp_path / "lists", "hard", quiet)
    for path in stimuli.read_lists(out)["path"]:
        assert (out / path).resolve().is_relative_to(out.resolve())
        assert (out / path).is_file()


def test_a_table_of_tracks_cannot_stage_a_file_elsewhere(tmp_path, small_clips):
    """As tracks.csv of FMA names a genre, which becomes a folder."""
    source = str(next(small_clips.iterdir()))
    row = {"genre": "../../x", "track": "000002", "clip": "000002.mp3", "source": source}
    for names in (row, row | {"genre": "rock", "clip": "../../x.mp3"}):
        files = pd.DataFrame([names | {"split": "train"}])
        with pytest.raises(InputError, match="is no plain name"):
            staging.make_file_lists(files, None, 0, 1.0, tmp_path / "a/b/lists", "copy", quiet)
    assert not (tmp_path / "a").exists()


def test_a_path_of_250_characters(tmp_path):
    """Names and folders with spaces and Chinese characters, and long ones."""
    deep = tmp_path
    while len(str(deep / "短い 歌.wav")) < 240:
        deep = deep / ("目录 dir" + "x" * 20)
    deep.mkdir(parents=True)
    path = deep / ("短い 歌" + "y" * max(0, 250 - len(str(deep / "短い 歌.wav"))) + ".wav")
    assert len(str(path)) >= 250
    soundfile.write(path, 0.1 * np.ones(22050), 22050, format="WAV")
    assert len(audio.read(path)) == 22050
    path.write_bytes(b"no sound")
    with pytest.raises(InputError) as caught:
        audio.read(path)
    assert str(path) in str(caught.value)


def test_a_message_is_one_line_that_a_terminal_can_show():
    error = InputError("a\x1b[31m\nb\u202e: " + "x" * 100_000)
    assert str(error).isprintable()
    assert len(str(error)) < 30_000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_safetensors_of_another_program_is_no_run(run):
    safetensors.numpy.save_file({"x": np.zeros(3)}, run / "model.safetensors")
    with pytest.raises(InputError, match="is damaged"):
        load_run(run)


def test_what_is_read_only_stays_so(prepared):
    """Memory maps are copies on write, so a network cannot change the set on disk."""
    before = os.stat(prepared / "features.npy").st_mtime_ns
    data = open_prepared(prepared)
    data.features[0, 0, 0] = 7
    del data
    assert os.stat(prepared / "features.npy").st_mtime_ns == before
