"""Tables of areas: control networks, contrasts, tests over subjects, and artist-clean clips."""

import itertools
import json
import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers import TINY_TOML, write_events, write_features

from neuromusic.core.errors import InputError
from neuromusic.encoding import scoring
from neuromusic.encoding.area_results import AreaResults
from neuromusic.encoding.clip_sets import clip_sets, without_shared
from neuromusic.encoding.contrast_tables import contrast_table, group_table
from neuromusic.encoding.model_names import ModelName, split_name, without_copies
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Areas, Rois
from neuromusic.encoding.score_tables import AreaTotals, area_table
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline.encode import encode
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.simulate import simulate
from neuromusic.pipeline.train import train
from neuromusic.stats import reliability, shifts

STAGES = ["A1", "belt", "PB", "T2T3", "GRU"]
NETWORKS = [("trained", 0), *itertools.product(("random", "permuted"), (1, 2))]


def read(path):
    return pd.read_csv(path, sep="\t")


# --- Whole command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two subjects; half of the test clips of each run are by artists of the training."""
    root = tmp_path_factory.mktemp("tables")
    for name, runs, first in (("train", 6, 0), ("test", 2, 50)):
        write_features(root / f"{name}.npz", runs, first, first)
    prepared = prepare_features(root / "train.npz", test=root / "test.npz", out=root / "p")
    tree = tomllib.loads(TINY_TOML)
    tree["train"]["epochs"] = 1
    run = train(tree, prepared, out=root / "run")
    write_events(run.prepared, root / "events")
    folder = root / "events/sub-A/func"
    for path in list(folder.iterdir()):
        other = root / "events/sub-B/func" / path.name.replace("sub-A", "sub-B")
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other)
    planted = Planted(voxels=6, noise_voxels=6, ceiling=(0.6, 0.6))
    images = simulate(run, out=root / "data", bids=root / "events", planted=planted)
    rows = read(prepared.directory / "rows.tsv").drop_duplicates("track")
    number = rows["track"].str.split(".").str[1].astype(int)
    shared = (number >= 50) & rows["genre"].isin(sorted(set(rows["genre"]))[:5])
    artist = rows["track"].where(~shared, rows["genre"] + ".00001")
    table = pd.DataFrame({"track": rows["track"], "artist_group": artist, "fault": "n/a"})
    table.to_csv(root / "artists.tsv", sep="\t", index=False)
    clean = set(rows.loc[(number >= 50) & ~shared, "clip"])
    return run, images, root, clean


@pytest.fixture(scope="module")
def encoded(data):
    run, images, root, _ = data
    rois = Rois("all", atlas=images / "derivatives/truth/areas.nii.gz")
    options = EncodingOptions(components=5, control_seeds=2, artists=root / "artists.tsv")
    return encode(run, bids=images, out=root / "out", rois=rois, options=options)


@pytest.mark.slow
def test_areas_have_every_network_copy_and_set_of_clips(encoded, data):
    table = read(encoded / "areas.tsv")
    stages = table[table["network"] != "baseline"]
    found = {(n, int(s)) for n, s in zip(stages["network"], stages["seed"].fillna(0), strict=True)}
    assert found == set(NETWORKS)
    assert set(table["clips"]) == {"all", "artist-clean"}
    counts = table.groupby("clips")["n_clips"].unique()
    assert (list(counts["all"]), list(counts["artist-clean"])) == ([20], [len(data[3])])
    every = table[table["clips"] == "all"]
    for _, rows in every.fillna({"seed": 0}).groupby(["subject", "network", "seed"]):
        order = rows["p"].sort_values()
        factors = np.arange(len(rows), 0, -1)
        expected = np.minimum(np.maximum.accumulate(order * factors), 1)
        np.testing.assert_allclose(rows["p_holm"][order.index], expected, rtol=1e-4)
    clean = table[table["clips"] == "artist-clean"]
    assert clean[["significant", "r2"]].isna().all(axis=None)
    assert clean["p"].between(0, 1).all()
    voxels = read(encoded / "sub-A/sub-A_voxels.tsv")
    assert {"r_random-A1", "r_permuted-A1"} <= set(voxels)
    assert not any("random2" in name for name in voxels)
    maps = {path.name for path in (encoded / "sub-A/func").glob("*.nii.gz")}
    assert any("desc-permutedA1" in name for name in maps)
    assert json.loads((encoded / "encoding.json").read_text())["ControlSeeds"] == 2


@pytest.mark.slow
def test_contrasts_are_differences_of_the_area_table(encoded):
    areas, contrasts = read(encoded / "areas.tsv"), read(encoded / "contrasts.tsv")
    areas = areas[areas["clips"] == "all"]
    r = areas.groupby(["subject", "area", "network", "stage"])["r"].mean()
    assert len(contrasts) == 2 * 5 * (10 + 2 * 5)
    for row in contrasts.itertuples():
        second = r[row.subject, row.area, row.minus_network, row.minus_stage]
        first = r[row.subject, row.area, "trained", row.stage]
        assert row.difference == pytest.approx(first - second, abs=1e-5)
        assert row.difference_low < row.difference < row.difference_high
        assert row.seeds == (1 if row.minus_network == "trained" else 2)
    for _, rows in contrasts.groupby(["subject", "area"]):
        assert (rows["p_holm"] >= rows["p"] - 1e-9).all()
        assert rows["p_holm"].min() == pytest.approx(min(1, 20 * rows["p"].min()), rel=1e-3)


@pytest.mark.slow
def test_group_rows_are_scipys_t_tests_over_subjects(encoded):
    areas, group = read(encoded / "areas.tsv"), read(encoded / "group.tsv")
    areas = areas[areas["clips"] == "all"]
    r = areas.groupby(["area", "network", "stage", "subject"])["r"].mean().unstack("subject")
    for row in group[group["effect"] == "r"].itertuples():
        values = r.loc[row.area, row.network, row.stage]
        expected = scipy.stats.ttest_1samp(values, 0, alternative="greater")
        assert row.p_t == pytest.approx(expected.pvalue, rel=0.02)
        assert (row.alternative, row.n_subjects) == ("greater", 2)
    differences = group[group["effect"] == "difference"]
    assert (differences["alternative"] == "two-sided").all()
    assert differences[["n_significant", "prevalence"]].isna().all(axis=None)
    for row in differences.itertuples():
        values = r.loc[row.area, "trained", row.stage]
        values = values - r.loc[row.area, row.minus_network, row.minus_stage]
        assert row.p_t == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue, rel=0.05)


def test_a_missing_track_of_the_artist_table_is_named_before_the_work(data, tmp_path):
    run, images, root, _ = data
    rows = read(root / "artists.tsv")
    rows.iloc[1:].to_csv(tmp_path / "artists.tsv", sep="\t", index=False)
    options = EncodingOptions(components=5, artists=tmp_path / "artists.tsv")
    with pytest.raises(InputError, match=f"has no row for the track {rows['track'][0]}"):
        encode(run, bids=images, out=tmp_path / "out", rois=Rois("all"), options=options)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="control_seeds=0: expected a number from 1"):
        EncodingOptions(control_seeds=0)


# --- Parts ----------------------------------------------------------------------------------------


def test_names_say_network_seed_and_stage():
    for name, parts in {
        "A1": ("trained", 0, "A1"), "random-A1": ("random", 1, "A1"),
        "random2-T2-3": ("random", 2, "T2-3"), "permuted10-A1": ("permuted", 10, "A1"),
        "all stages": ("trained", 0, "all stages"),
    }.items():  # fmt: skip
        assert split_name(name) == parts
        assert str(ModelName(*parts)) == name
    names = ["A1", "random-A1", "random2-A1", "permuted-A1", "permuted2-A1"]
    assert without_copies(names) == ["A1", "random-A1", "permuted-A1"]


def totals_of(predicted, measured, runs, weights):
    """Return the totals of one area, from unit-length series (clips, volumes, voxels)."""
    inside = np.ones((1, predicted.shape[2]), bool)
    unit = scoring.unit_length(measured.mean(0))
    draws = {
        "A1": reliability.correlation_draws(predicted, unit, weights, inside),
        "": reliability.reliability_draws(
            reliability.clip_powers(measured, runs, None), weights, inside
        ),
    }
    matches = {("area", "A1"): scoring.clip_matches(scoring.unit_length(predicted), unit)}
    return AreaTotals(matches, draws, runs)


def test_artist_clean_scores_are_those_of_a_dataset_with_these_clips_only():
    rng = np.random.default_rng(0)
    runs, clips = np.repeat(range(6), 10), [f"c{number}" for number in range(60)]
    clean = {clip for clip in clips if rng.random() < 0.5}
    members = np.array([clip in clean for clip in clips])
    signal = rng.normal(size=(60, 10, 30))
    predicted = signal + rng.normal(size=signal.shape)
    measured = signal + 2 * rng.normal(size=(4, *signal.shape))
    voxels = pd.DataFrame({"reliable": True, "q_A1": 0.01, "r2_A1": 0.2}, index=range(30))
    labels = Areas(["area"], np.ones(30, int))
    sets = clip_sets(clips, runs, clean)
    weights = np.vstack([each.weights for each in sets])
    table = area_table(voxels, labels, totals_of(predicted, measured, runs, weights), sets)
    alone = clip_sets([*np.array(clips)[members]], runs[members])
    restricted = totals_of(
        predicted[members], measured[:, members], runs[members], alone[0].weights
    )
    expected = area_table(voxels, labels, restricted, alone).iloc[0]
    row = table.set_index("clips").loc["artist-clean"]
    assert row["n_clips"] == expected["n_clips"] == len(clean)
    for key in ("r", "r_low", "r_high", "ceiling_r", "rc", "rc_low", "rc_high"):
        assert row[key] == pytest.approx(expected[key], abs=0.01), key
    for key in ("top1", "top5", "mean_rank", "chance_rank"):
        assert row[key] == pytest.approx(expected[key], abs=0.02), key
    x, y = predicted - predicted.mean((0, 1)), measured.mean(0) - measured.mean((0, 1, 2))
    x, y = x[members], y[members]
    r = (x * y).sum((0, 1)) / np.sqrt((x**2).sum((0, 1)) * (y**2).sum((0, 1)))
    assert row["r"] == pytest.approx(r.mean(), abs=1e-5)


def test_the_p_of_an_area_is_the_shift_test_of_its_summed_series():
    rng = np.random.default_rng(1)
    runs = np.repeat(range(3), 8)
    predicted, measured = rng.normal(size=(2, 24, 10, 1))
    sets = clip_sets([str(number) for number in range(24)], runs)
    totals = totals_of(predicted, measured[None].repeat(2, 0), runs, sets[0].weights)
    x, y = scoring.unit_length(predicted), scoring.unit_length(measured)
    sums = [shifts.shift_sums(x[runs == run], y[runs == run]) for run in range(3)]
    voxels = pd.DataFrame({"reliable": [True], "q_A1": [0.1], "r2_A1": [0.0]})
    row = area_table(voxels, Areas(["area"], np.ones(1, int)), totals, sets).iloc[0]
    assert row["p"] == pytest.approx(shifts.shift_test(sums).p[0], rel=1e-4)
    lines = {("area", "A1"): [run[:, 0] for run in sums[:2]]}
    unordered = AreaTotals(totals.matches, totals.draws, runs, lines)
    row = area_table(voxels, Areas(["area"], np.ones(1, int)), unordered, sets).iloc[0]
    assert row["p"] == pytest.approx(shifts.shift_test(sums[:2]).p[0], rel=1e-4)
    some = clip_sets([str(number) for number in range(24)], runs, {"0", "9", "17"})
    weights = np.vstack([each.weights for each in some])
    draws = totals_of(predicted, measured[None].repeat(2, 0), runs, weights).draws
    unordered = AreaTotals(totals.matches, draws, runs, lines)
    table = area_table(voxels, Areas(["area"], np.ones(1, int)), unordered, some)
    assert table.set_index("clips")["p"].isna().to_dict() == {"all": False, "artist-clean": True}
    untested = AreaTotals(totals.matches, totals.draws, runs, has_tests=False)
    row = area_table(voxels, Areas(["area"], np.ones(1, int)), untested, sets).iloc[0]
    assert row[["p", "p_holm", "p_rank", "p_top1"]].isna().all()


def test_clips_are_clean_if_they_share_neither_track_nor_artist(tmp_path, caplog):
    path = tmp_path / "artists.tsv"
    path.write_text("track\tartist_group\tfault\na\tx\t\nb\tx\t\nc\ty\t\nd\tz\t\n")
    test = pd.DataFrame({"clip": ["a1", "c1", "d2"], "track": ["a", "c", "d"]})
    training = pd.DataFrame({"clip": ["b1", "d1"], "track": ["b", "d"]})
    assert without_shared(test, training, path) == {"c1"}
    assert without_shared(test.iloc[:1], training, path) == set()
    assert "every test clip shares an artist with a training clip" in caplog.text
    assert [each.name for each in clip_sets(["a1"], np.zeros(1, int), set())] == ["all"]


def results_of(n_subjects, n_groups, rng):
    """Results of one area and two stages, with mean r over all clips and without each group."""
    results = {}
    for subject in map(str, range(n_subjects)):
        groups = {name: rng.normal(0.2, 0.05, n_groups) for name in ("A1", "belt", "random-A1")}
        area_r = {
            ("area", name): np.append(each.mean(), (each.sum() - each) / max(1, n_groups - 1))
            for name, each in groups.items()
        }
        area_shifts = {key: [rng.normal(size=10) for _ in range(6)] for key in area_r}
        results[subject] = AreaResults(
            areas=pd.DataFrame(), rdms={}, clips=[], clip_runs=np.zeros(0, int), n_volumes=10,
            area_r=area_r, area_shifts=area_shifts, has_folds=False,
        )  # fmt: skip
    return results


def test_one_subject_and_one_group_give_na_and_one_sentence(caplog):
    caplog.set_level("INFO")
    results = results_of(1, 1, np.random.default_rng(0))
    contrasts = contrast_table(results, ["A1", "belt"])
    assert contrasts["difference"].notna().all()
    assert contrasts[["difference_low", "p", "p_holm"]].isna().all(axis=None)
    group = group_table(results, ["A1", "belt"])
    assert group[["p_t", "p_t_holm", "mean_low"]].isna().all(axis=None)
    assert group["mean"].notna().all()
    assert caplog.text.count("there is one subject") == 1
    assert caplog.text.count("have neither intervals nor p values") == 1
