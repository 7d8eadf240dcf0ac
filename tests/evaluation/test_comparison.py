"""Comparing networks: the tables against the files they are made of."""

import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers import TINY, write_features

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.evaluation.comparison import PAIRS, compare_networks
from neuromusic.evaluation.comparison_text import COLUMNS, as_markdown, as_text, pairs_text
from neuromusic.evaluation.stored_scores import read_scores
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.compare import compare
from neuromusic.pipeline.crossval import crossval
from neuromusic.pipeline.evaluate import evaluate
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.training.config import make_config
from neuromusic.training.fit import fit


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
    """Evaluated networks: "keen" with three seeds, "idle", which learned nothing, and "cv"."""
    root = tmp_path_factory.mktemp("compare")
    test = write_features(root / "test.npz", 1, seed=1, first=50)
    train = write_features(root / "train.npz")
    data = prepare_features(train, test=test, out=root / "prepared")
    published = {"accuracy": 0.5854, "what": "chunks | fMRI order"}
    fit(settings(1e-12), data, root / "idle")
    fit(settings(0.01, published=published), data, root / "keen")
    for seed in (1, 2):
        config = settings(0.01)
        train = config.train.model_copy(update={"seed": seed})
        fit(config.model_copy(update={"train": train}), data, root / f"keen-{seed}")
    for name in ("idle", "keen", "keen-1", "keen-2"):
        evaluate(root / name)
    crossval(settings(0.01), data, out=root / "cv", folds=3)
    return root


def stored_hits(directory):
    table = pd.read_csv(directory / "predictions.tsv", sep="\t").sort_values("clip")
    return (table["genre"] == table["predicted"]).to_numpy()


def test_the_table_agrees_with_the_files(place):
    comparison = compare_networks([place / "idle", place / "keen"])
    table = comparison.table
    assert comparison.warnings == []
    assert table["accuracy"].is_monotonic_decreasing
    row = table.set_index("run").loc[str(place / "keen")]
    scores = json.loads((place / "keen" / "evaluation.json").read_text())
    assert row["accuracy"] == scores["clip"]["accuracy"]
    interval = [row["accuracy_low"], row["accuracy_high"]]  # of the same clips in another order
    assert interval == pytest.approx(scores["clip"]["accuracy_ci95"], abs=1e-12)
    assert row["calibration_error"] == scores["calibration"]["error"]
    assert row["cross_entropy"] == scores["clip"]["cross_entropy"]
    assert row["macro_f1"] == scores["clip"]["macro_f1"]
    assert row["random_weights"] == scores["random_weights"]["accuracy"]
    assert row["n"] == 10
    seconds = pd.read_csv(place / "keen" / "seconds.csv")["seconds"]
    assert row["seconds_an_epoch"] == seconds.median() > 0
    assert row["published"] == 0.5854
    assert "0.5854" in as_text(table)
    assert "chunks \\| fMRI order" in as_markdown(table)


def test_a_pair_agrees_with_the_files_and_scipy(place):
    comparison = compare_networks([place / "idle", place / "keen"])
    runs = comparison.table["run"]
    hits = [stored_hits(Path(runs[0])), stored_hits(Path(runs[1]))]
    (pair,) = comparison.pairs.to_dict("records")
    assert pair["difference"] == pytest.approx(hits[0].mean() - hits[1].mean())
    only = [(hits[0] & ~hits[1]).sum(), (hits[1] & ~hits[0]).sum()]
    assert [pair["only_first"], pair["only_second"]] == only
    assert pair["p_mcnemar"] == pytest.approx(scipy.stats.binomtest(only[0], sum(only)).pvalue)
    assert pair["p_mcnemar_holm"] == pair["p_mcnemar"]
    assert np.isnan(pair["p_flips"])


def test_a_cross_validation_and_a_network_are_ranked_with_a_warning(place):
    comparison = compare_networks([place / "keen", place / "cv"])
    table, (warning,) = comparison.table, comparison.warnings
    assert set(table["n"]) == {10, 30}
    assert f"10 clips: {place / 'keen'}; 30 clips: {place / 'cv'}" in warning
    assert comparison.pairs.empty
    assert (table["multiply_adds"].nunique(), table["parameters"].nunique()) == (1, 1)
    assert table["seconds_an_epoch"].notna().all()


def test_top_limits_what_is_written(place):
    names = ("idle", "keen", "keen-1", "cv")
    comparison = compare([place / name for name in names], top=2, out=place / "out")
    assert len(comparison.table) == 2
    table = pd.read_csv(place / "out" / "table.tsv", sep="\t")
    assert list(table) == list(COLUMNS)
    assert list(table["rank"]) == [1, 2]
    assert (place / "out" / "table.md").read_text().count("\n") == 4
    assert (place / "out" / "table.png").stat().st_size > 5000
    content = json.loads((place / "out" / "compare.json").read_text())
    assert [row["run"] for row in content["settings"]] == list(table["run"])
    assert (content["pairs_corrected_for"], content["interval_over"]) == (0, "clips and seeds")
    assert list(pd.read_csv(place / "out" / "pairs.tsv", sep="\t")) == list(PAIRS)


def test_the_command_prints_the_warning(place, runner):
    arguments = ["compare", *(str(place / name) for name in ("idle", "keen", "keen-1", "cv"))]
    result = runner.invoke(cli, [*arguments, "--top", "2", "--out", str(place / "out")])
    assert result.exit_code == 0, result.output
    assert "warning: these 3 were not scored on the same clips" in result.stderr


def test_repeats_with_other_seeds_are_one_row(place):
    names = ("keen", "keen-1", "keen-2")
    comparison = compare_networks([place / name for name in (*names, "idle")])
    table = comparison.table
    assert comparison.warnings == []
    assert sorted(table["n_seeds"]) == [1, 3]
    row = table[table["n_seeds"] == 3].iloc[0]
    assert row["run"] == f"{place}/keen{{,-1,-2}}"
    accuracies = [stored_hits(place / name).mean() for name in names]
    assert row["accuracy"] == pytest.approx(np.mean(accuracies))
    assert row["accuracy_sd"] == pytest.approx(statistics.stdev(accuracies))
    assert (row["accuracy_min"], row["accuracy_max"]) == (min(accuracies), max(accuracies))
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    (pair,) = comparison.pairs.to_dict("records")
    assert np.isnan(pair["p_mcnemar"])
    assert np.isnan(pair["p_flips"])
    assert pair["difference_low"] < pair["difference"] < pair["difference_high"]
    text = pairs_text(comparison.pairs, row["run"], "clips and seeds", 0)
    assert "1 of 1 pairs have no p value, because of several seeds: a test over clips" in text
    assert "Holm" not in text
    assert abs(pair["difference"]) == pytest.approx(abs(np.diff(table["accuracy"])[0]))


def test_a_copy_is_not_a_repeat(place, tmp_path):
    shutil.copytree(place / "keen", tmp_path / "copy")
    comparison = compare_networks([place / "keen", place / "keen-1", tmp_path / "copy"])
    (warning,) = comparison.warnings
    assert list(comparison.table["n_seeds"]) == [1, 1, 1]
    assert "the same settings with the same seed" in warning
    assert comparison.pairs["p_mcnemar"].notna().all()


def test_artists_are_resampled_as_a_whole(place, tmp_path, runner):
    """With two artists there are only two groups, so p cannot be below a half."""
    table = pd.read_csv(place / "keen" / "predictions.tsv", sep="\t")
    text = "".join(f"{t}\t{'ab'[i % 2]}\t\n" for i, t in enumerate(table["track"]))
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + text)
    directories = [place / "keen", place / "idle"]
    pairs = compare_networks(directories, tmp_path / "a.tsv").pairs
    assert (pairs["n"][0], pairs["n_groups"][0]) == (10, 2)
    assert pairs["p_flips"][0] in (0.5, 1.0)
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\nother\tx\t\n")
    arguments = ["compare", *map(str, directories), "--artists", str(tmp_path / "a.tsv")]
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 2
    assert table["track"].min() in result.stderr


def test_different_genres_of_one_clip_are_refused(place, tmp_path):
    shutil.copytree(place / "idle", tmp_path / "other")
    path = tmp_path / "other" / "predictions.tsv"
    table = pd.read_csv(path, sep="\t")
    table.loc[3, "genre"] = "blues" if table["genre"][3] != "blues" else "rock"
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(InputError, match=str(table["clip"][3])):
        compare_networks([place / "keen", tmp_path / "other"])


def test_changed_information_about_a_trained_network_is_used(place):
    config = settings(1e-12, published={"accuracy": 0.1})
    assert not fit(config, open_prepared(place / "prepared"), place / "idle")
    assert compare_networks([place / "idle"]).table["published"][0] == 0.1


def test_a_directory_without_scores_is_named(place, tmp_path, runner):
    result = runner.invoke(cli, ["compare", str(tmp_path)])
    assert result.exit_code == 2
    assert f"{tmp_path / 'evaluation.json'}: does not exist" in result.stderr
    assert f"neuromusic evaluate {tmp_path}" in result.stderr
    for name in ("evaluation.json", "predictions.tsv"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="is not a readable set of scores"):
        read_scores(tmp_path)


def test_networks_that_agree_are_not_certain_to_be_equal(place, tmp_path):
    """A copy without its own seed gives the same answers; one artist gives no interval."""
    shutil.copytree(place / "keen", tmp_path / "copy")
    directories = [place / "keen", tmp_path / "copy"]
    (pair,) = compare_networks(directories).pairs.to_dict("records")
    assert pair["difference"] == 0
    assert pair["difference_low"] < 0 < pair["difference_high"]
    assert pair["p_mcnemar"] == 1
    tracks = pd.read_csv(place / "keen" / "predictions.tsv", sep="\t")["track"]
    text = "".join(f"{track}\tone\t\n" for track in tracks)
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + text)
    comparison = compare_networks(directories, tmp_path / "a.tsv")
    assert any("all 10 clips are by one artist" in text for text in comparison.warnings)
    assert list(comparison.table["accuracy_low"]) == [0, 0]
    assert list(comparison.table["accuracy_high"]) == [1, 1]
    assert list(comparison.pairs["difference_high"]) == [1]
