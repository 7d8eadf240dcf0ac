"""Significance tests against scipy, full enumeration and values computed by hand."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from neuromusic.stats.significance import (
    mantel_test,
    mcnemar,
    sign_flip_test,
)


def make_hits(only_first, only_second, both=7, neither=3):
    """Return which clips each of two networks classifies correctly, two arrays of bool."""
    first = np.repeat([True, False, True, False], [only_first, only_second, both, neither])
    second = np.repeat([False, True, True, False], [only_first, only_second, both, neither])
    return first, second


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_the_binomial_test_of_scipy(only_first, only_second):
    result = mcnemar(*make_hits(only_first, only_second))
    n = only_first + only_second
    expected = scipy.stats.binomtest(only_first, n, 0.5).pvalue if n else 1.0
    assert result[:2] == (only_first, only_second)
    assert result.p == pytest.approx(expected)


def test_mcnemar_agrees_with_a_value_computed_by_hand():
    """Twice the one-sided tail: 2 (1 + 20 + 190 + 1140 + 4845 + 15504) / 2^20."""
    assert mcnemar(*make_hits(15, 5)).p == pytest.approx(43400 / 2**20)


@pytest.mark.parametrize(("only_first", "only_second"), [(9, 2), (0, 3), (4, 4), (0, 0)])
def test_flipping_single_clips_equals_mcnemar(only_first, only_second):
    first, second = make_hits(only_first, only_second)
    difference = first.astype(float) - second
    p = sign_flip_test(difference, np.arange(len(difference)))
    assert p == pytest.approx(mcnemar(first, second).p)


@pytest.mark.parametrize("n_groups", [8, 40])
def test_flipping_groups_agrees_with_the_permutation_test_of_scipy(n_groups):
    rng = np.random.default_rng(n_groups)
    groups = rng.integers(n_groups, size=200)
    difference = rng.integers(-1, 2, 200) + 0.3
    sums = np.bincount(groups, weights=difference)
    expected = scipy.stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng
    )
    assert sign_flip_test(difference, groups) == pytest.approx(expected.pvalue, abs=0.015)


def test_flipping_groups_keeps_its_level_if_the_clips_of_an_artist_depend_on_each_other():
    """If an artist's clips are all right or all wrong, McNemar finds p < .05 far too often."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 8)
    n_low = {"flips": 0, "mcnemar": 0}
    for seed in range(200):
        first, second = (np.repeat(rng.random(30) < 0.5, 8) for _ in range(2))
        n_low["flips"] += sign_flip_test(first.astype(float) - second, groups, seed) < 0.05
        n_low["mcnemar"] += mcnemar(first, second).p < 0.05
    assert scipy.stats.binomtest(n_low["flips"], 200, 0.05).pvalue > 0.001
    assert n_low["mcnemar"] > 60


def test_mantel_agrees_with_full_enumeration():
    rng = np.random.default_rng(1)
    first, noise = rng.random((2, 5, 5))
    second = first + 0.4 * noise
    off = ~np.eye(5, dtype=bool)
    correlations = [
        scipy.stats.spearmanr(first[off], second[np.ix_(order, order)][off]).statistic
        for order in itertools.permutations(range(5))
    ]
    rho, p = mantel_test(first, second, np.random.default_rng(2))
    assert rho == pytest.approx(correlations[0])
    assert p == pytest.approx(np.mean(np.array(correlations) >= rho - 1e-12), abs=0.01)
