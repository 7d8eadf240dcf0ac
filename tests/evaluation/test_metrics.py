"""Metrics and calibration against scikit-learn."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.calibration
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.evaluation import metrics


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 80), st.integers(2, 10))
def test_metrics_agree_with_scikit_learn(seed, n, n_classes):
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


def predictions(seed, n, sharpness=1.0):
    """Labels drawn from probabilities, and these probabilities, made sharper afterwards."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, 10))
    p = scipy.special.softmax(logits, axis=1)
    truth = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    return truth, scipy.special.log_softmax(sharpness * logits, axis=1)


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_reliability_agrees_with_scikit_learn(sharpness):
    truth, log_p = predictions(0, 500, sharpness)
    confidence, hit = np.exp(log_p.max(1)), log_p.argmax(1) == truth
    accuracy, mean = sklearn.calibration.calibration_curve(hit, confidence, n_bins=metrics.BINS)
    bins = metrics.reliability(truth, log_p)
    np.testing.assert_allclose(bins["accuracy"], accuracy)
    np.testing.assert_allclose(bins["confidence"], mean)
    assert bins["n"].sum() == 500
    error = (np.abs(accuracy - mean) * bins["n"]).sum() / 500
    assert metrics.calibration(truth, log_p)["error"] == pytest.approx(error)


def test_calibration_of_four_clips_by_hand():
    """Of two clips at 0.9 one is right, of two at 0.5 both are: (2 x 0.4 + 2 x 0.5) / 4."""
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.5 + 1e-9, 0.5 - 1e-9], [0.5 - 1e-9, 0.5 + 1e-9]])
    result = metrics.calibration(np.array([0, 1, 0, 1]), np.log(p))
    assert result["error"] == pytest.approx(0.45)
    assert (result["mean_confidence"], result["accuracy"]) == pytest.approx((0.7, 0.75))


def test_a_calibrated_network_is_within_chance_and_an_overconfident_one_is_not():
    inside = []
    for seed in range(100):
        result = metrics.calibration(*predictions(seed, 60))
        inside.append(result["error"] <= result["error_if_calibrated_95"])
    assert scipy.stats.binomtest(sum(inside), 100, 0.95).pvalue > 0.001
    truth, log_p = predictions(0, 480, 3.0)
    result = metrics.calibration(truth, log_p)
    assert result["error"] > result["error_if_calibrated_95"]
    bins = metrics.reliability(truth, log_p)
    assert (bins["accuracy"] < bins["expected_low"]).any()
