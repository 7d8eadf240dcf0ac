"""The bootstrap against scipy and against variance components."""

import numpy as np
import pytest
import scipy.stats

from neuromusic.stats import intervals, resampling


def test_intervals_agree_with_scipy():
    hits = np.random.default_rng(0).random(60) < 0.8
    low, high = intervals.bootstrap_ci95(hits, np.arange(60))
    theirs = scipy.stats.bootstrap(
        (hits,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_windows_of_one_clip_are_drawn_together():
    hits = np.repeat(np.random.default_rng(0).random(30) < 0.5, 8)
    clips = np.repeat(np.arange(30), 8)
    by_clip = intervals.bootstrap_ci95(hits, clips)
    by_window = intervals.bootstrap_ci95(hits, np.arange(240))
    assert by_clip[1] - by_clip[0] > 2 * (by_window[1] - by_window[0])
    assert by_clip == pytest.approx(intervals.bootstrap_ci95(hits[::8], np.arange(30)), abs=1e-9)


def test_clips_with_unequal_numbers_of_windows_agree_with_scipy():
    rng = np.random.default_rng(0)
    size = rng.integers(1, 9, 40)
    hits = rng.random(size.sum()) < 0.7
    clips = np.repeat(rng.permutation(40), size)
    good = np.array([part.sum() for part in np.split(hits, np.cumsum(size)[:-1])])
    theirs = scipy.stats.bootstrap(
        (good, size), lambda g, n, axis: g.sum(axis) / n.sum(axis), paired=True,
        method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    assert intervals.bootstrap_ci95(hits, clips) == pytest.approx(tuple(theirs), abs=0.01)


def test_intervals_over_repeats_are_wider_than_over_clips_alone():
    """Against the variance components of two-way data: seeds, clips and the residual."""
    rng = np.random.default_rng(0)
    seeds, clips = rng.normal(0, 0.3, (20, 1)), rng.normal(0, 1, (1, 400))
    values = seeds + clips + rng.normal(0, 1, (20, 400))
    means = resampling.bootstrap([values], np.arange(400))[0]
    # Owen 2007: the sum of the variances of both ways (the residual counts a little more).
    row = values.mean(1).var(ddof=1) / 20
    column = values.mean(0).var(ddof=1) / 400
    assert means.var() == pytest.approx(row + column, rel=0.1)
    alone = resampling.bootstrap([values.mean(0)], np.arange(400))[0]
    assert means.std() > 1.2 * alone.std()


def test_every_side_draws_the_same_groups():
    hits = np.random.default_rng(0).random(50) < 0.5
    first, second = resampling.bootstrap([hits, ~hits], np.arange(50))
    np.testing.assert_allclose(first + second, 1)


def test_drawing_in_parts_changes_nothing(monkeypatch):
    hits = np.random.default_rng(0).random((3, 50)) < 0.5
    whole = resampling.bootstrap([hits, hits[0]], np.arange(50))
    monkeypatch.setattr(resampling, "DRAWS_AT_ONCE", 7 * 50)
    np.testing.assert_array_equal(resampling.bootstrap([hits, hits[0]], np.arange(50)), whole)
