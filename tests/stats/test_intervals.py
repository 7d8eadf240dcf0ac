"""Bootstrap intervals and random splits against scipy and simulations."""

import numpy as np
import pytest
import scipy.stats

from neuromusic.stats.intervals import bootstrap_ci95, percentiles95
from neuromusic.stats.resampling import bootstrap, random_halves


def test_the_interval_of_a_difference_agrees_with_the_paired_bootstrap_of_scipy():
    rng = np.random.default_rng(1)
    first, second = (rng.random(120) < p for p in (0.8, 0.7))
    means = bootstrap([first, second], np.arange(120))
    expected = scipy.stats.bootstrap(
        (first, second), lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True,
        method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    assert percentiles95(means[0] - means[1]) == pytest.approx(tuple(expected), abs=0.015)


def test_the_interval_contains_the_true_mean_in_95_percent_of_cases():
    """Groups of 4 values that share most of their variance."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 4)
    n_inside = 0
    for seed in range(200):
        values = np.repeat(rng.normal(size=60), 4) + 0.3 * rng.normal(size=240)
        low, high = bootstrap_ci95(values, groups, seed)
        n_inside += low <= 0 <= high
    assert scipy.stats.binomtest(n_inside, 200, 0.95).pvalue > 0.001


@pytest.mark.parametrize("n", [2, 7, 160])
def test_random_halves_contain_every_item_once(n):
    for train, test in random_halves(n, 5, seed=0):
        assert len(train) == n // 2
        assert sorted([*train, *test]) == list(range(n))


def test_the_first_random_halves_do_not_depend_on_how_many_there_are():
    few, many = random_halves(20, 2, seed=1), random_halves(20, 5, seed=1)
    for (train, test), (same_train, same_test) in zip(few, many[:2], strict=True):
        np.testing.assert_array_equal(train, same_train)
        np.testing.assert_array_equal(test, same_test)
