"""Fixtures of the tests of the export formats: a network, its exports, and Octave."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from exports import MISSING, export_everything, log_messages
from helpers import write_features

from neuromusic.design.orders import GENRES, Order, write_order
from neuromusic.pipeline.lists import make_lists
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.train import train

SETTINGS = {
    "data": {"window_s": 5.0, "hop_s": 5.0, "windows_per_epoch": 32, "validation_runs": 0},
    "model": {"options": {"size": "tiny"}},
    "train": {"epochs": 2, "batch_size": 16},
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A network on precomputed features; two training runs of 20 trials, one test run of 10 x 4.

    ``out`` has every format.
    """
    root = tmp_path_factory.mktemp("formats")
    write_features(root / "train.npz", runs=4)
    write_features(root / "test.npz", runs=1, seed=1, first=90)
    rng = np.random.default_rng(0)
    names = np.array([[f"{g}.{n:05d}_15s.wav" for g in GENRES] for n in range(4)])
    train_order = np.array([rng.permutation(names[i : i + 2].ravel()) for i in (0, 2)])
    test_names = rng.permutation([f"{g}.00090_15s.wav" for g in GENRES])
    write_order(Order("train", train_order), root / "trn.mat")
    write_order(Order("test", np.tile(test_names, 4)[None]), root / "val.mat")
    (root / "none").mkdir()
    make_lists(
        train_order=root / "trn.mat", test_order=root / "val.mat", clips=root / "none",
        out=root / "lists", allow_missing=True, link="sym",
    )  # fmt: skip
    prepared = prepare_features(root / "train.npz", test=root / "test.npz", out=root / "prepared")
    train(SETTINGS, prepared, out=root / "run")
    export_everything(root, root / "out")
    return root


@pytest.fixture(scope="session")
def without_a_clip(exported):
    """The same export if one clip of a training run is not in the prepared set; and its log."""
    prepared = exported / "prepared"
    assert json.loads((prepared / "prepared.json").read_text())["source"] == "features"
    smaller = exported / "smaller"
    shutil.copytree(prepared, smaller)
    rows = pd.read_csv(smaller / "rows.tsv", sep="\t", keep_default_na=False)
    rows.loc[rows["clip"] == MISSING, "clip"] = "jazz.00099_15s.wav"
    rows.to_csv(smaller / "rows.tsv", sep="\t", index=False)
    prepared.rename(exported / "kept")
    smaller.rename(prepared)
    try:
        with log_messages() as messages:
            export_everything(exported, exported / "gone")
    finally:
        prepared.rename(smaller)
        (exported / "kept").rename(prepared)
    return exported / "gone", messages


@pytest.fixture
def octave():
    if shutil.which("octave-cli") is None:
        pytest.skip("octave-cli is not installed (Debian package octave)")

    def run(code, cwd):
        result = subprocess.run(
            ["octave-cli", "--no-gui", "--quiet", "--norc", "--eval", code],
            cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
