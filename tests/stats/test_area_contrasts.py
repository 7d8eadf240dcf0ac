"""Contrasts of an area's r between stages and networks, against computations by hand and scipy."""

import numpy as np
import pytest
import scipy.stats

from neuromusic.stats import reliability
from neuromusic.stats.area_contrasts import area_contrast


def left_out(groups):
    """Return the mean over all groups, then without each, of values (..., groups)."""
    groups = np.asarray(groups, float)
    n = groups.shape[-1]
    total = groups.sum(-1, keepdims=True)
    return np.concatenate([total / n, (total - groups) / (n - 1)], axis=-1)


def test_a_contrast_of_means_is_the_paired_t_test_over_runs():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 6)) + rng.normal(size=6)
    expected = scipy.stats.ttest_rel(first, second)
    found = area_contrast(left_out(first), left_out(second))
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert (found.t, found.df, found.p) == pytest.approx((expected.statistic, 5, expected.pvalue))
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))


def test_the_interval_of_one_stage_is_that_of_area_score():
    rng = np.random.default_rng(1)
    sums = 40 * left_out(rng.normal(0.2, 0.05, 6))
    score = reliability.area_score(sums, np.zeros(7), 40)
    found = area_contrast(sums / 40, np.zeros(7))
    assert (found.difference, found.low, found.high) == pytest.approx(
        (score.r, score.r_low, score.r_high)
    )


def test_several_copies_add_the_variance_between_them_by_hand():
    first = np.array([0.5, 0.3, 0.4, 0.6])  # r in each of four groups
    copies = np.array([[0.1, 0.2, 0.1, 0.4], [0.4, 0.3, 0.2, 0.4], [0.0, 0.1, 0.1, 0.2]])
    found = area_contrast(left_out(first), left_out(copies))
    of_clips = (first - copies.mean(0)).var(ddof=1) / 4
    scores = copies.mean(1)
    total = scores.var(ddof=1) / 3
    residual = copies - copies.mean(0) - (scores - scores.mean())[:, None]
    of_residual = (residual**2).sum() / (4 * 3) / (3 - 1) / 3
    variance = of_clips + max(total - of_residual, 0)
    df = variance**2 / (of_clips**2 / 2 + total**2 / 2)
    assert found.difference == pytest.approx(0.45 - scores.mean())
    assert found.t == pytest.approx(found.difference / np.sqrt(variance))
    assert found.df == pytest.approx(max(df, 2))
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(found.t, found.df))


def test_one_group_or_equal_stages_give_a_difference_and_nothing_else():
    one = area_contrast(np.array([0.3, 0.0]), np.array([0.1, 0.0]))
    assert one.difference == pytest.approx(0.2)
    assert np.isnan(one[1:]).all()
    same = area_contrast(left_out([0.1, 0.2, 0.5]), left_out([0.1, 0.2, 0.5]))
    assert same.difference == 0
    assert np.isnan(same[1:]).all()


@pytest.mark.parametrize("n_copies", [1, 3, 6])
def test_coverage_with_random_seeds(n_copies):
    """Clips that all networks share, clips of each network, and seeds whose score differs."""
    rng = np.random.default_rng(n_copies)
    n, inside = 2000, 0
    for _ in range(n):
        shared = rng.normal(0, 0.1, 6)
        first = 0.5 + shared + rng.normal(0, 0.05, 6)
        seeds = rng.normal(0, 0.03 * (n_copies > 1), (n_copies, 1))
        copies = 0.3 + shared + rng.normal(0, 0.05, (n_copies, 6)) + seeds
        found = area_contrast(left_out(first), left_out(copies))
        inside += found.low <= 0.2 <= found.high
    low, high = scipy.stats.binom.ppf([0.001, 0.999], n, [0.93, 0.97]) / n
    assert low < inside / n < high
