"""Outputs are never silently replaced; dry runs, full disks, home directories, devices, modes."""

import contextlib
import hashlib
import os
import shlex
import shutil
import stat
import subprocess

import numpy as np
import pytest
from conftest import RATE_HZ, tone_clip
from helpers import TINY_TOML, neuromusic, write_features
from soundfile import write as write_sound

import neuromusic as nm
from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError

REFUSED = "replace it with --overwrite"


def contents(directory):
    """Return relative path -> SHA-256 of every file, and None for every directory."""
    return {
        path.relative_to(directory).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        )
        for path in sorted(directory.rglob("*"))
    }


def run(runner, line, code=0):
    """Run a command in this process; return (stdout, stderr)."""
    result = runner.invoke(cli, shlex.split(str(line)))
    assert result.exit_code == code, (line, result.output, result.stderr, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Sounds, lists, two prepared sets and a scored network."""
    root = tmp_path_factory.mktemp("kept")
    for index, genre in enumerate(("blues", "rock")):
        (root / "genres" / genre).mkdir(parents=True)
        for number in range(4):
            wave = tone_clip(index, number)[: 4 * RATE_HZ]
            write_sound(root / "genres" / genre / f"{genre}.{number:05d}.wav", wave, RATE_HZ)
    write_features(root / "train.npz")
    write_features(root / "test.npz", 1, 1, 50)
    (root / "tiny.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 1"))
    for line in (
        "lists --from-folder genres --split 2:1:1 --clip-s 3 --out lists",
        "prepare --features train.npz --test-features test.npz --out prepared",
        "train tiny.toml --prepared prepared --out runs/a",
        "evaluate runs/a",
    ):
        result = neuromusic(*line.split(), cwd=root)
        assert result.returncode == 0, result.stderr
    return root


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of it, which is the working directory."""
    shutil.copytree(made, tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    return tmp_path / "p"


# --- Other settings -------------------------------------------------------------------------------

# command, what it writes, a change of the command, what the message says
CHANGES = {
    "lists": (
        "lists --from-folder genres --split 2:1:1 --clip-s 3 --out lists",
        "lists", "--seed 7", "seed was 0, now 7",
    ),
    "prepare": (
        "prepare --features train.npz --test-features test.npz --out prepared",
        "prepared", "--front-end modulation", "front_end was logmel, now modulation",
    ),
    "train": (
        "train tiny.toml --prepared prepared --out runs/a",
        "runs/a", "--set train.epochs=2", "train.epochs was 1, now 2",
    ),
    "evaluate": (
        "evaluate runs/a", "runs/a", "--figures svg",
        'figures.formats was ["png"], now ["svg"]',
    ),
    "compare": (
        "compare runs/a --out compared", "compared", "--top 1", "top was not set, now 1",
    ),
    "augment": ("augment lists", "lists", "--seed 3", "seed was 0, now 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_output_is_replaced_only_on_request(project, runner, name):
    line, out, change, message = CHANGES[name]
    run(runner, line)
    before = contents(project)
    stdout, _ = run(runner, line)
    assert "is up to date" in stdout + _
    assert contents(project) == before
    _, stderr = run(runner, f"{line} {change}", code=2)
    assert f"made with other settings ({message})" in stderr
    assert REFUSED in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert contents(project) == before
    run(runner, f"{line} {change} --overwrite")
    after = contents(project)
    changed = [path for path in before if after.get(path) != before[path]]
    assert changed and all(path.startswith(out) for path in changed)
    stdout, stderr = run(runner, f"verify {out}")
    assert "in no record" not in stdout
    stdout, stderr = run(runner, f"{line} {change}")
    assert "is up to date" in stdout + stderr
    assert contents(project) == after


@pytest.mark.slow
def test_nothing_of_an_older_training_remains(project, runner):
    assert (project / "runs/a/figures/confusion.png").is_file()
    run(runner, "train tiny.toml --prepared prepared --out runs/a --set train.lr=0.01 --overwrite")
    assert {path.name for path in (project / "runs/a").iterdir()} == {
        "config.toml", "config.json", "model.safetensors", "last.ckpt", "metrics.csv",
        "seconds.csv", "provenance.json",
    }  # fmt: skip
    run(runner, "evaluate runs/a --figures pdf")
    run(runner, "evaluate runs/a --figures svg --overwrite")
    assert {path.suffix for path in (project / "runs/a/figures").iterdir()} == {".svg"}


def test_an_input_that_changed_is_named(project, runner):
    write_features(project / "test.npz", 1, 2, 50)
    line = "prepare --features train.npz --test-features test.npz --out prepared"
    _, stderr = run(runner, line, code=2)
    assert "prepared: made from other inputs (test has changed): choose another --out" in stderr


def test_other_paths_to_the_same_inputs_are_the_same_output(project, runner, monkeypatch):
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.move(project / "genres", elsewhere / "renamed")
    monkeypatch.chdir(elsewhere)
    line = "lists --split 2:1:1 --clip-s 3"
    stdout, _ = run(runner, f"{line} --from-folder renamed --out {project}/lists")
    assert "is up to date" in stdout
    shutil.move(elsewhere / "renamed/rock", elsewhere / "renamed/pop")
    _, stderr = run(runner, f"{line} --from-folder renamed --out {project}/lists", code=2)
    assert "is gone" in stderr and "is new" in stderr


@pytest.mark.slow
def test_a_cross_validation_is_replaced_only_on_request(project, runner):
    tiny = "--set data.validation_runs=0 --set data.windows_per_epoch=32"
    crossval = f"crossval tiny.toml --prepared prepared --folds 3 --out cv {tiny}"
    run(runner, crossval)
    before = contents(project / "cv")
    assert "up to date" in run(runner, crossval)[0]
    _, stderr = run(runner, f"{crossval} --set train.lr=0.1", code=2)
    assert "cv: made with other settings (train.lr was 0.001, now 0.1)" in stderr
    assert contents(project / "cv") == before
    fewer = crossval.replace("--folds 3", "--folds 2")
    assert "(folds was 3, now 2)" in run(runner, fewer, code=2)[1]
    (project / "cv/provenance.json").unlink()  # as if it had been stopped
    assert "contains fold-3 of a cross-validation with more folds" in run(runner, fewer, code=2)[1]
    run(runner, f"{fewer} --overwrite")
    assert sorted(path.name for path in (project / "cv").glob("fold-*")) == ["fold-1", "fold-2"]
    run(runner, "verify cv")
    train = f"train tiny.toml --prepared prepared --out cv/fold-1 {tiny} --overwrite"
    run(runner, train)  # now the scores are those of other weights
    assert "changed: cv/fold-1/model.safetensors" in run(runner, "verify cv", code=1)[0]


@pytest.mark.slow
def test_a_sweep_is_replaced_only_on_request(project, runner):
    pytest.importorskip("optuna")
    text = (project / "tiny.toml").read_text()
    space = '[sweep.space]\n"train.lr" = {low = 1e-3, high = 1e-2}\n'
    (project / "sweep.toml").write_text(text + space)
    line = "sweep sweep.toml --prepared prepared --trials 1 --storage sqlite:///s.db --out sw"
    run(runner, line)
    before = contents(project / "sw")
    run(runner, line)
    assert (
        contents(project / "sw")["trial-0000/model.safetensors"]
        == (before["trial-0000/model.safetensors"])
    )
    _, stderr = run(runner, f"{line} --set train.batch_size=8", code=2)
    assert "sw: made with other settings (settings.train.batch_size was 16, now 8)" in stderr
    run(runner, f"{line} --set train.batch_size=8 --overwrite")
    assert "batch_size = 8" in (project / "sw/best.toml").read_text()
    run(runner, "verify sw")


# --- Training that was interrupted ----------------------------------------------------------------


def test_an_interrupted_training_continues_only_as_it_was_started(project, runner):
    line = "train tiny.toml --prepared prepared --out runs/b --set train.epochs=2"
    run(runner, line)
    for name in ("provenance.json", "model.safetensors", "config.json"):
        (project / "runs/b" / name).unlink()
    record = (project / "runs/a/provenance.json").read_text()
    plan = record.replace('"epochs": 1,', '"epochs": 2,')
    (project / "runs/b/plan.json").write_text(plan)
    before = contents(project / "runs/b")
    assert "unfinished training; continue it with resume=True" in run(runner, line, code=2)[1]
    _, stderr = run(runner, f"{line} --resume --set train.lr=0.1", code=2)
    assert "started with other settings (train.lr was 0.001, now 0.1)" in stderr
    run(runner, "prepare --features train.npz --out other")
    _, stderr = run(runner, f"{line.replace('prepared prepared', 'prepared other')} --resume", 2)
    assert "started from other inputs (prepared has changed)" in stderr
    assert contents(project / "runs/b") == before
    run(runner, f"{line} --set train.lr=0.1 --overwrite")
    assert "plan.json" not in contents(project / "runs/b")


# --- verify ---------------------------------------------------------------------------------------


def test_scores_and_figures_of_other_weights_are_found(project, runner):
    shutil.copytree("runs/a", "runs/b")
    run(runner, "train tiny.toml --prepared prepared --out runs/b --set train.lr=0.01 --overwrite")
    run(runner, "verify runs/b")
    shutil.copytree("runs/a/figures", "runs/b/figures")
    stdout, _ = run(runner, "verify runs/b", code=1)
    assert "in runs/b, but in no record: figures/ (" in stdout
    for name in ("evaluation.json", "predictions.tsv", "evaluation.provenance.json"):
        shutil.copy(project / "runs/a" / name, project / "runs/b" / name)
    stdout, _ = run(runner, "verify runs/b", code=1)
    assert "made with other weights than those of runs/b now: evaluation.json, " in stdout
    assert not nm.verify("runs/b")
    run(runner, "evaluate runs/b --overwrite")
    run(runner, "verify runs/b")
    np.savez("runs/b/index-A1.npz", weights=np.array("00"))
    stdout, _ = run(runner, "verify runs/b", code=1)
    assert "index-A1.npz: is not an index of these weights" in stdout


def test_files_beside_outputs_are_no_problem(project, runner):
    (project / "notes.txt").write_text("mine")
    stdout, _ = run(runner, "verify .")
    assert "but in no record: " in stdout and "notes.txt" in stdout


# --- Dry runs and disks ---------------------------------------------------------------------------

DRY = [
    "lists --from-folder genres --split 2:1:1 --clip-s 3 --out new",
    "lists --from-folder genres --split 2:1:1 --clip-s 3 --seed 3 --out lists --overwrite",
    "prepare lists --out new --workers 1",
    "prepare --features train.npz --out new",
    "augment lists",
    "train tiny.toml --prepared prepared --out new",
    "evaluate runs/a --figures pdf --overwrite",
    "crossval tiny.toml --prepared prepared --folds 3 --out new",
    "compare runs/a --out new",
    "leaks lists --out new.tsv",
    "run tiny.toml --set paths.features=train.npz --set paths.out=new",
    "demo --out new",
]


@pytest.mark.parametrize("line", DRY)
def test_a_dry_run_writes_nothing(project, runner, line):
    before = contents(project)
    stdout, _ = run(runner, f"{line} --dry-run")
    assert contents(project) == before
    start = stdout.index("dry run: all checks passed; nothing was computed or written")
    words = [text.split()[0] for text in stdout[start:].splitlines()[1:]]
    assert [word for word in words if word == "would"] and words.count("time") == 1
    assert words.count("disk") == 1


def test_a_dry_run_checks_the_inputs(project, runner):
    for line in (
        "train tiny.toml --prepared nowhere --out new",
        "crossval tiny.toml --prepared prepared --folds 2 --out new",  # one run is for validation
        "prepare nowhere --out new",
        "crossval tiny.toml --prepared prepared --folds 30 --out new",
        "evaluate runs/a --artists nowhere.tsv",
    ):
        run(runner, f"{line} --dry-run", code=2)


def test_a_disk_that_is_too_small_is_reported_before_the_work(project, runner):
    small = project / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        for line in (
            "prepare lists --out small/p --workers 1",
            "train tiny.toml --prepared prepared --out small/r",
            "crossval tiny.toml --prepared prepared --folds 3 --out small/cv",
        ):
            _, stderr = run(runner, line, code=2)
            assert "needs about" in stderr and "but the disk has only" in stderr
            assert not [path for path in small.iterdir() if not path.name.startswith(".")]
    finally:
        subprocess.run(["umount", small], check=True)


# --- Home directories -----------------------------------------------------------------------------


def test_a_home_directory_is_expanded_in_options_and_settings(project, runner, monkeypatch):
    home = project / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    shutil.copy("train.npz", home)
    run(runner, "prepare --features=~/train.npz --out=~/prepared")
    run(runner, "train tiny.toml --prepared ~/prepared --out=~/runs/a")
    run(
        runner,
        "run tiny.toml --set paths.features=~/prepared/../train.npz --set paths.out=~/all "
        "--dry-run",
    )
    config = nm.Config(paths={"features": "~/train.npz", "out": "~/all"})
    assert config.paths.out == str(home / "all") and config.paths.clips == ""
    nm.prepare_features("~/train.npz", out="~/prepared")
    assert sorted(path.name for path in home.iterdir() if path.name[0] != ".") == [
        "prepared", "runs", "train.npz",
    ]  # fmt: skip
    assert not (project / "~").exists()
    _, stderr = run(runner, "prepare --features train.npz --out=~no-such-user/x", code=2)
    assert "no such home directory" in stderr


def test_a_home_directory_is_expanded_in_the_storage_of_a_sweep(project, runner, monkeypatch):
    pytest.importorskip("optuna")
    from neuromusic.training.trials import expand_home

    monkeypatch.setenv("HOME", "/home/user")
    for url, expected in (
        ("sqlite:///~/x.db", "sqlite:////home/user/x.db"),
        ("sqlite+pysqlite:///~/x.db", "sqlite+pysqlite:////home/user/x.db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("postgresql://host/~x", "postgresql://host/~x"),
    ):
        assert expand_home(url) == expected


# --- Devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", ["accelerator=gpu", "accelerator=cuda", "accelerator=tpu", "accelerator=mps",
               "accelerator=quantum", "precision=16-mixed", "precision=bf8", "devices=0"],
)  # fmt: skip
@pytest.mark.parametrize(
    "line", ["train tiny.toml --prepared nowhere --out new",
             "crossval tiny.toml --prepared nowhere --out new",
             "sweep tiny.toml --prepared nowhere --trials 1 --storage sqlite:///s.db --out new",
             "run tiny.toml --set paths.features=nowhere.npz"],
)  # fmt: skip
def test_a_device_that_does_not_exist_is_refused_in_one_line(project, runner, line, change):
    import torch

    if torch.cuda.is_available() and change in ("accelerator=gpu", "precision=16-mixed"):
        pytest.skip("there is a GPU")
    if line.startswith("sweep"):
        pytest.importorskip("optuna")
    _, stderr = run(runner, f"{line} --set train.{change}", code=2)
    assert f"train.{change.split('=')[0]}" in stderr  # not the prepared set, which is missing
    assert len(stderr.strip().splitlines()) == 1
    assert not (project / "new").exists() and not (project / "s.db").exists()


def test_devices_are_checked_in_python_too(project):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=r"train\.accelerator: is gpu, but torch finds no GPU"):
        nm.train({"train": {"accelerator": "gpu"}}, "nowhere", out="new")


# --- Modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "umask",
    [0o027, *(pytest.param(umask, marks=pytest.mark.slow) for umask in (0o022, 0o002))],
)
def test_files_have_the_mode_that_the_umask_allows(project, runner, umask):
    before = os.umask(umask)
    try:
        run(runner, "prepare --features train.npz --test-features test.npz --out new/p")
        run(runner, "train tiny.toml --prepared new/p --out new/r")
        run(runner, "evaluate new/r --figures png,pdf,svg")
        run(runner, "compare new/r --out new/c")
        run(runner, "lists --from-folder genres --clip-s 3 --split 2:1:1 --link copy --out new/l")
        run(runner, "prepare new/l --out new/s --workers 1 --waves")
    finally:
        os.umask(before)
    wrong = [
        (path.name, oct(stat.S_IMODE(path.stat().st_mode)))
        for path in (project / "new").rglob("*")
        if stat.S_IMODE(path.stat().st_mode) != (0o777 if path.is_dir() else 0o666) & ~umask
    ]
    assert not wrong


# --- The next step --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["prepare --features train.npz --out set", "prepare lists --out set --workers 1",
             "prepare lists --out set --workers 1 --front-end modulation"],
)  # fmt: skip
def test_the_suggested_training_works(project, runner, line):
    _, stderr = run(runner, line)
    (suggestion,) = (text for text in stderr.splitlines() if text.startswith("next: neuromusic "))
    quick = "--set train.epochs=1 --set data.windows_per_epoch=16"
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree("runs")
    run(runner, f"{suggestion.removeprefix('next: neuromusic ')} {quick}")
