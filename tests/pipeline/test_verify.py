"""verify: every kind of directory, every kind of damage, other places; against sha256sum."""

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
from neuromusic.design.orders import GENRES, design_orders, write_order
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import augment, crossval, evaluate, prepare
from neuromusic.pipeline.train import make_run
from neuromusic.training.config import make_config


def quiet(text):
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Lists, prepared set, run with scores and export of 10 training and 10 test clips."""
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
    """The project in another place; a good part of it, to be spoilt."""
    for name in ("prepared", "runs"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def verify(runner, *arguments):
    result = runner.invoke(cli, ["verify", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_every_directory_is_as_recorded(made, runner):
    code, said, _ = verify(runner, made)
    assert code == 0, said
    for name in ("run_dataset", "prepared", "runs/a", "derivatives"):
        (line,) = (text for text in said.splitlines() if text.startswith(f"{made / name} ("))
        n, _, total = line.split(": ")[1].split()[:3]
        assert n == total
        assert "here" not in line
    record = "runs/a/evaluation.provenance.json (evaluate): 7 of 7 files as recorded"
    assert record in said


def test_the_hashes_are_sha256sums(made):
    for name in ("prepared", "runs/a", "derivatives", "run_dataset"):
        outputs = json.loads((made / name / "provenance.json").read_text())["outputs"]
        lines = "".join(f"{digest}  {path}\n" for path, digest in outputs.items())
        subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet"], input=lines, text=True, check=True,
            cwd=made / name,
        )  # fmt: skip
        here = {p.relative_to(made / name).as_posix() for p in (made / name).rglob("*")}
        assert set(outputs) <= here


@pytest.mark.parametrize("name", ["lists", "prepared", "run", "export"])
def test_made_again_byte_by_byte(made, runner, name):
    place = {"lists": "run_dataset", "run": "runs/a", "export": "derivatives"}.get(name, name)
    code, said, _ = verify(runner, made / place, "--rerun")
    assert code == 0, said
    n, _, total = said.split("made again: ")[1].split()[:3]
    assert n == total
    if name == "run":
        assert "because they hold times: last.ckpt, seconds.csv" in said
    assert not [p.name for p in made.iterdir() if p.name.startswith(".")]


def test_one_flipped_byte_is_named(copy, runner):
    path = copy / "prepared" / "features.npy"
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    code, said, _ = verify(runner, copy / "prepared")
    assert code == 1
    assert f"  changed: {path}\n" in said
    assert "3 of 4 files as recorded" in said
    assert said.endswith("not as recorded\n")
    # Not seen when it is opened, for that would read all of it at each start.
    open_prepared(copy / "prepared")


@pytest.mark.parametrize("cut", [1, 5000])
def test_a_truncated_set_is_named_by_verify_and_when_it_is_opened(copy, runner, cut):
    path = copy / "prepared" / "features.npy"
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - cut)
    code, said, _ = verify(runner, copy / "prepared")
    assert code == 1
    assert f"  changed: {path}\n" in said
    with pytest.raises(InputError, match=r"features\.npy: is damaged \(\d+ bytes, and its head"):
        open_prepared(copy / "prepared")


@pytest.mark.parametrize("text", [b"", b"\x93NUMPY\x01\x00v", b"no array"])
def test_a_head_that_is_gone_is_named(copy, text):
    (copy / "prepared" / "features.npy").write_bytes(text)
    with pytest.raises(InputError, match=r"features\.npy: is damaged"):
        open_prepared(copy / "prepared")


def test_rows_that_are_gone_are_named(copy):
    path = copy / "prepared" / "rows.tsv"
    text = path.read_text()
    path.write_text("\n".join(text.splitlines()[:-3]) + "\n")
    with pytest.raises(InputError, match=r"rows\.tsv 107 rows"):
        open_prepared(copy / "prepared")
    path.write_text(text.replace("\t646\t", "\t647\t"))
    with pytest.raises(InputError, match="frames 647 does not fit"):
        open_prepared(copy / "prepared")


def test_missing_and_added_files(copy, runner):
    (copy / "runs/a/metrics.csv").unlink()
    (copy / "runs/a/evaluation.json").write_text("{}")
    (copy / "runs/a/notes").mkdir()
    (copy / "runs/a/notes/mine.txt").write_text("years")
    code, said, _ = verify(runner, copy / "runs/a")
    assert code == 1
    assert f"  missing: {copy}/runs/a/metrics.csv" in said
    assert f"  changed: {copy}/runs/a/evaluation.json" in said
    assert f"in {copy}/runs/a, but in no record: notes/ (1 files)" in said


def test_a_changed_input_is_told_apart_from_one_that_is_gone(made, copy, runner):
    lists = copy / "run_dataset"
    shutil.copytree(made / "run_dataset", lists)
    made_of = json.loads((copy / "prepared/provenance.json").read_text())
    made_of["places"]["cwd"] = str(copy)  # as if made here
    (copy / "prepared/provenance.json").write_text(json.dumps(made_of))
    sounds = sorted(lists.rglob("*.wav"))
    sounds[0].write_bytes(sounds[0].read_bytes()[:-2] + b"xx")
    code, said, _ = verify(runner, copy / "prepared")
    assert code == 1
    assert f"  changed input: run_dataset/{sounds[0].relative_to(lists)}\n" in said
    code, said, _ = verify(runner, copy / "prepared", "--rerun")
    assert code == 1
    assert "not made again: its inputs have changed" in said
    shutil.rmtree(lists)
    code, said, _ = verify(runner, copy / "prepared")
    assert code == 0
    assert "inputs: 52 not here" in said
    assert "and 47 others" in said


def test_settings_that_are_written_anew_are_recorded(copy, runner):
    config = make_config(
        {**tomllib.loads((copy / "runs/a/config.toml").read_text()),
         "published": {"accuracy": 0.5}}, "test",
    )  # fmt: skip
    make_run(config, copy / "prepared", copy / "runs/a", False, quiet)
    assert "accuracy = 0.5" in (copy / "runs/a/config.toml").read_text()
    assert verify(runner, copy / "runs/a")[0] == 0


def test_a_training_that_went_otherwise_is_found(copy, runner):
    """One weight changed, and the record with it, as only a wrong computation would."""
    path = copy / "runs/a/model.safetensors"
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
    next(t for t in tensors.values() if t.is_floating_point()).flatten()[0] += 1e-3
    safetensors.torch.save_file(tensors, path, metadata=header)
    record = copy / "runs/a/provenance.json"
    made_of = json.loads(record.read_text())
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    made_of["outputs"]["model.safetensors"] = digest.stdout.split()[0]
    made_of["packages"]["torch"] = "2.0"
    record.write_text(json.dumps(made_of))
    (copy / "runs/a/evaluation.provenance.json").unlink()
    assert verify(runner, copy / "runs/a")[0] == 0
    code, said, _ = verify(runner, copy / "runs/a", "--rerun")
    assert code == 1
    assert "  model.safetensors: differs\n" in said
    assert "recorded with other versions: torch 2.0 (now " in said


@pytest.mark.slow
def test_a_project_works_where_it_was_copied_to(made, tmp_path):
    """The original is deleted; every command finds its input, or takes its new place."""
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
    assert f"{data}: the set that b was trained on is no longer there" in lost.stderr
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


def test_left_out_runs_are_scored_wherever_the_set_lies(tmp_path):
    """They were not, once: the set was known by its path, and its test clips were scored."""
    train, test = write_features(tmp_path / "t.npz"), write_features(tmp_path / "v.npz", 1, 1, 50)
    prepare.make_prepared_features(train, test, tmp_path / "prepared", quiet)
    tree = {
        "data": {"window_s": 5.0, "windows_per_epoch": 32, "test_runs": [2]},
        "model": {"options": {"size": "tiny"}},
        "train": {"epochs": 1, "batch_size": 16},
    }
    make_run(make_config(tree, "t"), tmp_path / "prepared", tmp_path / "a/run", False, quiet)
    (tmp_path / "prepared").rename(tmp_path / "elsewhere")
    evaluate.make_evaluation(tmp_path / "a/run", tmp_path / "elsewhere", quiet)
    table = pd.read_csv(tmp_path / "a/run/predictions.tsv", sep="\t")
    assert set(table["split"]) == {"train"}
    assert set(table["run"]) == {2}


def test_cross_validations_sweeps_and_variants_have_records(made, tmp_path, runner):
    train = write_features(tmp_path / "t.npz")
    prepare.make_prepared_features(train, None, tmp_path / "prepared", quiet)
    tree = {
        "data": {"window_s": 5.0, "windows_per_epoch": 32},
        "model": {"options": {"size": "tiny"}},
        "train": {"epochs": 1, "batch_size": 16},
    }
    config = make_config(tree, "t")
    crossval.make_crossval(config, tmp_path / "prepared", 3, tmp_path / "cv", quiet)
    space = '[sweep.space]\n"train.lr" = {low = 1e-3, high = 1e-2}\n'
    (tmp_path / "sweep.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 1") + space)
    line = f"sweep sweep.toml --prepared prepared --trials 1 --storage sqlite:///{tmp_path}/s.db"
    result = neuromusic(*line.split(), "--out", "sw", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    augment.write_variants(made / "run_dataset", 0, 1, quiet)
    code, said, _ = verify(runner, tmp_path / "cv", tmp_path / "sw", made / "run_dataset")
    assert code == 0, said
    assert f"{tmp_path}/cv (crossval): 4 of 4 files as recorded; inputs: 1 as recorded" in said
    assert f"{tmp_path}/cv/fold-2 (train): 6 of 6 files as recorded" in said
    assert f"{tmp_path}/sw (sweep): 4 of 4 files as recorded" in said
    assert "variants.provenance.json (augment): 91 of 91 files as recorded" in said
    assert "in no record" not in said
    for path in made.rglob("variants*"):
        path.unlink()


def test_what_cannot_be_verified(copy, tmp_path, runner):
    (tmp_path / "empty").mkdir()
    for path, reason in ((tmp_path / "empty", "holds no provenance.json"),
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
    code, said, _ = verify(runner, copy / "prepared")
    assert code == 0
    assert "made by a version that recorded inputs alone" in said
    assert "in no record: features.npy" in said
    code, _, errors = verify(runner, copy / "prepared", "--rerun")
    assert code == 2
    assert "its record does not say where" in errors
