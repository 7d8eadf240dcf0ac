"""Training: bit-identical from a seed and after a kill; validation; schedules."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, TINY_TOML, neuromusic, write_features

from neuromusic.core.errors import InputError
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import evaluate, prepare
from neuromusic.training import trained
from neuromusic.training.batches import band_statistics, stored
from neuromusic.training.config import make_config
from neuromusic.training.fit import fit
from neuromusic.training.optim import lr_curve
from neuromusic.training.selection import select
from neuromusic.training.trained import load_network, random_twin

FILES = ("model.safetensors", "metrics.csv", "config.toml")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("training")
    test = write_features(root / "test.npz", 1, seed=1, first=50)
    train = write_features(root / "train.npz")
    prepare.make_prepared_features(train, test, root / "prepared", lambda text: None)
    (root / "tiny.toml").write_text(TINY_TOML)
    return root


def settings(**changes):
    tree = {
        "data": {"window_s": 5.0, "windows_per_epoch": 32},
        "model": {"options": TINY},
        "train": {"epochs": 2, "batch_size": 16},
    }
    for section, values in changes.items():
        tree[section] = {**tree.get(section, {}), **values}
    return make_config(tree, "test")


@pytest.mark.slow  # two kills of train are in test_faults.py
def test_killed_and_resumed_is_bit_identical(place):
    arguments = ("train", "tiny.toml", "--prepared", "prepared", "--set", "train.epochs=6")
    whole = neuromusic(*arguments, "--out", "whole", cwd=place)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "neuromusic", *arguments, "--out", "killed"],
        cwd=place, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (place / "killed" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (place / "killed" / "model.safetensors").exists()
    epochs = len(pd.read_csv(place / "killed" / "metrics.csv"))
    assert epochs < 6

    for command in (arguments, ("evaluate", "killed")):
        extra = ("--out", "killed") if command == arguments else ()
        refused = neuromusic(*command, *extra, cwd=place)
        assert refused.returncode == 2
        assert "--resume" in refused.stderr
    resumed = neuromusic(*arguments, "--out", "killed", "--resume", cwd=place)
    assert resumed.returncode == 0, resumed.stderr
    for name in FILES:
        assert (place / "whole" / name).read_bytes() == (place / "killed" / name).read_bytes()
    # How long an epoch took is told too, but is not the same twice.
    assert list(pd.read_csv(place / "killed" / "seconds.csv")["epoch"]) == [1, 2, 3, 4, 5, 6]
    again = neuromusic(*arguments, "--out", "whole", "--set", "published.accuracy=0.5", cwd=place)
    assert again.returncode == 0
    assert "unchanged" in again.stdout
    written = json.loads((place / "whole" / "config.json").read_text())
    assert written["train"]["epochs"] == 6


def test_new_settings_take_the_old_scores_away(place, tmp_path):
    data = open_prepared(place / "prepared")
    fit(settings(), data, tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").write_text("{}")
    assert not fit(settings(), data, tmp_path / "run")
    assert (tmp_path / "run" / "evaluation.json").exists()
    told = []
    assert fit(settings(train={"lr": 0.1}), data, tmp_path / "run", advance=told.append)
    assert not (tmp_path / "run" / "evaluation.json").exists()
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert told == metrics.to_dict("records")
    assert len(pd.read_csv(tmp_path / "run" / "seconds.csv")) == 2


def test_two_trainings_of_one_seed_are_bit_identical(place):
    data = open_prepared(place / "prepared")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(ord(name))  # global state does not matter
        fit(settings(train={"seed": seed}), data, place / name)
    weights = [(place / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("schedule", ["plateau", "cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_every_optimizer_and_schedule_learns(place, tmp_path, optimizer, schedule):
    rate = 0.05 if optimizer == "sgd" else 0.01
    train = {"optimizer": optimizer, "schedule": schedule, "lr": rate, "epochs": 6}
    config = settings(train=train, data={"windows_per_epoch": 64})
    fit(config, open_prepared(place / "prepared"), tmp_path / "run")
    losses = pd.read_csv(tmp_path / "run" / "metrics.csv")["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]


def test_early_stopping_keeps_the_best_epoch(place, tmp_path):
    config = settings(train={"lr": 1e-12, "schedule": "constant", "early_stop": 2, "epochs": 30})
    fit(config, open_prepared(place / "prepared"), tmp_path / "run")
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert len(metrics) < 30
    assert len(metrics) == metrics["valid_loss"].idxmin() + 1 + 2


@pytest.mark.parametrize("moment", ["weights are there", "the last epoch is"])
def test_what_was_killed_behind_its_last_epoch_is_not_trained_further(place, tmp_path, moment):
    config = settings(train={"lr": 1e-12, "schedule": "constant", "early_stop": 2, "epochs": 30})
    data, out = open_prepared(place / "prepared"), tmp_path / "run"
    fit(config, data, out)
    whole = {name: (out / name).read_bytes() for name in FILES}
    (out / "provenance.json").unlink()
    if moment == "the last epoch is":
        (out / "config.json").unlink()
        (out / "model.safetensors").rename(out / trained.BEST)
    told = []
    assert fit(config, data, out, resume=True, advance=told.append)
    assert not told
    assert {name: (out / name).read_bytes() for name in FILES} == whole
    assert not (out / trained.BEST).exists()
    assert load_network(out).directory == out


@pytest.mark.parametrize("valid", [0, 1])
def test_a_loss_that_is_no_number_ends_the_training(place, tmp_path, valid):
    train = {"lr": 1e30, "optimizer": "sgd", "schedule": "constant", "epochs": 1}
    config = settings(train=train, data={"validation_runs": valid})
    told = []
    for resume in (False, True):  # nothing is left that could be gone on with
        with pytest.raises(
            InputError, match=r"run: the training loss of epoch 1 is nan.*train\.lr"
        ):
            fit(config, open_prepared(place / "prepared"), tmp_path / "run", resume, told.append)
        assert not (tmp_path / "run" / "model.safetensors").exists()
    assert [row["epoch"] for row in told] == [1, 1]


def test_held_out_runs_are_not_trained_on(place):
    data = open_prepared(place / "prepared")
    for held in (1, [3]):
        chosen = select(data, settings(data={"validation_runs": held}).data)
        assert set(data.rows["run"].iloc[chosen.train]) == {1, 2}
        assert set(data.rows["run"].iloc[chosen.valid]) == {3}
        assert set(data.rows["split"].iloc[chosen.test]) == {"test"}
    chosen = select(data, settings(data={"validation_runs": 1, "test_runs": [3]}).data)
    parts = (chosen.train, chosen.valid, chosen.test)
    assert [set(data.rows["run"].iloc[part]) for part in parts] == [{1}, {2}, {3}]
    for wrong in ({"validation_runs": 3}, {"validation_runs": [9]}, {"test_runs": [9]}):
        with pytest.raises(InputError, match="run"):
            select(data, settings(data=wrong).data)


@pytest.mark.parametrize("how", ["global", "band", "band-mean", "clip"])
def test_band_statistics_are_numpys(place, how):
    data = open_prepared(place / "prepared").heard_as("bands", per_clip=how == "clip")
    mean, deviation = band_statistics(data, np.arange(20), how)
    x = data.features[:20].astype(np.float64)
    if how == "clip":
        x = (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
        np.testing.assert_allclose(stored(data)[:20], x, atol=2e-3)
    axes = (0, 2) if how.startswith("band") else None
    np.testing.assert_allclose(mean, np.broadcast_to(x.mean(axes), 64), rtol=1e-5, atol=1e-6)
    expected = np.sqrt(x.var((0, 2)).mean()) if how == "band-mean" else x.std(axes)
    np.testing.assert_allclose(deviation, np.broadcast_to(expected, 64), rtol=1e-4)


def test_evaluation_of_a_run(place, tmp_path):
    fit(
        settings(train={"epochs": 8, "lr": 0.01}), open_prepared(place / "prepared"), tmp_path / "r"
    )
    scores = evaluate.make_evaluation(tmp_path / "r", None, lambda text: None)
    assert set(scores) >= {"clip", "window", "random_weights"}
    for key in ("clip", "window", "random_weights"):
        assert set(scores[key]) == {
            "accuracy", "accuracy_ci95", "interval_over", "cross_entropy", "brier", "macro_f1", "n",
        }  # fmt: skip
    table = pd.read_csv(tmp_path / "r" / "predictions.tsv", sep="\t")
    assert scores["clip"]["n"] == len(table) == 10
    assert scores["clip"]["accuracy"] == (table["genre"] == table["predicted"]).mean()
    assert scores["clip"]["accuracy"] >= 0.5 > scores["random_weights"]["accuracy"]
    assert (tmp_path / "r" / "figures" / "confusion.png").stat().st_size > 5000
    run = load_network(tmp_path / "r")
    assert not torch.equal(next(run.network.parameters()), next(random_twin(run).parameters()))


def test_the_cosine_rises_and_falls():
    curve = [lr_curve("cosine", 0.1, 100)(step) for step in range(101)]
    assert curve[9] == max(curve) == 1
    assert curve[0] == pytest.approx(0.1)
    assert curve[100] == pytest.approx(0, abs=1e-9)
    assert (np.diff(curve[10:]) <= 0).all()
