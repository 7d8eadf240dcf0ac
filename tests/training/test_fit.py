"""Training: bit-identical from a seed and after a kill; selection, validation and schedules."""

import csv
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
from neuromusic.core.records import read_record, record, record_hash
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.evaluate import evaluate
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.training import trained
from neuromusic.training.batches import band_statistics, rows_as_tensor
from neuromusic.training.config import make_config
from neuromusic.training.control_copies import untrained_copy
from neuromusic.training.fit import fit
from neuromusic.training.optim import lr_curve
from neuromusic.training.resume import clear, training_state
from neuromusic.training.selection import select
from neuromusic.training.trained import load_network

FILES = ("model.safetensors", "metrics.csv", "config.toml")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("training")
    test = write_features(root / "test.npz", 1, seed=1, first=50)
    train = write_features(root / "train.npz")
    prepare_features(train, test=test, out=root / "prepared")
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


@pytest.mark.slow  # test_faults.py kills a training twice in the fast tests
def test_a_killed_and_resumed_training_is_bit_identical(place):
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
    # Durations are written too, but differ each time.
    assert list(pd.read_csv(place / "killed" / "seconds.csv")["epoch"]) == [1, 2, 3, 4, 5, 6]
    again = neuromusic(*arguments, "--out", "whole", "--set", "published.accuracy=0.5", cwd=place)
    assert again.returncode == 0
    assert "unchanged" in again.stdout
    written = json.loads((place / "whole" / "config.json").read_text())
    assert written["train"]["epochs"] == 6


def test_training_with_new_settings_removes_the_old_scores(place, tmp_path):
    data = open_prepared(place / "prepared")
    fit(settings(), data, tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").write_text("{}")
    assert not fit(settings(), data, tmp_path / "run")
    assert (tmp_path / "run" / "evaluation.json").exists()
    rows = []
    other = settings(train={"lr": 0.1})
    with pytest.raises(
        InputError, match=r"made with other settings \(train\.lr was 0.001, now 0.1\)"
    ):
        fit(other, data, tmp_path / "run")
    assert fit(other, data, tmp_path / "run", overwrite=True, advance=rows.append)
    assert not (tmp_path / "run" / "evaluation.json").exists()
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        metrics = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert rows == metrics  # to the last digit, which the parsers of older pandas miss
    assert len(pd.read_csv(tmp_path / "run" / "seconds.csv")) == 2


def test_two_trainings_with_the_same_seed_are_bit_identical(place):
    data = open_prepared(place / "prepared")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(ord(name))  # the global state has no influence
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


@pytest.mark.parametrize("moment", ["before the weights", "before the record"])
def test_a_training_killed_after_its_last_epoch_is_not_trained_further(place, tmp_path, moment):
    config = settings(train={"lr": 1e-12, "schedule": "constant", "early_stop": 2, "epochs": 30})
    data, out = open_prepared(place / "prepared"), tmp_path / "run"
    fit(config, data, out)
    whole = {name: (out / name).read_bytes() for name in FILES}
    (out / "provenance.json").unlink()
    if moment == "before the weights":
        (out / "config.json").unlink()
        (out / "model.safetensors").rename(out / trained.BEST)
    rows = []
    assert fit(config, data, out, resume=True, advance=rows.append)
    assert rows == []
    assert {name: (out / name).read_bytes() for name in FILES} == whole
    assert not (out / trained.BEST).exists()
    assert load_network(out).directory == out


def test_the_state_of_a_training_is_found_without_changing_anything(place, tmp_path):
    data, out = open_prepared(place / "prepared"), tmp_path / "run"
    assert not fit_interrupted(settings(), data, out)
    before = contents(out)
    inputs, places = {"prepared": record_hash(data.directory)}, {"prepared": data.directory}
    content = record("train", settings().of_training(), inputs, places=places)
    other = content | {"inputs": {"prepared": "00"}}
    lr = content | {"settings": settings(train={"lr": 0.1}).of_training()}
    assert training_state(out, content, resume=True) == "resume"
    with pytest.raises(InputError, match="contains an unfinished training"):
        training_state(out, content, resume=False)
    with pytest.raises(InputError, match=r"started with other settings \(train\.lr was 0.001, now"):
        training_state(out, lr, resume=True)
    with pytest.raises(InputError, match=r"started from other inputs \(prepared has changed\)"):
        training_state(out, other, resume=True)
    assert training_state(out, other, resume=True, overwrite=True) == "outdated"
    (out / "plan.json").unlink()  # as left by an older version
    assert training_state(out, content, resume=True) == "resume"
    with pytest.raises(
        InputError, match=r"started with other settings \(see .*config\.toml\); resume it as"
    ):
        training_state(out, lr, resume=True)
    del before["plan.json"]
    assert contents(out) == before
    fit(settings(), data, out, resume=True)
    before = contents(out)
    assert training_state(out, content, resume=False) == "done"
    with pytest.raises(InputError, match=r"made from other inputs \(prepared has changed\)"):
        training_state(out, other, resume=False)
    assert training_state(out, other, resume=False, overwrite=True) == "outdated"
    assert contents(out) == before
    clear(out)
    assert contents(out) == {}
    assert training_state(out, content, resume=False) == "start"
    (out / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="contains something else"):
        training_state(out, content, resume=False, overwrite=True)


def fit_interrupted(config, data, out):
    """Train one epoch; return False."""

    def interrupt(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, data, out, advance=interrupt)
    return (out / "model.safetensors").exists()


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_checkpoint_with_one_changed_bit_is_refused(place, tmp_path):
    data, out = open_prepared(place / "prepared"), tmp_path / "run"
    fit_interrupted(settings(), data, out)
    content = bytearray((out / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (out / "last.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"last\.ckpt: is not a readable checkpoint \(.*checksum"):
        fit(settings(), data, out, resume=True)


def test_the_record_contains_the_function_and_its_settings(place, tmp_path):
    data = open_prepared(place / "prepared")
    fit(settings(), data, tmp_path / "run")
    content = read_record(tmp_path / "run")
    assert content["function"] == "train"
    assert make_config(content["settings"], "record").of_training() == settings().of_training()
    assert content["places"]["prepared"] == str(place / "prepared")


@pytest.mark.parametrize("valid", [0, 1])
def test_a_loss_that_is_nan_ends_the_training(place, tmp_path, valid):
    train = {"lr": 1e30, "optimizer": "sgd", "schedule": "constant", "epochs": 1}
    config = settings(train=train, data={"validation_runs": valid})
    rows = []
    message = r"run: training diverged \(loss is NaN\) at epoch 1; .*smaller train\.lr"
    for resume in (False, True):  # nothing was written that could be resumed
        with pytest.raises(InputError, match=message):
            fit(
                config,
                open_prepared(place / "prepared"),
                tmp_path / "run",
                resume,
                advance=rows.append,
            )
        assert not (tmp_path / "run" / "model.safetensors").exists()
    assert [row["epoch"] for row in rows] == [1, 1]


def test_held_out_runs_are_not_trained_on(place):
    data = open_prepared(place / "prepared")
    for validation_runs in (1, [3]):
        chosen = select(data, settings(data={"validation_runs": validation_runs}).data)
        assert set(data.rows["run"].iloc[chosen.train]) == {1, 2}
        assert set(data.rows["run"].iloc[chosen.valid]) == {3}
        assert set(data.rows["split"].iloc[chosen.test]) == {"test"}
    chosen = select(data, settings(data={"validation_runs": 1, "test_runs": [3]}).data)
    parts = (chosen.train, chosen.valid, chosen.test)
    assert [set(data.rows["run"].iloc[part]) for part in parts] == [{1}, {2}, {3}]
    for wrong in ({"validation_runs": 3}, {"validation_runs": [9]}, {"test_runs": [9]}):
        with pytest.raises(InputError, match="run"):
            select(data, settings(data=wrong).data)


@pytest.mark.parametrize("normalisation", ["global", "band", "band-mean", "clip"])
def test_band_statistics_agree_with_numpy(place, normalisation):
    is_clip = normalisation == "clip"
    data = open_prepared(place / "prepared").as_input("bands", normalise_clips=is_clip)
    mean, deviation = band_statistics(data, np.arange(20), normalisation)
    x = data.features[:20].astype(np.float64)
    if is_clip:
        x = (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
        np.testing.assert_allclose(rows_as_tensor(data)[:20], x, atol=2e-3)
    axes = (0, 2) if normalisation.startswith("band") else None
    np.testing.assert_allclose(mean, np.broadcast_to(x.mean(axes), 64), rtol=1e-5, atol=1e-6)
    expected = np.sqrt(x.var((0, 2)).mean()) if normalisation == "band-mean" else x.std(axes)
    np.testing.assert_allclose(deviation, np.broadcast_to(expected, 64), rtol=1e-4)


def test_a_trained_network_scores_better_than_random_weights(place, tmp_path):
    fit(
        settings(train={"epochs": 8, "lr": 0.01}), open_prepared(place / "prepared"), tmp_path / "r"
    )
    scores = evaluate(tmp_path / "r")
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
    loaded = load_network(tmp_path / "r")
    weights, random = (next(n.parameters()) for n in (loaded.network, untrained_copy(loaded)))
    assert not torch.equal(weights, random)


def test_the_cosine_schedule_rises_linearly_and_falls_to_zero():
    curve = [lr_curve("cosine", 0.1, 100)(step) for step in range(101)]
    assert curve[9] == max(curve) == 1
    assert curve[0] == pytest.approx(0.1)
    assert curve[100] == pytest.approx(0, abs=1e-9)
    assert (np.diff(curve[10:]) <= 0).all()
