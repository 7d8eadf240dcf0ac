"""Metrics against scikit-learn, intervals against scipy."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.calibration
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.evaluation import metrics
from neuromusic.models.inference import pool_windows
from neuromusic.stats import intervals, resampling


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80), st.integers(2, 10))
def test_metrics_are_scikit_learns(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    truth = rng.integers(n_classes, size=n)
    log_p = scipy.special.log_softmax(rng.standard_normal((n, n_classes)), axis=1)
    guess = log_p.argmax(1)
    counts = metrics.confusion_matrix(truth, guess, n_classes)
    labels = list(range(n_classes))
    assert (counts == sklearn.metrics.confusion_matrix(truth, guess, labels=labels)).all()
    scores = metrics.summarise(truth, log_p, np.arange(n))
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, guess))
    assert scores["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(truth, guess, average="macro")
    )
    assert scores["cross_entropy"] == pytest.approx(
        sklearn.metrics.log_loss(truth, np.exp(log_p), labels=labels)
    )
    assert scores["brier"] == pytest.approx(
        sklearn.metrics.brier_score_loss(
            truth, scipy.special.softmax(log_p, axis=1), labels=labels, scale_by_half=False
        )
        if n_classes > 2
        else 2 * sklearn.metrics.brier_score_loss(truth, np.exp(log_p[:, 1]), pos_label=1)
    )
    assert scores["n"] == n


def test_intervals_are_scipys():
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
    assert intervals.bootstrap_ci95(hits, clips) == pytest.approx(tuple(theirs), abs=0.01)


def test_a_clip_is_the_normalised_mean_of_its_windows():
    log_p = scipy.special.log_softmax(np.random.default_rng(0).standard_normal((5, 10)), axis=1)
    expected = scipy.special.log_softmax(log_p.mean(0))
    np.testing.assert_allclose(pool_windows(log_p), expected)


def predictions(seed, n, sharp=1.0):
    """Labels drawn from the probabilities, which are then made ``sharp``er than they were."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, 10))
    p = scipy.special.softmax(logits, axis=1)
    truth = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    return truth, scipy.special.log_softmax(sharp * logits, axis=1)


@pytest.mark.parametrize("sharp", [1.0, 3.0])
def test_reliability_is_scikit_learns(sharp):
    truth, log_p = predictions(0, 500, sharp)
    confidence, hit = np.exp(log_p.max(1)), log_p.argmax(1) == truth
    accuracy, mean = sklearn.calibration.calibration_curve(hit, confidence, n_bins=metrics.BINS)
    bins = metrics.reliability(truth, log_p)
    np.testing.assert_allclose(bins["accuracy"], accuracy)
    np.testing.assert_allclose(bins["confidence"], mean)
    assert bins["n"].sum() == 500
    error = (np.abs(accuracy - mean) * bins["n"]).sum() / 500
    assert metrics.calibration(truth, log_p)["error"] == pytest.approx(error)


def test_calibration_by_hand():
    """Two clips at 0.9 of which one is right, two at 0.5 of which both are: (2 x .4 + 2 x .5)/4."""
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.5 + 1e-9, 0.5 - 1e-9], [0.5 - 1e-9, 0.5 + 1e-9]])
    found = metrics.calibration(np.array([0, 1, 0, 1]), np.log(p))
    assert found["error"] == pytest.approx(0.45)
    assert (found["mean_confidence"], found["accuracy"]) == pytest.approx((0.7, 0.75))


def test_a_calibrated_network_is_within_chance_and_an_overconfident_one_is_not():
    inside = []
    for seed in range(100):
        found = metrics.calibration(*predictions(seed, 60))
        inside.append(found["error"] <= found["error_if_calibrated_95"])
    assert scipy.stats.binomtest(sum(inside), 100, 0.95).pvalue > 0.001
    truth, log_p = predictions(0, 480, 3.0)
    found = metrics.calibration(truth, log_p)
    assert found["error"] > found["error_if_calibrated_95"]
    bins = metrics.reliability(truth, log_p)
    assert (bins["accuracy"] < bins["expected_low"]).any()


def test_intervals_over_repeats_are_wider_than_over_clips_alone():
    """Against the variance components of two-way data: seeds, clips and what is left."""
    rng = np.random.default_rng(0)
    seeds, clips = rng.normal(0, 0.3, (20, 1)), rng.normal(0, 1, (1, 400))
    values = seeds + clips + rng.normal(0, 1, (20, 400))
    means = resampling.bootstrap([values], np.arange(400))[0]
    # Owen 2007: the sum of both ways' variances (what is left over counts a little more).
    row = values.mean(1).var(ddof=1) / 20
    column = values.mean(0).var(ddof=1) / 400
    assert means.var() == pytest.approx(row + column, rel=0.1)
    alone = resampling.bootstrap([values.mean(0)], np.arange(400))[0]
    assert means.std() > 1.2 * alone.std()


def test_the_same_groups_are_drawn_for_every_side():
    hits = np.random.default_rng(0).random(50) < 0.5
    first, second = resampling.bootstrap([hits, ~hits], np.arange(50))
    np.testing.assert_allclose(first + second, 1)


def test_drawing_in_parts_changes_nothing(monkeypatch):
    hits = np.random.default_rng(0).random((3, 50)) < 0.5
    whole = resampling.bootstrap([hits, hits[0]], np.arange(50))
    monkeypatch.setattr(metrics, "CHUNK", 7 * 50)
    np.testing.assert_array_equal(resampling.bootstrap([hits, hits[0]], np.arange(50)), whole)
