"""Tests of pairs against scipy and values computed by hand."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from neuromusic.stats.intervals import percentiles95
from neuromusic.stats.multiple import holm
from neuromusic.stats.resampling import bootstrap
from neuromusic.stats.significance import flip_test, mcnemar


def hits(only_first, only_second, both=7, none=3):
    first = np.repeat([True, False, True, False], [only_first, only_second, both, none])
    second = np.repeat([False, True, True, False], [only_first, only_second, both, none])
    return first, second


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_scipys_binomial_test(only_first, only_second):
    found = mcnemar(*hits(only_first, only_second))
    n = only_first + only_second
    expected = scipy.stats.binomtest(only_first, n, 0.5).pvalue if n else 1.0
    assert found[:2] == (only_first, only_second)
    assert found[2] == pytest.approx(expected)


def test_mcnemar_by_hand():
    """2 (1 + 20 + 190 + 1140 + 4845 + 15504) / 2^20, the one-sided tail twice."""
    assert mcnemar(*hits(15, 5))[2] == pytest.approx(43400 / 2**20)


@pytest.mark.parametrize(("only_first", "only_second"), [(9, 2), (0, 3), (4, 4), (0, 0)])
def test_flips_of_single_clips_are_mcnemar(only_first, only_second):
    first, second = hits(only_first, only_second)
    difference = first.astype(float) - second
    p = flip_test(difference, np.arange(len(difference)))
    assert p == pytest.approx(mcnemar(first, second)[2])


@pytest.mark.parametrize("n_groups", [8, 40])
def test_flips_of_groups_are_scipys_permutations_of_their_sums(n_groups):
    rng = np.random.default_rng(n_groups)
    groups = rng.integers(n_groups, size=200)
    difference = rng.integers(-1, 2, 200) + 0.3
    sums = np.bincount(groups, weights=difference)
    theirs = scipy.stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng
    )
    assert flip_test(difference, groups) == pytest.approx(theirs.pvalue, abs=0.015)


def test_flips_are_as_often_low_as_they_say_where_clips_hang_together():
    """Artists whose clips are all right or all wrong: McNemar says p < .05 far too often."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 8)
    low = {"flips": 0, "mcnemar": 0}
    for seed in range(200):
        first, second = (np.repeat(rng.random(30) < 0.5, 8) for _ in range(2))
        low["flips"] += flip_test(first.astype(float) - second, groups, seed) < 0.05
        low["mcnemar"] += mcnemar(first, second)[2] < 0.05
    assert scipy.stats.binomtest(low["flips"], 200, 0.05).pvalue > 0.001
    assert low["mcnemar"] > 60


def test_holm_is_rs():
    """p.adjust(c(.01, .04, .03, .005), "holm") in R."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.02, np.nan, 0.9]), [0.04, np.nan, 0.9])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert len(holm([])) == 0


def test_the_interval_of_a_difference_is_scipys():
    rng = np.random.default_rng(1)
    first, second = (rng.random(120) < p for p in (0.8, 0.7))
    means = bootstrap([first, second], np.arange(120))
    theirs = scipy.stats.bootstrap(
        (first, second), lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True,
        method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    assert percentiles95(means[0] - means[1]) == pytest.approx(tuple(theirs), abs=0.015)
