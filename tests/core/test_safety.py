"""Files from other people are data: nothing in them is ever executed.

Each attack is real, and is given to the reader that a command uses.
"""

import ast
import json
import pickle
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

import neuromusic as package
from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.encoding.sound_responses import read_responses
from neuromusic.evaluation.similarity import load_index
from neuromusic.features.precomputed import read_log_mel
from neuromusic.features.prepared import open_prepared
from neuromusic.training import trials
from neuromusic.training.trained import load_network

SOURCE = Path(package.__file__).parent


class Payload:
    """An object that creates a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_the_payload_works_if_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()


# --- What the source never calls ----------------------------------------------------------------

NEVER = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "joblib.load",
    "yaml.load", "marshal.loads", "shelve.open", "os.system", "os.popen", "pd.read_pickle",
    "shutil.unpack_archive", "tarfile.open", "scipy.io.loadmat", "torch.hub.load",
}  # fmt: skip
NEEDS = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}


def unsafe_lines(path):
    """Yield "file:line calls ..." for imports and calls that could execute data."""
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
        keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        if name in NEVER or name.endswith((".extractall", ".extract", ".read_pickle")):
            yield f"{path.name}:{node.lineno} calls {name}"
        if name in NEEDS and keywords.get(NEEDS[name][0]) is not NEEDS[name][1]:
            yield f"{path.name}:{node.lineno} calls {name} without {NEEDS[name]}"
        if any(keywords.get(key) for key in ("shell", "allow_pickle", "trust_remote_code")):
            yield f"{path.name}:{node.lineno} calls {name} with {keywords}"


def test_the_source_never_executes_or_unpickles_the_content_of_a_file():
    assert not [line for path in SOURCE.rglob("*.py") for line in unsafe_lines(path)]


@pytest.mark.parametrize(
    "line",
    ["eval(x)", "import pickle", "np.load(p)", "np.load(p, allow_pickle=True)", "torch.load(p)",
     "subprocess.run(c, shell=True)", "zipfile.ZipFile(p).extractall()", "from yaml import load"],
)  # fmt: skip
def test_unsafe_lines_are_found(tmp_path, line):
    (tmp_path / "x.py").write_text(line)
    assert list(unsafe_lines(tmp_path / "x.py"))


# --- Code in checkpoints, weights and arrays ----------------------------------------------------


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_checkpoint_with_code_is_refused_in_one_line(run, prepared, tmp_path, runner, form):
    mark = tmp_path / "ran"
    for name in ("model.safetensors", "provenance.json"):
        (run / name).unlink()
    checkpoint = torch.load(run / "last.ckpt", weights_only=True) | {"callbacks": Payload(mark)}
    if form == "torch":
        torch.save(checkpoint, run / "last.ckpt")
    else:
        (run / "last.ckpt").write_bytes(pickle.dumps(Payload(mark)))
    arguments = [str(run / "config.toml"), "--prepared", str(prepared), "--out", str(run)]
    result = runner.invoke(cli, ["train", *arguments, "--resume"])
    assert result.exit_code == 2
    message = result.stderr[result.stderr.index("Error: ") :]  # after the progress bar
    assert "last.ckpt: is not a readable checkpoint" in message
    assert len(message.strip().splitlines()) == 1
    assert not mark.exists()


def test_weights_that_are_a_pickle_are_refused(run, tmp_path):
    torch.save({"x": Payload(tmp_path / "ran")}, run / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: is not a readable file of weights"):
        load_network(run)
    assert not (tmp_path / "ran").exists()


def falsify_header(path, kind):
    """Change one thing in the header of a safetensors file."""
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
        description = json.loads(header["__metadata__"]["neuromusic"])
        description |= {
            "classes": {"classes": ["../../x", *description["classes"][1:]]},
            "huge": {"model": "mlp", "options": {"hidden": [2**40]}},
            "spec": {"spec": description["spec"] | {"n_bands": 2**40}},
        }[kind]
        header["__metadata__"]["neuromusic"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n :])


@pytest.mark.parametrize(
    "kind", ["length", "offsets", "shape", "deep", "classes", "huge", "spec"]
)  # fmt: skip
def test_weights_with_a_false_header_are_refused(run, kind):
    falsify_header(run / "model.safetensors", kind)
    with pytest.raises(InputError, match=r"is not a readable file of weights|is not a plain name"):
        load_network(run)


def pickled_arrays(mark):
    array = np.empty(1, dtype=object)
    array[0] = Payload(mark)
    return array


@pytest.mark.parametrize("reader", ["responses", "features", "index"])
def test_pickled_archives_are_not_unpickled(tmp_path, reader):
    path, mark = tmp_path / "a.npz", tmp_path / "ran"
    array = pickled_arrays(mark)
    names = ("responses", "sounds", "features", "clip", "genre", "frame_s", "weights", "stage")
    np.savez(path, **dict.fromkeys(names, array))
    if reader == "index":
        assert load_index(path, "w", "s").vectors == {}
    else:
        with pytest.raises(InputError, match=r"a\.npz: is not a readable"):
            read_responses(path) if reader == "responses" else read_log_mel(path)
    assert not mark.exists()


def test_a_pickled_array_in_a_prepared_set_is_not_unpickled(prepared, tmp_path):
    np.save(prepared / "features.npy", pickled_arrays(tmp_path / "ran"), allow_pickle=True)
    with pytest.raises(InputError, match=r"features\.npy: is not a readable \.npy file"):
        open_prepared(prepared)
    assert not (tmp_path / "ran").exists()


def test_a_journal_of_a_sweep_is_refused_because_it_may_be_pickled(tmp_path):
    (tmp_path / "j.log").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for url in (str(tmp_path / "j.log"), f"sqlite:///{tmp_path / 'j.log'}"):
        with pytest.raises(InputError, match="is not a database that can be opened"):
            trials.open_storage(url)
    assert not (tmp_path / "ran").exists()


def test_a_study_of_another_program_is_refused(tmp_path):
    storage = trials.open_storage(f"sqlite:///{tmp_path / 's.db'}")
    study = optuna.create_study(storage=storage, study_name="x")
    for place in (None, "../../x"):
        study.add_trial(optuna.create_trial(value=1.0, user_attrs={"place": place}))
        with pytest.raises(InputError, match="was not added by neuromusic"):
            trials.trials_by_slot(study)
