"""The bootstrap of whole groups against scipy, and random halves."""

import numpy as np
import pytest
import scipy.stats

from neuromusic.stats import resampling
from neuromusic.stats.resampling import bootstrap, random_halves


def percentiles(means):
    return tuple(np.percentile(means, [2.5, 97.5]))


def test_a_difference_agrees_with_the_paired_bootstrap_of_scipy():
    rng = np.random.default_rng(1)
    first, second = (rng.random(120) < p for p in (0.8, 0.7))
    means = bootstrap([first, second], np.arange(120))
    expected = scipy.stats.bootstrap(
        (first, second), lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True,
        method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    assert percentiles(means[0] - means[1]) == pytest.approx(tuple(expected), abs=0.015)


def test_groups_of_unequal_size_agree_with_scipy():
    rng = np.random.default_rng(0)
    size = rng.integers(1, 9, 40)
    values = rng.random(size.sum()) < 0.7
    groups = np.repeat(rng.permutation(40), size)
    total = np.array([part.sum() for part in np.split(values, np.cumsum(size)[:-1])])
    expected = scipy.stats.bootstrap(
        (total, size), lambda t, n, axis: t.sum(axis) / n.sum(axis), paired=True,
        method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    ours = percentiles(bootstrap([values], groups)[0])
    assert ours == pytest.approx(tuple(expected), abs=0.01)


def test_percentiles_contain_the_true_mean_in_95_percent_of_cases():
    """60 groups of 4 normal values that share most of their variance."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 4)
    n_inside = 0
    for seed in range(200):
        values = np.repeat(rng.normal(size=60), 4) + 0.3 * rng.normal(size=240)
        low, high = percentiles(bootstrap([values], groups, seed)[0])
        n_inside += low <= 0 <= high
    assert scipy.stats.binomtest(n_inside, 200, 0.95).pvalue > 0.001


def test_every_side_draws_the_same_groups():
    values = np.random.default_rng(0).random(50) < 0.5
    first, second = bootstrap([values, ~values], np.arange(50))
    np.testing.assert_allclose(first + second, 1)


def test_drawing_in_parts_changes_nothing(monkeypatch):
    values = np.random.default_rng(0).random((2, 50))
    whole = bootstrap(list(values), np.arange(50))
    monkeypatch.setattr(resampling, "DRAWS_AT_ONCE", 7 * 50)
    np.testing.assert_array_equal(bootstrap(list(values), np.arange(50)), whole)


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
