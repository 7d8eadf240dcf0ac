"""Intervals of accuracies and differences against scipy, values by hand, and simulations."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from neuromusic.stats.intervals import accuracy_ci95, difference_ci95

Z = scipy.stats.norm.ppf(0.975)


def hits_with(n, right):
    return np.arange(n) < right


def simulated_hits(rng, accuracy, n_seeds, n_groups, *, size=1, seed_sd=0.0):
    """Draw hits of settings that are equally good, one (n_seeds, clips) array per setting.

    A clip is right if a sum of normal variables is above 0: how easy it is, half of which it shares
    with the other clips of its group; how well it suits the setting; the seed; and the residual.
    """
    clips = n_groups * size
    shared = rng.normal(size=n_groups).repeat(size) if size > 1 else rng.normal(size=clips)
    easy = np.sqrt(0.5) * (shared + rng.normal(size=clips))
    mean = scipy.stats.norm.ppf(accuracy) * np.sqrt(1 + 0.35 + 0.45 + seed_sd**2)
    return [
        mean + easy + np.sqrt(0.35) * rng.normal(size=clips)
        + seed_sd * rng.normal(size=(seeds, 1))
        + np.sqrt(0.45) * rng.normal(size=(seeds, clips)) > 0
        for seeds in n_seeds
    ]  # fmt: skip


def assert_within(n_inside, n, low=0.93, high=0.97):
    """Assert that a coverage between ``low`` and ``high`` is compatible with the count."""
    assert scipy.stats.binom.cdf(n_inside, n, low) > 0.001
    assert scipy.stats.binom.sf(n_inside - 1, n, high) > 0.001


@given(st.integers(30, 2000), st.floats(0, 1))
def test_independent_clips_agree_with_the_wilson_interval_of_scipy(n, share):
    """Up to the quantile, which is that of Student's t."""
    right = round(share * n)
    wilson = scipy.stats.binomtest(right, n).proportion_ci(
        1 - 2 * scipy.stats.norm.sf(scipy.stats.t.ppf(0.975, n - 1)), "wilson"
    )
    ours = accuracy_ci95(hits_with(n, right), np.arange(n))
    # The variance of the sample has n - 1 in the denominator.
    assert ours == pytest.approx((wilson.low, wilson.high), abs=0.6 / n)
    if right in (0, n):
        assert ours == pytest.approx((wilson.low, wilson.high), abs=1e-12)


def test_all_right_is_not_certain():
    assert accuracy_ci95(np.ones(60), np.arange(60)) == pytest.approx((0.937, 1), abs=0.001)
    assert accuracy_ci95(np.zeros(60), np.arange(60)) == pytest.approx((0, 0.063), abs=0.001)
    exact = scipy.stats.binomtest(60, 60).proportion_ci(method="exact")
    assert accuracy_ci95(np.ones(60), np.arange(60))[0] == pytest.approx(exact.low, abs=0.004)


def test_artists_that_are_all_right_count_once_each():
    quantile = scipy.stats.t.ppf(0.975, 11)
    low, high = accuracy_ci95(np.ones((3, 60)), np.arange(60) % 12)
    assert (low, high) == pytest.approx((1 / (1 + quantile**2 / 12), 1))
    _, one_miss = accuracy_ci95(hits_with(60, 59), np.arange(60) % 12)
    assert 0.99 < one_miss < 1


def test_one_group_says_nothing():
    assert accuracy_ci95([True, False, True], np.zeros(3)) == (0, 1)
    assert difference_ci95([True, True], [False, True], np.zeros(2)) == (-1, 1)


def test_windows_of_one_clip_are_not_independent():
    rng = np.random.default_rng(0)
    hits, clips = np.repeat(rng.random(30) < 0.5, 8), np.repeat(np.arange(30), 8)
    by_clip = accuracy_ci95(hits, clips)
    assert by_clip == pytest.approx(accuracy_ci95(hits[::8], np.arange(30)), abs=1e-9)
    by_window = accuracy_ci95(hits, np.arange(240))
    assert by_clip[1] - by_clip[0] > 2 * (by_window[1] - by_window[0])


def test_the_order_of_clips_and_names_of_groups_do_not_matter():
    rng = np.random.default_rng(1)
    hits, groups = rng.random((3, 80)) < 0.8, rng.integers(25, size=80)
    order = rng.permutation(80)
    names = np.array([f"artist {group}" for group in groups])
    again = accuracy_ci95(hits[:, order], names[order])
    assert again == pytest.approx(accuracy_ci95(hits, groups), abs=1e-12)


def test_a_difference_of_single_networks_is_a_paired_t_interval():
    rng = np.random.default_rng(1)
    first, second = (rng.random(120) < p for p in (0.8, 0.7))
    test = scipy.stats.ttest_rel(first.astype(float), second.astype(float))
    ours = difference_ci95(first, second, np.arange(120))
    assert ours == pytest.approx(tuple(test.confidence_interval()))
    flipped = difference_ci95(second, first, np.arange(120))
    assert flipped == pytest.approx((-ours[1], -ours[0]))


def test_networks_that_agree_get_the_interval_of_bonett_and_price():
    """Their eq. 5 with f12 = 3, f21 = 0 and n = 60; ours has n + 1 in the denominator, and t."""
    first, second = hits_with(60, 43), hits_with(60, 40)
    p12, p21 = 4 / 62, 1 / 62
    half = np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 61) * scipy.stats.t.ppf(0.975, 59)
    ours = difference_ci95(first, second, np.arange(60))
    assert ours == pytest.approx((p12 - p21 - half, p12 - p21 + half))
    low, high = difference_ci95(first, first, np.arange(60))
    assert low == -high
    assert 0.03 < high < 0.06


def test_seeds_and_clips_agree_with_the_mean_squares_of_a_two_way_analysis():
    """The variance of the mean is (MS seeds + MS clips - MS residual) / (seeds x clips)."""
    rng = np.random.default_rng(2)
    hits = rng.random((4, 1)) * 0.3 + rng.random((1, 200)) > rng.random((4, 200))
    mean, by_seed, by_clip = hits.mean(), hits.mean(1, keepdims=True), hits.mean(0, keepdims=True)
    ms_seed = 200 * ((by_seed - mean) ** 2).sum() / 3
    ms_clip = 4 * ((by_clip - mean) ** 2).sum() / 199
    ms_rest = ((hits - by_seed - by_clip + mean) ** 2).sum() / (3 * 199)
    assert ms_seed > ms_rest
    variance = (ms_seed + ms_clip - ms_rest) / 800
    df = (800 * variance) ** 2 / (ms_seed**2 / 3 + ms_clip**2 / 199)
    single = np.arange(200) % 2 == 0  # one network, whose seeds are taken to vary as much
    quantile = scipy.stats.t.ppf(0.975, df)
    n = mean * (1 - mean) / variance
    centre = (mean + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    ours = accuracy_ci95(hits, np.arange(200))
    assert np.mean(ours) == pytest.approx(centre)
    difference = hits.mean(0) - single
    of_seeds = (1 / 4 + 1) * (ms_seed - ms_rest) / 200
    of_clips = difference.var(ddof=1) / 200
    df = (of_seeds + of_clips) ** 2 / ((1.25 * ms_seed / 200) ** 2 / 3 + of_clips**2 / 199)
    half = scipy.stats.t.ppf(0.975, df) * np.sqrt(of_seeds + of_clips)
    expected = (difference.mean() - half, difference.mean() + half)
    assert difference_ci95(hits, single, np.arange(200)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n_groups", "size", "accuracy"), [(60, 1, 0.5), (60, 1, 0.9), (240, 2, 0.9), (30, 2, 0.6)]
)
def test_the_interval_of_an_accuracy_contains_it_in_95_percent_of_cases(n_groups, size, accuracy):
    rng = np.random.default_rng(3)
    groups, inside = np.arange(n_groups).repeat(size), 0
    for _ in range(600):
        (hits,) = simulated_hits(rng, accuracy, [1], n_groups, size=size)
        low, high = accuracy_ci95(hits, groups)
        inside += low <= accuracy <= high
    assert_within(inside, 600)


@pytest.mark.parametrize("n_clips", [60, 480])
@pytest.mark.parametrize("seeds", [(3, 3), (5, 5), (1, 5)])
def test_intervals_over_seeds_contain_the_truth_in_95_percent_of_cases(n_clips, seeds):
    """Two settings that are equally good, with a seed SD of .03 (the percentiles of a bootstrap
    over seeds and clips reach .86 to .99)."""
    rng = np.random.default_rng(4)
    groups, inside = np.arange(n_clips), np.zeros(2, int)
    for _ in range(500):
        first, second = simulated_hits(rng, 0.7, seeds, n_clips, seed_sd=0.12)
        low, high = accuracy_ci95(second, groups)
        inside[0] += low <= 0.7 <= high
        low, high = difference_ci95(first, second, groups)
        inside[1] += low <= 0 <= high
    assert_within(inside[0], 500, high=0.975)
    assert_within(inside[1], 500, high=0.975)
