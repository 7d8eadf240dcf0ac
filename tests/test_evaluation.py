"""Metrics against scikit-learn, intervals against scipy."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic import evaluation
from neuromusic.inference import pool_windows


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80), st.integers(2, 10))
def test_metrics_are_scikit_learns(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    truth = rng.integers(n_classes, size=n)
    log_p = scipy.special.log_softmax(rng.standard_normal((n, n_classes)), axis=1)
    guess = log_p.argmax(1)
    counts = evaluation.confusion_matrix(truth, guess, n_classes)
    labels = list(range(n_classes))
    assert (counts == sklearn.metrics.confusion_matrix(truth, guess, labels=labels)).all()
    scores = evaluation.summarise(truth, log_p, np.arange(n))
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, guess))
    assert scores["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(truth, guess, average="macro")
    )
    assert scores["cross_entropy"] == pytest.approx(
        sklearn.metrics.log_loss(truth, np.exp(log_p), labels=labels)
    )
    assert scores["n"] == n


def test_intervals_are_scipys():
    hits = np.random.default_rng(0).random(60) < 0.8
    low, high = evaluation.bootstrap_ci95(hits, np.arange(60))
    theirs = scipy.stats.bootstrap(
        (hits,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_windows_of_one_clip_are_drawn_together():
    hits = np.repeat(np.random.default_rng(0).random(30) < 0.5, 8)
    clips = np.repeat(np.arange(30), 8)
    by_clip = evaluation.bootstrap_ci95(hits, clips)
    by_window = evaluation.bootstrap_ci95(hits, np.arange(240))
    assert by_clip[1] - by_clip[0] > 2 * (by_window[1] - by_window[0])
    assert by_clip == pytest.approx(evaluation.bootstrap_ci95(hits[::8], np.arange(30)), abs=1e-9)


def test_clips_of_unequal_numbers_of_windows_are_drawn_as_scipy_draws_pairs():
    rng = np.random.default_rng(0)
    size = rng.integers(1, 9, 40)
    hits = rng.random(size.sum()) < 0.7
    clips = np.repeat(rng.permutation(40), size)
    good = np.array([part.sum() for part in np.split(hits, np.cumsum(size)[:-1])])
    theirs = scipy.stats.bootstrap(
        (good, size), lambda g, n, axis: g.sum(axis) / n.sum(axis), paired=True,
        method="percentile", rng=rng,
    ).confidence_interval  # fmt: skip
    assert evaluation.bootstrap_ci95(hits, clips) == pytest.approx(tuple(theirs), abs=0.01)


def test_a_clip_is_the_normalised_mean_of_its_windows():
    log_p = scipy.special.log_softmax(np.random.default_rng(0).standard_normal((5, 10)), axis=1)
    expected = scipy.special.log_softmax(log_p.mean(0))
    np.testing.assert_allclose(pool_windows(log_p), expected)
