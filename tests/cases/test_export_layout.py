"""Exports as people use them: overwritten, tried out, on full disks, with any umask."""

import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import soundfile
from commands import wait_until
from conftest import RATE_HZ, tone_clip
from helpers import neuromusic

from neuromusic.core import plan
from neuromusic.core.errors import InputError, ResourceError
from neuromusic.design.orders import GENRES, Order, write_order
from neuromusic.fmri.export.bids_dataset import bids_label
from neuromusic.pipeline.export import export
from neuromusic.pipeline.lists import make_lists


def write_lists(root, first):
    """Write lists of three training runs, with clips from ``first``, and of two test runs."""
    names = np.array([[f"{g}.{first + n:05d}_15s.wav" for g in GENRES] for n in range(3)])
    tests = np.array([[f"{g}.{50 + n:05d}_15s.wav" for g in GENRES] * 4 for n in range(2)])
    write_order(Order("train", names), root / "trn.mat")
    write_order(Order("test", tests), root / "val.mat")
    (root / "none").mkdir()
    return make_lists(
        train_order=root / "trn.mat", test_order=root / "val.mat", clips=root / "none",
        out=root / "lists", allow_missing=True, link="sym",
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tiny_run, tmp_path_factory):
    """Lists of the experiment on which a network was trained, from features; and the network."""
    root = tmp_path_factory.mktemp("place")
    write_lists(root, first=0)
    shutil.copytree(tiny_run.directory, root / "network")
    shutil.copytree(tiny_run.prepared, root / "prepared")
    return root


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


# --- Overwriting ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_export_with_other_settings_is_refused_and_nothing_of_it_remains(place, tmp_path):
    line = ("export", place / "network", "--lists", place / "lists", "--out", "out")
    assert neuromusic(*line, "--format", "npz,fsl", cwd=tmp_path).returncode == 0
    before = {name: path.read_bytes() for name, path in files_of(tmp_path / "out").items()}
    again = neuromusic(*line, "--format", "npz,fsl", cwd=tmp_path)
    assert (again.returncode, "is up to date" in again.stdout) == (0, True)
    other = neuromusic(*line, "--binning", "lanczos", cwd=tmp_path)
    assert other.returncode == 2
    assert "made with other settings (" in other.stderr
    assert "binning was mean, now lanczos" in other.stderr
    assert {n: path.read_bytes() for n, path in files_of(tmp_path / "out").items()} == before
    assert neuromusic(*line, "--overwrite", cwd=tmp_path).returncode == 0
    assert not any(name.startswith(("npz/", "fsl/")) for name in files_of(tmp_path / "out"))


# --- Before the work ------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(place, tmp_path):
    result = neuromusic(
        "export", place / "network", "--lists", place / "lists", "--out", "out", "--format", "spm",
        "--dry-run", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for words in ("would compute  activations of", "to 50 clips", "disk", "time", "would write"):
        assert words in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_of_the_disk_is_about_right(place, tmp_path, monkeypatch):
    estimates = []
    monkeypatch.setattr(plan, "check_space", lambda out, needed: estimates.append(needed))
    for formats in ((), ("hdf5", "npz", "mat"), ("bids", "spm", "fsl", "afni", "nilearn")):
        out = export(
            place / "network", place / "lists", out=tmp_path / f"out{len(formats)}", formats=formats
        )
        size = plan.size_of(out)
        assert size / 2 < estimates[-1] < 3 * size


def test_a_disk_that_is_too_small_is_reported_before_a_clip_is_read(place, tmp_path, monkeypatch):
    used = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: used._replace(free=10_000))
    monkeypatch.setattr(
        "neuromusic.fmri.activations.applied_volumes", lambda *_: pytest.fail("a clip was read")
    )
    with pytest.raises(ResourceError, match=r"needs about .*, but the disk has only 10 kB free"):
        export(place / "network", place / "lists", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "smp"), "did you mean 'spm'"),
        (
            ("--format", "nilearn", "--nilearn-regressors", "all", "--components", "all"),
            "which no design can fit",
        ),
        (
            ("--format", "nilearn", "--nilearn-regressors", "all", "--components", "60"),
            "which no design can fit",
        ),
        (("--stages", "A2", "--format", "spm"), "no stage 'A2'"),
    ],
)
def test_a_wrong_option_is_reported_before_a_clip_is_read(place, tmp_path, options, message):
    result = neuromusic(
        "export", place / "network", "--lists", place / "lists", "--out", "out", "--dry-run",
        *options, cwd=tmp_path,
    )  # fmt: skip
    assert (result.returncode, message in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_components_need_a_clip_of_the_training_runs(place, tmp_path):
    lists = write_lists(tmp_path, first=900)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no clip of the training runs.*; use a network"):
        export(place / "network", lists, out=out, formats=["fsl"])
    assert not out.exists()
    export(place / "network", lists, out=out)


# --- Names and modes ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_all_files_follow_the_umask(place, tmp_path, umask):
    before = os.umask(umask)
    try:
        out = export(
            place / "network", place / "lists", out=tmp_path / "out",
            formats=["bids", "spm", "fsl", "afni", "nilearn", "hdf5", "npz", "mat"],
        )  # fmt: skip
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files_of(out).values()}
    assert modes == {0o666 & ~umask}
    folders = [path for path in out.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o777 & ~umask}


@pytest.mark.parametrize(
    ("name", "label"),
    [("cortex", "cortex"), ("baseline-1d", "baseline1d"), ("a_b.c", "abc"), ("-", "network")],
)
def test_labels_have_letters_and_digits_only(name, label):
    assert bids_label(name) == label


# --- What is read from it -------------------------------------------------------------------------


def test_the_documented_places_hold_the_documented_arrays(place, tmp_path):
    out = export(place / "network", place / "lists", out=tmp_path / "out")
    stem = "task-Training_run-01"
    block = np.load(out / "activations" / f"{stem}_stage-A1_activations.npy")
    runs = scipy.io.loadmat(out / "activations/activations.mat", squeeze_me=True)["runs"]
    np.testing.assert_array_equal(runs[0]["A1"], block)
    assert {path.name for path in out.iterdir()} == {
        ".bidsignore", "README.md", "activations", "beh.json", "dataset_description.json",
        "provenance.json", "stim.json", "sub-cortexz",
        *(f"task-Training_run-{run:02d}_stim.tsv.gz" for run in (1, 2, 3)),
        *(f"task-Test_run-{run:02d}_stim.tsv.gz" for run in (1, 2)),
    }  # fmt: skip


# --- Predictions for people -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for genre, name in ((0, "first.wav"), (3, "a longer name.flac")):
        soundfile.write(folder / name, tone_clip(genre, 0), RATE_HZ, subtype="PCM_16")
    return folder


def in_terminal(line, cwd):
    """Return what a command prints to a terminal that is 100 characters wide."""
    main, other = pytest.importorskip("pty").openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "neuromusic", *map(str, line)], cwd=cwd, stdin=other, stdout=other,
        stderr=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
    )  # fmt: skip
    os.close(other)
    parts = []

    def is_over():
        try:
            parts.append(os.read(main, 65536))
        except OSError:  # the other side is closed
            return True
        return not parts[-1]

    assert wait_until(is_over, 300)
    os.close(main)
    assert process.wait(60) == 0
    return b"".join(parts).decode()


@pytest.mark.slow
def test_predictions_are_readable_in_a_terminal_and_tsv_in_a_pipe(sound_run, sounds):
    line = ("predict", sound_run.directory, "first.wav", "a longer name.flac")
    piped = neuromusic(*line, cwd=sounds)
    rows = [row.split("\t") for row in piped.stdout.splitlines()]
    assert rows[0] == ["file", "predicted", "probability", *sound_run.classes]
    assert [row[0] for row in rows[1:]] == ["first.wav", "a longer name.flac"]
    shown = in_terminal(line, sounds)
    assert "\t" not in shown
    lines = [text for text in shown.splitlines() if "a longer name.flac" in text]
    ranked = sorted(zip(rows[2][3:], sound_run.classes, strict=True), reverse=True)
    expected = [ranked[0][1], f"{float(ranked[0][0]):.3f}"]
    expected += [f"{name} {float(p):.3f}" for p, name in ranked[1:3]]
    assert all(text in lines[0] for text in expected)
    assert max(map(len, shown.splitlines())) <= 100
    assert "windows" in shown


def test_a_table_in_a_directory_that_does_not_exist_is_refused_at_once(sounds):
    result = neuromusic("predict", "nowhere", "first.wav", "--out", "gone/p.tsv", cwd=sounds)
    assert (result.returncode, "there is no directory gone" in result.stderr) == (2, True)
