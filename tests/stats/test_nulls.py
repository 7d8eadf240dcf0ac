"""The small size of experiments/benchmarks/nulls.py: sizes, biases and coverages."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from neuromusic.design.timing import HIGH_PASS_HZ
from neuromusic.fmri.bold import clean_run

BENCHMARKS = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"
SIZES = {"< .05": (0.045, 0.055), "< .01": (0.008, 0.012), "< .001": (0.0005, 0.0015)}
COVERAGE = (0.93, 0.97)
ERRORS = 4  # binomial standard errors
# Too small on purpose, so only the upper limit is tested.
CONSERVATIVE = {
    "identification, p_top1": "few values of top1 are possible",
    "p_global_null": "the number of significant subjects has few values",
    "over_baseline_p": "known of the corrected resampled t test",
    "p of r in time": "a cross-validated match is skewed, and below 0 without an effect",
    "unique_p in time": "as p of r in time",
    "similarity, least p_max": "a bound on the probability of any error",
}
SCHEMES = ("leave a run out", "leave sounds out", "leave groups out")
FOLDS = "leave"  # in folds, tests allow for the most that folds can add to the variance
COARSE = ("similarity", "identification")  # in 2 runs of 10 clips no p is below .01


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("nulls")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def table(benchmark):
    return list(benchmark.table(benchmark.SIZES["small"]))


def test_simulated_voxels_are_cleaned_as_those_of_images(benchmark):
    simulated = benchmark.simulated
    rng = np.random.default_rng(0)
    series = simulated.drift((2, 410, 3), rng) + simulated.noise("1/f", (2, 410, 3), rng)
    ours = simulated.standardised(simulated.filtered_runs(series))
    for run, expected in zip(ours, series[:, 10:], strict=True):
        np.testing.assert_allclose(
            run, clean_run(expected, simulated.TR_S, HIGH_PASS_HZ)[0], atol=2e-5
        )


@pytest.mark.parametrize(("kind", "rho"), [("white", 0.0), ("AR(1) .6", 0.6)])
def test_simulated_noise_has_the_stated_autocorrelation(benchmark, kind, rho):
    x = benchmark.simulated.noise(kind, (1, 410, 500), np.random.default_rng(1))[0]
    assert x.std() == pytest.approx(1, abs=0.02)
    assert (x[1:] * x[:-1]).mean() == pytest.approx(rho, abs=0.02)


@pytest.mark.slow
def test_null_hypotheses_are_rejected_as_often_as_stated(table):
    rows = [row for row in table if row["data"].startswith("null") and row["< .05"] is not None]
    names = {row["statistic"] for row in rows}
    assert names >= {"p of r", "p_reliable", "similarity, p", "p of unique", *CONSERVATIVE}
    for row in rows:
        for column, (low, high) in SIZES.items():
            share, n = row[column], row["n"]
            assert share <= high + ERRORS * np.sqrt(high / n), row
            coarse = row["design"].startswith("2 runs") and row["statistic"].startswith(COARSE)
            exact = row["statistic"] not in CONSERVATIVE and not row["design"].startswith(FOLDS)
            if exact and not (coarse and column != "< .05"):
                assert share >= low - ERRORS * np.sqrt(low / n), row


@pytest.mark.slow
def test_nothing_is_predicted_in_folds_without_an_effect(table):
    """The standard error of a mean r of 500 voxels, which share 5 sets of features, is .006."""
    rows = [row for row in table if row["statistic"].startswith("mean r")]
    known = [row for row in rows if row["data"].startswith("null")]
    assert {row["design"] for row in known} == {*SCHEMES, "leave one of 2 runs out"}
    for row in known:
        assert abs(row["estimate / truth"]) < 0.025, row
    [same_sounds] = [row for row in rows if row not in known]
    assert same_sounds["design"] == "leave a run out"
    assert same_sounds["estimate / truth"] > 0.1  # it predicts a response to the same sounds


@pytest.mark.slow
def test_intervals_contain_the_truth_in_95_percent_of_cases(table):
    rows = [row for row in table if row["coverage"] is not None]
    assert len({row["statistic"] for row in rows}) >= 9
    for row in rows:
        error = ERRORS * np.sqrt(0.05 * 0.95 / row["n"])
        assert COVERAGE[0] - error <= row["coverage"] <= COVERAGE[1] + error, row


@pytest.mark.slow
def test_ceilings_are_within_3_percent_of_the_truth(table):
    """At .3; the standard error of the small size is below 1 % there."""
    rows = [row for row in table if row["data"].startswith("explainable 0.3")]
    rows = [row for row in rows if row["statistic"] in ("ceiling of an area", "explainable")]
    assert len(rows) == 16  # those of folds are at .1
    for row in rows:
        assert row["estimate / truth"] == pytest.approx(1, abs=0.03), row
