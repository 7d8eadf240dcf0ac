"""Sweeps: processes that share a database, one of them killed; pruning; refused settings."""

import copy
import signal
import sqlite3
import subprocess
import sys
import time

import optuna
import pandas as pd
import pytest
from helpers import TINY_TOML, write_features

from neuromusic.core.errors import InputError
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import sweep
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.training import trials
from neuromusic.training.config import load_config
from neuromusic.training.fit import fit
from neuromusic.training.search import common_settings, open_study, suggest, trial_table

SPACE = """
[sweep]
sampler = "random"
pruner = "none"
[sweep.space]
train.lr = {low = 1e-4, high = 1e-2, log = true}
augment.mixup = {low = 0.0, high = 0.5}
model.options.size = {choices = ["tiny", "base"]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    train = write_features(root / "train.npz")
    prepare_features(train, out=root / "prepared")
    (root / "tiny.toml").write_text(TINY_TOML + SPACE)
    return root


def search_of(place, name, n, *changes):
    """Open a sweep of n trials in this process, as the command does."""
    config = load_config(place / "tiny.toml", changes)
    data = open_prepared(place / "prepared")
    storage = trials.open_storage(f"sqlite:///{place / name}.db")
    study = open_study(storage, name, config, common_settings(config, data))
    (place / name).mkdir(exist_ok=True)
    return trials.Search(config, data, place / name, n, storage, study)


def states(search):
    return [trial.state.name for _, trial in sorted(trials.trials_by_slot(search.study).items())]


@pytest.mark.slow
def test_two_processes_share_trials_and_a_killed_trial_is_resumed(place):
    n, epochs = 3, 5
    arguments = [
        sys.executable, "-m", "neuromusic", "sweep", "tiny.toml", "--trials", n, "--storage",
        "sqlite:///shared.db", "--study", "shared", "--out", "shared",
    ]  # fmt: skip
    changes = (f"train.epochs={epochs}", "data.windows_per_epoch=32")

    def start():
        return subprocess.Popen(
            [*map(str, arguments), "--set", changes[0], "--set", changes[1]], cwd=place, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    search = search_of(place, "shared", n, *changes)
    victim, other = start(), start()
    killed = None
    while killed is None:
        assert victim.poll() is None
        for slot, trial in trials.trials_by_slot(search.study).items():
            pid = trial.user_attrs.get("process", ["", ""])[1].split(":")[0]
            if pid == str(victim.pid) and (search.directory(slot) / "last.ckpt").exists():
                victim.send_signal(signal.SIGKILL)
                killed = slot
        time.sleep(0.05)
    victim.communicate()
    first_epochs = len(pd.read_csv(search.directory(killed) / "metrics.csv"))
    assert 1 <= first_epochs < epochs
    third = start()
    output = ""
    for process in (other, third):
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        output += out
    assert f"trial {killed}: continues where a stopped process left it" in output

    ended = [t for t in search.study.get_trials() if t.state.is_finished()]
    assert sum(t.state.name == "COMPLETE" for t in ended) == n
    assert sum(t.state.name == "FAIL" for t in ended) == 1  # the killed one
    table = pd.read_csv(place / "shared" / "trials.tsv", sep="\t")
    assert sorted(table["trial"]) == list(range(n))
    assert not table["train.lr"].duplicated().any()
    assert table["valid_loss"].is_monotonic_increasing
    for slot in range(n):
        rows = pd.read_csv(search.directory(slot) / "seconds.csv")
        assert list(rows["epoch"]) == list(range(1, epochs + 1))  # each once
    # The killed trial has the result of one that was not killed.
    config = load_config(search.directory(killed) / "config.toml")
    fit(config, search.data, place / "undisturbed")
    for name in ("metrics.csv", "model.safetensors"):
        expected = (place / "undisturbed" / name).read_bytes()
        assert expected == (search.directory(killed) / name).read_bytes()
    best = load_config(place / "shared" / "best.toml")
    assert best.train.lr == pytest.approx(table["train.lr"][0], rel=1e-4)
    assert best.sweep.space == {}
    assert (place / "shared" / "history.png").stat().st_size > 5000


def test_a_larger_number_of_trials_adds_the_difference(place):
    def train(n):
        search = search_of(place, "more", n, "train.epochs=1")
        slots = []
        sweep.work(search, lambda slot, _: slots.append(slot) or (lambda row: None))
        return slots

    assert [train(2), train(2), train(3), train(1)] == [[0, 1], [], [2], []]


def test_a_trial_without_heartbeat_is_taken_over(place):
    search = search_of(place, "silent", 1, "train.epochs=2")
    trials.fill_slots(search)
    slot, trial = trials.claim(search)
    assert trials.claim(search) is None
    values = suggest(trial, search.config.sweep.space)
    trial.set_user_attr("process", ("elsewhere", "1:1"))
    trials.fail_dead_trials(search)
    assert states(search) == ["RUNNING"]  # it may be alive, on another machine
    with sqlite3.connect(place / "silent.db") as database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")
    trials.fail_dead_trials(search)
    assert states(search) == []
    trials.fill_slots(search)
    again, second = trials.claim(search)
    assert (again, suggest(second, search.config.sweep.space)) == (slot, values)
    # The first process was only suspended: it leaves the trial to the second.
    sweep.train_trial(search, slot, trial, lambda row: None)
    assert states(search) == ["RUNNING"]
    sweep.train_trial(search, slot, second, lambda row: None)
    assert states(search) == ["COMPLETE"]


def test_a_trial_that_fails_while_slots_are_filled_keeps_its_values(place):
    search = search_of(place, "late", 1)
    trials.fill_slots(search)
    slot, trial = trials.claim(search)
    values = suggest(trial, search.config.sweep.space)
    read, n_reads = search.study.get_trials, []

    def read_and_fail(*args, **kwargs):  # another process finds the trial dead after this read
        found = [copy.deepcopy(one) for one in read(*args, **kwargs)]
        n_reads.append(1)
        if len(n_reads) == 1:
            trials.fail(search, trial.number)
        return found

    search.study.get_trials = read_and_fail
    trials.fill_slots(search)
    trials.fill_slots(search)
    again, second = trials.claim(search)
    assert (again, suggest(second, search.config.sweep.space)) == (slot, values)
    assert second.user_attrs[trials.ATTEMPT] == 1


def test_two_trials_in_one_slot_are_trained_once(place):
    search = search_of(place, "twice", 2, "train.epochs=1")
    for _ in range(2):
        for slot in range(2):
            search.study.add_trial(
                optuna.create_trial(
                    state=optuna.trial.TrialState.WAITING, user_attrs={"place": slot}
                )
            )
    slots = []
    sweep.work(search, lambda slot, _: slots.append(slot) or (lambda row: None))
    assert slots == [0, 1]


def test_a_trial_stopped_with_ctrl_c_can_be_claimed_again(place):
    search = search_of(place, "given", 1)
    trials.fill_slots(search)
    slot, trial = trials.claim(search)

    def interrupt(row):
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        sweep.train_trial(search, slot, trial, interrupt)
    assert signal.getsignal(signal.SIGINT) is before  # so the next Ctrl-C works too
    assert states(search) == []
    trials.fill_slots(search)
    assert states(search) == ["WAITING"]


def test_a_trial_worse_than_the_median_is_stopped_and_keeps_its_metrics(place):
    changes = ("sweep.space.train.lr={choices = [1e-12]}", "sweep.pruner=median")
    search = search_of(place, "pruned", 6, *changes, "sweep.warmup_epochs=1", "train.epochs=9")
    for slot in range(5):
        search.study.add_trial(
            optuna.create_trial(
                value=0.1, intermediate_values={0: 9.0, 1: 0.1}, user_attrs={"place": slot}
            )
        )
    sweep.work(search, lambda slot, n_finished: lambda row: None)
    assert states(search) == ["COMPLETE"] * 5 + ["PRUNED"]
    table = trial_table(search)
    last = table.iloc[5]
    assert (last["trial"], last["state"], last["epochs"]) == (5, "pruned", 2)
    metrics = pd.read_csv(place / "pruned" / last["run"] / "metrics.csv")
    assert list(metrics["epoch"]) == [1, 2]
    assert metrics["valid_loss"][1] == last["valid_loss"]


@pytest.mark.parametrize("metric", ["valid_loss", "valid_accuracy"])
def test_a_trial_whose_loss_is_nan_does_not_end_the_sweep(place, metric):
    changes = (
        "sweep.space.train.lr={choices = [1e30]}", 'train.optimizer="sgd"',
        'train.schedule="constant"', f"sweep.metric={metric}",
    )  # fmt: skip
    search = search_of(place, f"diverged-{metric}", 2, *changes)
    sweep.work(search, lambda slot, n_finished: lambda row: None)
    assert states(search) == ["PRUNED"] * 2
    assert list(trial_table(search)["state"]) == ["pruned"] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.validation_runs=0", "set data.validation_runs=1"),
        ("sweep.space={}", "sweep.space: is empty"),
        ("train.devices=2", "trains on one device"),
        ('sweep.space={"train.batch_size" = {low = 1, high = 8}}', "train.batch_size"),
        ('sweep.space={"model.options.size_" = {low = 1, high = 8}}', "did you mean 'size'"),
        ('sweep.space={"data.window_s" = {low = 5.0, high = 50.0}}', "choose a shorter window"),
        ('sweep.space={"model.name" = {choices = ["cortex"]}}', "unknown model 'cortex'"),
    ],
)
def test_an_impossible_sweep_is_refused_before_anything_is_written(place, change, message):
    config = load_config(place / "tiny.toml", (change,))
    url = f"sqlite:///{place}/refused.db"
    with pytest.raises(InputError, match=message):
        sweep.sweep(
            config, place / "prepared", storage=url, trials=2, study="x", out=place / "refused"
        )
    assert not (place / "refused").exists()
    assert not (place / "refused.db").exists()


def test_unsuitable_databases_studies_and_directories_are_refused(place):
    config = load_config(place / "tiny.toml")
    for url in ("sweep.db", "sqlite:////nowhere/x.db", "nosuch://x/y"):
        with pytest.raises(InputError, match=r"storage=.*is not a database that can be opened"):
            trials.open_storage(url)
    search_of(place, "first", 1)
    other = config.model_copy(update={"train": config.train.model_copy(update={"lr": 0.5})})
    url = f"sqlite:///{place}/first.db"
    arguments = {"prepared": place / "prepared", "storage": url, "trials": 1, "study": "first"}
    with pytest.raises(InputError, match=r"study='first': .*train\.lr was 0\.001, now 0\.5"):
        sweep.sweep(other, **arguments, out=place / "first")
    (place / "thesis").mkdir()
    (place / "thesis" / "chapter.txt").write_text("years")
    with pytest.raises(InputError, match="thesis: contains something else"):
        sweep.sweep(config, **arguments, out=place / "thesis")
