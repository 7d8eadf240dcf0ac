"""Comparing runs: the table against the files it was made of, multiply-adds against PyTorch."""

import json

import pandas as pd
import pytest
from helpers import TINY, write_features

from neuromusic import compare, pipeline
from neuromusic.cli.main import cli
from neuromusic.config import make_config
from neuromusic.errors import InputError
from neuromusic.store import open_prepared
from neuromusic.training import fit


def settings(lr, **sections):
    tree = {
        "data": {"window_s": 5.0, "windows_per_epoch": 32},
        "model": {"options": TINY},
        "train": {"epochs": 2, "batch_size": 16, "lr": lr},
        **sections,
    }
    return make_config(tree, "test")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    test = write_features(root / "test.npz", 1, seed=1, first=50)
    train = write_features(root / "train.npz")
    prepared = pipeline.make_prepared_features(train, test, root / "prepared", print)
    data = open_prepared(prepared)
    published = {"accuracy": 0.5854, "what": "chunks | fMRI order"}
    fit(settings(1e-12), data, root / "idle")
    fit(settings(0.01, published=published), data, root / "keen")
    for name in ("idle", "keen"):
        pipeline.make_evaluation(root / name, None, print)
    pipeline.make_crossval(settings(0.01), prepared, 3, root / "cv", print)
    return root


def test_the_table_is_what_the_files_say(place):
    table, warning = compare.ranked([place / "idle", place / "keen"])
    assert warning is None
    assert table["accuracy"].is_monotonic_decreasing
    row = table.set_index("run").loc[str(place / "keen")]
    scores = json.loads((place / "keen" / "evaluation.json").read_text())
    assert row["accuracy"] == scores["clip"]["accuracy"]
    assert [row["accuracy_low"], row["accuracy_high"]] == scores["clip"]["accuracy_ci95"]
    assert row["cross_entropy"] == scores["clip"]["cross_entropy"]
    assert row["macro_f1"] == scores["clip"]["macro_f1"]
    assert row["random_weights"] == scores["random_weights"]["accuracy"]
    assert row["n"] == 10
    seconds = pd.read_csv(place / "keen" / "seconds.csv")["seconds"]
    assert row["seconds_an_epoch"] == seconds.median() > 0
    assert row["published"] == 0.5854
    text = compare.as_text(table)
    assert "0.5854" in text
    assert "chunks \\| fMRI order" in compare.as_markdown(table)


def test_a_cross_validation_stands_beside_runs_with_a_warning(place):
    table, warning = compare.ranked([place / "keen", place / "cv"])
    assert set(table["n"]) == {10, 30}
    assert "same clips (n from 10 to 30)" in warning
    assert (table["multiply_adds"].nunique(), table["parameters"].nunique()) == (1, 1)
    assert table["seconds_an_epoch"].notna().all()


def test_the_command_writes_the_best(place, runner):
    arguments = ["compare", *(str(place / name) for name in ("idle", "keen", "cv"))]
    result = runner.invoke(cli, [*arguments, "--top", "2", "--out", str(place / "out")])
    assert result.exit_code == 0, result.output
    assert "warning: these 3 were not scored on the same clips" in result.stderr
    table = pd.read_csv(place / "out" / "table.tsv", sep="\t")
    assert list(table) == list(compare.COLUMNS)
    assert list(table["rank"]) == [1, 2]
    assert (place / "out" / "table.md").read_text().count("\n") == 4
    assert (place / "out" / "table.png").stat().st_size > 5000


def test_new_words_about_a_finished_run_are_taken_up(place):
    config = settings(1e-12, published={"accuracy": 0.1})
    assert not fit(config, open_prepared(place / "prepared"), place / "idle")
    assert compare.ranked([place / "idle"])[0]["published"][0] == 0.1


def test_what_was_not_evaluated_is_named(place, tmp_path, runner):
    result = runner.invoke(cli, ["compare", str(tmp_path)])
    assert result.exit_code == 2
    assert f"{tmp_path / 'evaluation.json'}: is not there" in result.stderr
    assert f"neuromusic evaluate {tmp_path}" in result.stderr
    for name in ("evaluation.json", "predictions.tsv"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="damaged scores"):
        compare.read_scores(tmp_path)
