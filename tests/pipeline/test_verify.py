"""verify: every kind of directory and of damage, and moved directories; against sha256sum."""

import json
import shutil
import subprocess
import tomllib

import pandas as pd
import pytest
import safetensors.torch
import soundfile
from conftest import RATE_HZ, tone_clip
from helpers import TINY_TOML, neuromusic, write_features

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.core.outputs import remove_recorded
from neuromusic.core.parallel import Machine
from neuromusic.design.orders import GENRES, design_orders, write_order
from neuromusic.features.prepared import open_prepared
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline.augment import augment
from neuromusic.pipeline.crossval import crossval
from neuromusic.pipeline.evaluate import evaluate
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.rerun import repeated_call
from neuromusic.pipeline.simulate import simulate
from neuromusic.pipeline.train import train
from neuromusic.pipeline.verify import verify as verify_directory
from neuromusic.stimuli.corpora import Corpus


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Lists, prepared set, scored network and export of 10 training and 10 test clips."""
    root = tmp_path_factory.mktemp("verify") / "project"
    (root / "clips").mkdir(parents=True)
    for index, genre in enumerate(GENRES):
        for number in range(2):
            path = root / "clips" / f"{genre}.{number:05d}_15s.wav"
            soundfile.write(path, tone_clip(index, number), RATE_HZ, subtype="PCM_16")
    names = sorted(path.name for path in (root / "clips").iterdir())
    for order, name in zip(design_orders(names, 0), ("trn.mat", "val.mat"), strict=True):
        write_order(order, root / name)
    text = TINY_TOML.replace("validation_runs = 1", "validation_runs = 0")
    (root / "tiny.toml").write_text(text.replace("epochs = 3", "epochs = 1"))
    for line in (
        "lists --train-order trn.mat --test-order val.mat --clips clips --out run_dataset",
        "prepare run_dataset --out prepared --workers 1",
        "train tiny.toml --prepared prepared --out runs/a",
        "evaluate runs/a",
        "export runs/a --lists run_dataset --out derivatives --format bids",
    ):
        result = neuromusic(*line.split(), cwd=root)
        assert result.returncode == 0, result.stderr
    return root


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the prepared set and the network, to be damaged."""
    for name in ("prepared", "runs"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def verify(runner, *arguments):
    result = runner.invoke(cli, ["verify", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_every_directory_is_as_recorded(made, runner):
    code, text, _ = verify(runner, made)
    assert code == 0, text
    for name in ("run_dataset", "prepared", "runs/a", "derivatives"):
        (line,) = (text for text in text.splitlines() if text.startswith(f"{made / name} ("))
        n, _, total = line.split(": ")[1].split()[:3]
        assert n == total
        assert "moved" not in line and "not found" not in line
    assert "runs/a/evaluation.provenance.json (evaluate): 7 of 7 files as recorded" in text


def test_the_hashes_are_those_of_sha256sum(made):
    for name in ("prepared", "runs/a", "derivatives", "run_dataset"):
        outputs = json.loads((made / name / "provenance.json").read_text())["outputs"]
        lines = "".join(f"{digest}  {path}\n" for path, digest in outputs.items())
        subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet"], input=lines, text=True, check=True,
            cwd=made / name,
        )  # fmt: skip
        here = {p.relative_to(made / name).as_posix() for p in (made / name).rglob("*")}
        assert set(outputs) <= here


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run_dataset", "prepared", "runs/a", "derivatives"])
def test_a_repeated_command_gives_the_same_bytes(made, runner, name):
    code, text, _ = verify(runner, made / name, "--rerun")
    assert code == 0, text
    n, _, total = text.split("repeated: ")[1].split()[:3]
    assert n == total != "0"
    assert text.count("wrote") == 0
    if name == "runs/a":
        assert "because they contain times: last.ckpt, seconds.csv" in text
    assert not [p.name for p in made.iterdir() if p.name.startswith(".")]


def test_records_of_dataclasses_can_be_repeated(tiny_run, small_clips, tmp_path):
    for genre in ("blues", "rock"):
        folder = tmp_path / "tree" / genre
        folder.mkdir(parents=True)
        for path in sorted(small_clips.glob(f"{genre}.*")):
            (folder / path.name).symlink_to(path)
    corpus = Corpus("folder", tmp_path / "tree")
    make_file_lists(corpus, split="2:0:1", out=tmp_path / "lists", link="sym")
    planted = Planted(voxels=2, noise_voxels=2, ceiling=(0.2, 0.4))
    simulate(tiny_run, planted=planted, seed=3, out=tmp_path / "simulated")
    for name, expected in (
        ("lists", {"corpus": corpus, "split": "2:0:1"}),
        ("simulated", {"planted": planted, "seed": 3, "network": tiny_run.directory}),
    ):
        record = json.loads((tmp_path / name / "provenance.json").read_text())
        _, arguments = repeated_call(tmp_path / name, record)
        assert expected.items() <= arguments.items()
        assert verify_directory(tmp_path / name, rerun=True)


def test_one_flipped_byte_is_named(copy, runner):
    path = copy / "prepared" / "features.npy"
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    code, text, _ = verify(runner, copy / "prepared")
    assert code == 1
    assert f"  changed: {path}\n" in text
    assert "3 of 4 files as recorded" in text
    assert text.endswith("\nnot as recorded\n")
    # Opening does not notice it, because that would read the whole set at every start.
    open_prepared(copy / "prepared")


@pytest.mark.parametrize("cut", [1, 5000])
def test_a_truncated_set_is_named_by_verify_and_when_it_is_opened(copy, runner, cut):
    path = copy / "prepared" / "features.npy"
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - cut)
    code, text, _ = verify(runner, copy / "prepared")
    assert code == 1
    assert f"  changed: {path}\n" in text
    with pytest.raises(
        InputError,
        match=r"features\.npy: is not a readable \.npy file \(it has \d+ bytes, but its header",
    ):
        open_prepared(copy / "prepared")


@pytest.mark.parametrize("text", [b"", b"\x93NUMPY\x01\x00v", b"no array"])
def test_a_missing_header_is_named(copy, text):
    (copy / "prepared" / "features.npy").write_bytes(text)
    with pytest.raises(InputError, match=r"features\.npy: is not a readable \.npy file"):
        open_prepared(copy / "prepared")


def test_missing_rows_are_named(copy):
    path = copy / "prepared" / "rows.tsv"
    text = path.read_text()
    path.write_text("\n".join(text.splitlines()[:-3]) + "\n")
    with pytest.raises(InputError, match=r"expected 107 rows, as in rows\.tsv"):
        open_prepared(copy / "prepared")
    path.write_text(text.replace("\t646\t", "\t647\t"))
    with pytest.raises(InputError, match="frames 647 does not fit"):
        open_prepared(copy / "prepared")


def test_missing_and_added_files(copy, runner):
    (copy / "runs/a/metrics.csv").unlink()
    (copy / "runs/a/evaluation.json").write_text("{}")
    (copy / "runs/a/notes").mkdir()
    (copy / "runs/a/notes/mine.txt").write_text("years")
    code, text, _ = verify(runner, copy / "runs/a")
    assert code == 1
    assert f"  missing: {copy}/runs/a/metrics.csv" in text
    assert f"  changed: {copy}/runs/a/evaluation.json" in text
    assert f"in {copy}/runs/a, but in no record: notes/ (1 files)" in text


def test_a_changed_input_is_distinguished_from_a_missing_one(made, copy, runner):
    lists = copy / "run_dataset"
    shutil.copytree(made / "run_dataset", lists)
    record = json.loads((copy / "prepared/provenance.json").read_text())
    record["places"]["cwd"] = str(copy)  # as if it had been made there
    (copy / "prepared/provenance.json").write_text(json.dumps(record))
    sounds = sorted(lists.rglob("*.wav"))
    sounds[0].write_bytes(sounds[0].read_bytes()[:-2] + b"xx")
    code, text, _ = verify(runner, copy / "prepared")
    assert code == 1
    assert f"  changed input: run_dataset/{sounds[0].relative_to(lists)}\n" in text
    code, text, _ = verify(runner, copy / "prepared", "--rerun")
    assert code == 1
    assert "not repeated: the inputs have changed" in text
    shutil.rmtree(lists)
    code, text, _ = verify(runner, copy / "prepared")
    assert code == 0
    assert "inputs: 52 not found" in text
    assert "and 47 others" in text


def test_settings_that_are_rewritten_are_recorded(copy, runner):
    settings = tomllib.loads((copy / "runs/a/config.toml").read_text())
    settings["published"] = {"accuracy": 0.5}
    train(settings, copy / "prepared", out=copy / "runs/a")
    assert "accuracy = 0.5" in (copy / "runs/a/config.toml").read_text()
    assert verify(runner, copy / "runs/a")[0] == 0


def test_weights_that_cannot_be_reproduced_are_named(copy, runner):
    """One weight and its hash in the record change, as after a wrong computation."""
    path = copy / "runs/a/model.safetensors"
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
    next(t for t in tensors.values() if t.is_floating_point()).flatten()[0] += 1e-3
    safetensors.torch.save_file(tensors, path, metadata=header)
    record_path = copy / "runs/a/provenance.json"
    record = json.loads(record_path.read_text())
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    record["outputs"]["model.safetensors"] = digest.stdout.split()[0]
    record["packages"]["torch"] = "2.0"
    record_path.write_text(json.dumps(record))
    remove_recorded(copy / "runs/a", "evaluation.provenance.json")
    assert verify(runner, copy / "runs/a")[0] == 0
    code, text, _ = verify(runner, copy / "runs/a", "--rerun")
    assert code == 1
    assert "  model.safetensors: differs\n" in text
    assert "recorded with other versions: torch 2.0 (now " in text


@pytest.mark.slow
def test_a_project_works_after_it_was_moved(made, tmp_path):
    """The original is deleted; commands find their input, or are given its new place."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(made, first, symlinks=True)
    data = (first / "prepared").resolve()
    for line in ("train tiny.toml --prepared prepared --out runs/b --set data.windows_per_epoch=32",
                 "evaluate runs/b"):  # fmt: skip
        assert neuromusic(*line.split(), cwd=first).returncode == 0
    scores = (first / "runs/b/evaluation.json").read_text()
    second.mkdir()
    shutil.move(first / "runs/b", second / "b")
    shutil.move(data, second / "set")
    shutil.move(first / "run_dataset", second / "lists")
    shutil.rmtree(first)
    assert neuromusic("verify", "b", "set", "lists", cwd=second).returncode == 0
    lost = neuromusic("evaluate", "b", cwd=second)
    assert lost.returncode == 2
    assert f"{data}: the set that b was trained on no longer exists" in lost.stderr
    for line in (
        "evaluate b --prepared set",
        "export b --lists lists --out d",
        f"predict b {next((second / 'lists').rglob('*.wav'))} --out p.tsv",
        "verify b set lists d",
    ):
        result = neuromusic(*line.split(), cwd=second)
        assert result.returncode == 0, result.stderr
    assert (
        json.loads((second / "b/evaluation.json").read_text())["clip"]
        == (json.loads(scores)["clip"])
    )


def test_held_out_runs_are_scored_after_the_set_was_moved(tmp_path):
    """A set that is identified by its path would get its test clips scored instead."""
    test = write_features(tmp_path / "v.npz", 1, 1, 50)
    prepare_features(write_features(tmp_path / "t.npz"), test=test, out=tmp_path / "prepared")
    settings = {
        "data": {"window_s": 5.0, "windows_per_epoch": 32, "test_runs": [2]},
        "model": {"options": {"size": "tiny"}},
        "train": {"epochs": 1, "batch_size": 16},
    }
    train(settings, tmp_path / "prepared", out=tmp_path / "a/run")
    (tmp_path / "prepared").rename(tmp_path / "elsewhere")
    evaluate(tmp_path / "a/run", prepared=tmp_path / "elsewhere")
    table = pd.read_csv(tmp_path / "a/run/predictions.tsv", sep="\t")
    assert set(table["split"]) == {"train"}
    assert set(table["run"]) == {2}


@pytest.mark.slow
def test_cross_validations_sweeps_and_variants_have_records(made, tmp_path, runner):
    prepare_features(write_features(tmp_path / "t.npz"), out=tmp_path / "prepared")
    settings = {
        "data": {"window_s": 5.0, "windows_per_epoch": 32},
        "model": {"options": {"size": "tiny"}},
        "train": {"epochs": 1, "batch_size": 16},
    }
    crossval(settings, tmp_path / "prepared", folds=3, out=tmp_path / "cv")
    space = '[sweep.space]\n"train.lr" = {low = 1e-3, high = 1e-2}\n'
    (tmp_path / "sweep.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 1") + space)
    line = f"sweep sweep.toml --prepared prepared --trials 1 --storage sqlite:///{tmp_path}/s.db"
    result = neuromusic(*line.split(), "--out", "sw", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    augment(made / "run_dataset", machine=Machine())
    code, text, _ = verify(runner, tmp_path / "cv", tmp_path / "sw", made / "run_dataset")
    assert code == 0, text
    assert f"{tmp_path}/cv (crossval): 7 of 7 files as recorded; inputs: 1 as recorded" in text, (
        text
    )
    assert f"{tmp_path}/cv/fold-2 (train): 6 of 6 files as recorded" in text
    assert f"{tmp_path}/sw (sweep): 5 of 5 files as recorded" in text
    assert "variants.provenance.json (augment): 91 of 91 files as recorded" in text
    assert "in no record" not in text
    for path in made.rglob("variants*"):
        path.unlink()


def test_directories_that_cannot_be_verified(copy, tmp_path, runner):
    (tmp_path / "empty").mkdir()
    for path, reason in ((tmp_path / "empty", "has no provenance.json"),
                         (tmp_path / "nowhere", "no such directory")):  # fmt: skip
        code, _, errors = verify(runner, path)
        assert code == 2
        assert reason in errors
    (copy / "prepared/provenance.json").write_text("{")
    code, _, errors = verify(runner, copy / "prepared")
    assert code == 2
    assert f"{copy}/prepared/provenance.json: is damaged" in errors
    code, _, errors = verify(runner, copy / "runs", "--rerun")
    assert code == 2


def test_older_records_are_read(copy, runner):
    path = copy / "prepared/provenance.json"
    old = json.loads(path.read_text())
    del old["outputs"], old["places"]
    path.write_text(json.dumps(old))
    code, text, _ = verify(runner, copy / "prepared")
    assert code == 0
    assert "made by a version that recorded only inputs" in text
    assert "in no record: features.npy" in text
    code, _, errors = verify(runner, copy / "prepared", "--rerun")
    assert code == 2
    assert "cannot be repeated" in errors
