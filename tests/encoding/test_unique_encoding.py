"""The acoustic baseline and the unique variance of stages in an encoding, with a known truth."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut

pytest.importorskip("himalaya")

from neuromusic.encoding.blocks import joined
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import used_rows
from neuromusic.encoding.fits import Fits
from neuromusic.encoding.model_names import BASELINE
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.voxelwise import encode_block, encode_voxels, encoding_of
from neuromusic.stats.multiple import holm

CLIPS, VOLUMES, REPEATS, TEST_RUNS = 8, 10, 3, 5
TR_S = 1.5
AREAS = Areas(["planted", "base", "noise"], np.repeat([1, 2, 3], [12, 12, 40]))
OWN = 0.25  # share of the variance of one presentation that only stage A1 explains


def volume_rows(train_runs, test_runs, clips=CLIPS):
    """The volumes of runs as in `Scans`; each test run repeats its clips in a fixed order."""
    runs = [("train", run, 1) for run in range(1, train_runs + 1)]
    runs += [("test", run, REPEATS) for run in range(1, test_runs + 1)]
    tables = []
    for place, (split, run, repeats) in enumerate(runs):
        clip = np.tile(np.repeat(np.arange(clips), VOLUMES), repeats)
        table = pd.DataFrame({"within": np.arange(len(clip)) % VOLUMES})
        names = [f"{split}{run}-{number}" for number in clip]
        tables.append(table.assign(split=split, run=place, clip=names, sound=names, kept=True))
    return pd.concat(tables, ignore_index=True)


def encode(series, rows, designs, areas=AREAS):
    every = [*designs.stages.values(), *designs.groups.values()]
    options = EncodingOptions()
    used = used_rows(rows, every, options.high_pass_hz, TR_S)
    return encode_voxels(series, used, designs, areas, options)


def features(rng, rows, k):
    """Normal features (rows, k), the same in each presentation of a clip, with mean 0 per run."""
    kinds, number = np.unique(rows["clip"] + rows["within"].astype(str), return_inverse=True)
    x = rng.normal(size=(len(kinds), k))[number]
    return x - pd.DataFrame(x).groupby([rows["split"], rows["run"]]).transform("mean").to_numpy()


@pytest.fixture(scope="module")
def planted():
    """Voxels of "planted" follow the baseline and what only A1 has, those of "base" the baseline.

    Stage belt has nothing that the baseline and A1 do not have.
    """
    rng = np.random.default_rng(0)
    rows = volume_rows(10, TEST_RUNS)
    groups = {name: features(rng, rows, 6) for name in ("spectrum", "loudness")}
    shared, own = np.hstack(list(groups.values())), features(rng, rows, 6)
    a1 = shared @ rng.normal(size=(12, 6)) / 3 + own
    belt = np.hstack([a1, shared]) @ rng.normal(size=(18, 6))
    belt += 0.5 * features(rng, rows, 6) * belt.std()
    stages = {"A1": a1, "belt": belt, "random-A1": features(rng, rows, 6)}
    n = len(AREAS.label)
    of_base = shared @ rng.normal(size=(12, n))
    of_own = own @ rng.normal(size=(6, n))
    amount = np.array([[0, 0.3, 0.3, 0], [0, OWN, 0, 0]])[:, AREAS.label]
    series = np.sqrt(1 - amount.sum(0)) * rng.normal(size=(len(rows), n))
    series += np.sqrt(amount[0]) * of_base / of_base.std(0)
    series += np.sqrt(amount[1]) * of_own / of_own.std(0)
    designs = Designs(
        {name: x.astype(np.float32) for name, x in stages.items()},
        {name: x.astype(np.float32) for name, x in groups.items()},
    )
    by_run = pd.DataFrame(series).groupby([rows["split"], rows["run"]])
    series = series - by_run.transform("mean").to_numpy()  # as `clean_scans` does
    return series.astype(np.float32), rows, designs


@pytest.fixture(scope="module")
def result(planted):
    series, rows, designs = planted
    return encode(series, rows, designs)


def predicted(x, y, train, runs):
    """Predictions of scikit-learn, each voxel's penalty chosen by leaving one run out."""
    unit = ((x[train] - x[train].mean(0)) ** 2).sum() / x.shape[1]
    search = GridSearchCV(
        Ridge(), {"alpha": ALPHAS * unit}, cv=LeaveOneGroupOut(), scoring="neg_mean_squared_error"
    )
    return search.fit(x[train], y[train], groups=runs[train]).predict(x)


def test_the_partition_is_that_of_scikit_learn(planted, result):
    """R2 of one joint model minus R2 of the smaller one, for a voxel of each area."""
    series, rows, designs = planted
    train = (rows["split"] == "train").to_numpy()
    runs = rows["run"].to_numpy()
    base = np.hstack(list(designs.groups.values())).astype(float)
    a1, belt = designs.stages["A1"].astype(float), designs.stages["belt"].astype(float)

    def residual(x, smaller):
        return x - LinearRegression().fit(smaller[train], x[train]).predict(smaller)

    parts = [base, residual(a1, base), residual(belt, np.hstack([base, a1]))]
    test = rows[~train].assign(row=np.flatnonzero(~train))
    order = test.groupby(["clip", "within"], sort=False)["row"].apply(list).tolist()
    for voxel in (0, 14, 30):
        y = series[:, voxel]
        fits = [predicted(x, y, train, runs)[order].mean(1) for x in parts]
        mean = y[order].mean(1)
        scores = [r2_score(mean, np.sum(fits[:n], axis=0)) for n in (1, 2, 3)]
        ours = result.voxels.iloc[voxel]
        found = [ours[f"r2_{BASELINE}"], ours["unique_A1"], ours["above_belt"]]
        np.testing.assert_allclose(found, [scores[0], *np.diff(scores)], atol=2e-3)


def test_what_was_planted_is_found_and_nothing_else(result):
    table, voxels = result.unique.set_index(["area", "stage", "beyond"]), result.voxels
    assert list(result.unique.columns) == [
        "area", "stage", "beyond", "voxels", "significant", "smaller_r2", "r2", "r2_low", "r2_high",
        "p", "p_holm",
    ]  # fmt: skip
    both = f"{BASELINE} and A1"
    assert set(table.index.droplevel("area")) == {
        ("A1", BASELINE), ("belt", BASELINE), ("belt", both),
    }  # fmt: skip
    found = table.loc[("planted", "A1", BASELINE)]
    truth = OWN / (0.3 + OWN + (1 - 0.3 - OWN) / REPEATS)  # in the mean of the repeats
    assert found["r2_low"] < truth < found["r2_high"] + 0.02  # a ridge shrinks
    assert found["r2"] == pytest.approx(truth, abs=0.04)
    assert (found["voxels"], found["significant"]) == (12, 12)
    assert found["p"] < 1e-6
    for area, stage, beyond in (("base", "A1", BASELINE), ("planted", "belt", both)):
        row = table.loc[(area, stage, beyond)]
        assert abs(row["r2"]) < 0.015
        assert row["p"] > 0.01
        assert row["significant"] <= 1
    np.testing.assert_allclose(
        table.loc[("planted", "belt", both), "smaller_r2"],
        (voxels[f"r2_{BASELINE}"] + voxels["unique_A1"])[:12].mean(),
    )
    np.testing.assert_allclose(
        result.unique["p_holm"][result.unique["beyond"] == both],
        holm(result.unique["p"][result.unique["beyond"] == both]),
    )
    noise = voxels[AREAS.label == 3]
    p = noise[["unique_p_A1", "above_p_belt"]].to_numpy()
    assert (p < 0.05).mean() < 0.14  # 80 tests: 11 or fewer with a probability of .998
    assert "unique_random-A1" not in voxels


def test_the_baseline_is_one_more_model_of_voxels_and_areas(result):
    voxels, areas = result.voxels, result.areas.set_index(["area", "stage"])
    of_base = voxels[f"r2_{BASELINE}"][AREAS.label == 2]
    assert areas.loc[("base", BASELINE), "r2"] == pytest.approx(of_base.mean())
    assert areas.loc[("base", BASELINE), "p"] < 1e-6
    assert {f"{key}_{BASELINE}" for key in ("r", "r2", "p", "q", "rc", "mse")} <= set(voxels)
    assert not (voxels["best"] == BASELINE).any()


def test_a_baseline_with_too_many_columns_leaves_out_unique_variance_only(planted):
    series, rows, designs = planted
    rng = np.random.default_rng(1)
    wide = {"wide": features(rng, rows, 420).astype(np.float32)}
    wide = encode(series, rows, Designs(designs.stages, wide))
    assert len(wide.left_out) == 1
    assert wide.left_out[0].startswith(
        "stage A1, beyond the baseline; stage belt, beyond the baseline: the smaller model has 420 "
        "independent columns, more than half of the 800 training volumes"
    )
    assert wide.unique.empty
    assert wide.voxels[f"r_{BASELINE}"].notna().all()
    none = encode(series, rows, Designs(designs.stages))
    assert none.unique.empty
    assert f"r_{BASELINE}" not in none.voxels


def test_two_clips_in_one_run_have_unique_variance_without_p():
    rng = np.random.default_rng(2)
    test = volume_rows(0, 1, 2)
    rows = pd.concat([volume_rows(4, 0), test.assign(run=4)], ignore_index=True)
    designs = Designs(
        {"A1": features(rng, rows, 6).astype(np.float32)},
        {"loudness": features(rng, rows, 6).astype(np.float32)},
    )
    series = rng.normal(size=(len(rows), 5)).astype(np.float32)
    result = encode(series, rows, designs, Areas(["x"], np.ones(5, int)))
    assert result.unique[["r2", "r2_low"]].notna().all().all()
    assert result.unique[["p", "p_holm"]].isna().all().all()
    assert result.voxels["unique_A1"].notna().all()


def test_blocks_of_voxels_are_joined_to_the_result_of_all(planted, result):
    series, rows, designs = planted
    options = EncodingOptions()
    every = [*designs.stages.values(), *designs.groups.values()]
    used = used_rows(rows, every, options.high_pass_hz, TR_S)
    fits = Fits.of(used, designs, banded=False)
    parts = [slice(0, 7), slice(7, 8), slice(8, None)]
    blocks = [
        encode_block(series[:, part], fits, Areas(AREAS.names, AREAS.label[part])) for part in parts
    ]
    found = encoding_of(joined(blocks), fits.outline, AREAS, "blocks")
    for name in ("voxels", "areas", "unique"):
        ours, expected = getattr(found, name), getattr(result, name)
        pd.testing.assert_frame_equal(ours, expected, rtol=1e-3, atol=1e-4)
    for area, expected in result.rdms.items():
        assert found.rdms[area].voxels == expected.voxels
        np.testing.assert_allclose(found.rdms[area].rdm, expected.rdm, atol=1e-4)
