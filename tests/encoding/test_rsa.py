"""Representational similarity and its noise ceilings, against scipy and planted truth."""

import itertools
import logging

import numpy as np
import pytest
from scipy.stats import spearmanr

from neuromusic.encoding import rsa

RUNS = np.repeat(range(6), 10)


def expected_rdm(patterns, runs):
    """Return 1 - r of all pairs of clips as a matrix, NaN within runs."""
    for run in np.unique(runs):
        patterns = np.where(
            (runs == run)[:, None], patterns - patterns[runs == run].mean(0), patterns
        )
    return np.where(runs[:, None] == runs, np.nan, 1 - np.corrcoef(patterns))


def upper(square):
    cells = square[np.triu_indices(len(square), 1)]
    return cells[np.isfinite(cells)]


def genre_stage(rng):
    genres = np.concatenate([rng.permutation(10) for _ in range(6)])
    return (np.eye(10)[genres] + 0.02 * rng.normal(size=(60, 10))).astype(np.float32)


def noise(rng, n_voxels=30, repeats=2):
    """Return patterns of noise that neighbouring clips of a run share, without the run's mean."""
    x = rng.normal(size=(repeats, 6, 10, n_voxels))
    x += np.roll(x, 1, axis=2)
    x -= x.mean(2, keepdims=True)
    return x.reshape(repeats, 60, n_voxels).astype(np.float32)


def similarity_table(stages, subjects, runs, rng):
    """Return the table for responses of stages and patterns of subjects."""
    rdms = [rsa.area_rdms(patterns, runs) for patterns in subjects]
    return rsa.similarity_table(rsa.stage_rdms(stages, runs), rdms, runs, rng)


def test_rho_is_scipys_over_pairs_of_different_runs_and_p_is_that_of_all_shifts():
    rng = np.random.default_rng(0)
    runs = np.repeat([2, 1, 3], [3, 4, 4])
    units = rng.normal(size=(11, 20))
    subjects = [units[:, :15] + rng.normal(size=(2, 11, 15)) for _ in range(3)]
    table = similarity_table({"A1": units}, [{"area": each} for each in subjects], runs, rng)
    stage = expected_rdm(units, runs)
    areas = [expected_rdm(each.mean(0), runs) for each in subjects]
    np.testing.assert_allclose(rsa.dissimilarity(units, runs), upper(stage))
    values = []
    for shifts in itertools.product(range(4), range(3), range(4)):
        order = np.arange(11)
        for run, by in zip((1, 2, 3), shifts, strict=True):
            order[runs == run] = np.roll(order[runs == run], by)
        moved = upper(stage[order][:, order])
        values.append(np.mean([spearmanr(moved, upper(area)).statistic for area in areas]))
    [row] = table.to_dict("records")
    assert row["rho"] == pytest.approx(values[0])
    assert row["p"] == row["p_max"] == pytest.approx(np.mean(np.array(values) >= values[0] - 1e-9))
    assert (row["pairs"], row["subjects"]) == (40, 3)


def test_the_ceiling_between_subjects_brackets_the_truth():
    rng = np.random.default_rng(2)
    clips = rng.normal(size=(60, 30))
    truth = rsa.dissimilarity(clips, RUNS)
    rdms = [rsa.dissimilarity(clips + rng.normal(size=clips.shape), RUNS) for _ in range(5)]
    low, high = rsa.subject_ceiling(rdms)
    best = np.mean([spearmanr(truth, rdm).statistic for rdm in rdms])
    assert low < best < high
    lower = [
        spearmanr(
            rdm, np.mean([np.argsort(np.argsort(o)) for o in rdms if o is not rdm], axis=0)
        ).statistic
        for rdm in rdms
    ]
    assert low == pytest.approx(np.mean(lower), abs=1e-4)
    with pytest.raises(ValueError, match="needs two or more"):
        rsa.subject_ceiling(rdms[:1])


@pytest.mark.parametrize("scale", [1, 1.5, 2])
def test_the_ceiling_of_one_subject_brackets_the_truth(scale):
    rng = np.random.default_rng(3)
    ceilings, reached = [], []
    for _ in range(40):
        clips = rng.normal(size=(60, 50))
        patterns = clips + scale * rng.normal(size=(4, *clips.shape))
        ceilings.append(rsa.repeat_ceiling(patterns, RUNS))
        measured = rsa.dissimilarity(patterns.mean(0), RUNS)
        reached.append(spearmanr(rsa.dissimilarity(clips, RUNS), measured).statistic)
    low, high = np.mean(ceilings, axis=0)
    assert low - 0.01 < np.mean(reached) < high


def test_noise_has_no_ceiling():
    rng = np.random.default_rng(4)
    ceilings = [rsa.repeat_ceiling(rng.normal(size=(4, 60, 30)), RUNS) for _ in range(40)]
    assert 0.2 < np.isnan(ceilings).mean() < 0.8


@pytest.mark.parametrize(
    ("n_subjects", "n"), [(1, 150), pytest.param(5, 1500, marks=pytest.mark.slow)]
)
def test_without_similarity_p_has_its_size(n_subjects, n):
    rng = np.random.default_rng(5)
    found = []
    for _ in range(n):
        stages = {str(number): genre_stage(rng) for number in range(3)}
        subjects = [{"area": noise(rng)} for _ in range(n_subjects)]
        found.append(similarity_table(stages, subjects, RUNS, rng)[["p", "p_max"]].to_numpy())
    p, p_max = np.moveaxis(found, -1, 0)
    for level in (0.05, 0.01):
        error = np.sqrt(level * (1 - level) / n)
        assert abs((p[:, 0] <= level).mean() - level) < 4 * error
        assert abs((p_max.min(1) <= level).mean() - level) < 4 * error
    assert (p_max >= p - 0.01).all()
    assert (p_max <= 3 * p + 0.02).all()  # Bonferroni


def test_a_planted_similarity_is_found():
    rng = np.random.default_rng(6)
    stages = {name: genre_stage(rng) for name in ("driver", "random-driver")}
    drive = stages["driver"] @ rng.normal(size=(10, 30))
    subject = {"area": noise(rng) + drive.astype(np.float32), "other": noise(rng)}
    table = similarity_table(stages, [subject], RUNS, rng).set_index(["area", "stage"])
    assert table.loc[("area", "driver"), "p_max"] < 0.001
    # One stage per network: there is nothing to correct for.
    np.testing.assert_array_equal(table["p"], table["p_max"])
    assert table.loc[("area", "driver"), "rho"] > table.loc[("other", "driver"), "rho"] + 0.1


def test_what_cannot_be_computed_is_missing_and_said(caplog):
    rng = np.random.default_rng(7)
    stages = {"A1": genre_stage(rng), "flat": np.full((60, 9), 0.3, np.float32)}
    subject = {"large": noise(rng), "small": noise(rng, 1), "empty": noise(rng, 0)}
    with caplog.at_level(logging.WARNING):
        table = similarity_table(stages, [subject], RUNS, rng).set_index(["area", "stage"])
    assert table["rho"].notna().tolist() == [True, False, False, False]
    assert (table["rho"].isna() == table["p"].isna()).all()
    assert "empty" not in table.index
    assert [record.getMessage() for record in caplog.records] == [
        "similarity: small: one voxel has no pattern; rho is n/a",
        "similarity: stage flat: the response to a clip is the same as to the others of its run, "
        "or in all units; rho is n/a",
    ]


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        (np.ones(8, int), "only 1 has two clips or more; rho is n/a"),
        (np.arange(8), "only 0 has two clips or more; rho is n/a"),
        (
            np.array([1, 1, 2, 2, 2, 3, 4, 5]),
            "can be shifted in 6 ways only, so no p is below 0.17",
        ),
    ],
)
def test_too_few_runs_or_clips_are_said(runs, text, caplog):
    rng = np.random.default_rng(8)
    units = rng.normal(size=(8, 9)).astype(np.float32)
    table = similarity_table({"A1": units}, [{"area": units[None] + 0}], runs, rng)
    assert text in caplog.text
    assert table["rho"].notna().all() == ("shifted" in text)
    assert table["ceiling_low"].isna().all()
