"""Scores of a classifier in plain numpy: accuracy with its interval, F1, Brier score, calibration.

Definitions and sources of every number: docs/trust.md.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.stats.intervals import bootstrap_ci95
from neuromusic.stats.resampling import CHUNK

BINS = 15  # of confidence, as in Guo et al. 2017
CONSISTENT = 2_000  # draws of what a calibrated network would show


def confusion_matrix(
    truth: NDArray[np.int64], guess: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Return counts (n, n): row the true class, column the predicted one."""
    return np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)


def f1_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 score of each class (n,); NaN for one that is neither there nor predicted."""
    hits = np.diag(confusion)
    total = confusion.sum(0) + confusion.sum(1)
    with np.errstate(invalid="ignore"):
        return 2 * hits / total


def cross_entropy(truth: NDArray[np.int64], log_p: NDArray[np.float64]) -> float:
    """Return the mean negative log-probability of the true class, in nats."""
    return float(-log_p[np.arange(len(truth)), truth].mean())


def brier_score(truth: NDArray[np.int64], log_p: NDArray[np.float64]) -> float:
    """Return the mean over rows of the summed squared errors of all classes (0 best, 2 worst).

    Brier 1950, Monthly Weather Review 78, 1-3, eq. 2.
    """
    p = np.exp(log_p)
    p[np.arange(len(truth)), truth] -= 1
    return float((p**2).sum(1).mean())


# --- Intervals ----------------------------------------------------------------------------------


def summarise(
    truth: NDArray[np.int64],
    log_p: NDArray[np.float64],
    groups: NDArray[Any],
    over: str = "clips",
) -> dict[str, Any]:
    """Return accuracy, accuracy_ci95, interval_over, cross_entropy, brier, macro_f1 and n.

    ``groups`` (n,) are drawn whole for the interval; ``over`` says what they are.
    """
    guess = log_p.argmax(1)
    confusion = confusion_matrix(truth, guess, log_p.shape[1])
    return {
        "accuracy": float((truth == guess).mean()),
        "accuracy_ci95": list(bootstrap_ci95(truth == guess, groups)),
        "interval_over": over,
        "cross_entropy": cross_entropy(truth, log_p),
        "brier": brier_score(truth, log_p),
        "macro_f1": float(np.nanmean(f1_scores(confusion))),
        "n": len(truth),
    }


# --- Calibration --------------------------------------------------------------------------------


def _bins(confidence: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    edges = np.linspace(0, 1, BINS + 1)
    return edges, np.searchsorted(edges[1:-1], confidence)  # (low, high], as Guo et al. have it


def reliability(
    truth: NDArray[np.int64], log_p: NDArray[np.float64], seed: int = 0
) -> pd.DataFrame:
    """Return a row a bin of confidence that is not empty: how sure, and how often right.

    Columns: low, high, n, confidence (mean), accuracy, and expected_low and expected_high, between
    which the accuracy of a calibrated network with these confidences lies 95 times in 100 (the
    consistency bars of Broecker and Smith 2007, Weather and Forecasting 22, 651-661).
    """
    confidence, hit = _confidence(truth, log_p)
    edges, which = _bins(confidence)
    accuracies = _drawn_hits(confidence, which, seed) / np.maximum(
        np.bincount(which, minlength=BINS), 1
    )
    low, high = np.percentile(accuracies, [2.5, 97.5], axis=0)
    rows = [
        {
            "low": edges[k], "high": edges[k + 1], "n": int((which == k).sum()),
            "confidence": confidence[which == k].mean(), "accuracy": hit[which == k].mean(),
            "expected_low": low[k], "expected_high": high[k],
        }
        for k in np.unique(which)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"n": int})


def calibration(
    truth: NDArray[np.int64], log_p: NDArray[np.float64], seed: int = 0
) -> dict[str, Any]:
    """Return the expected calibration error of the predicted class, and what it is by chance.

    Guo et al. 2017 (ICML, eq. 3), after Naeini et al. 2015 (AAAI): confidences in BINS bins of
    equal width; the mean distance of accuracy from mean confidence, weighted by the bins' sizes. It
    is above 0 in any finite sample, so beside it stand the mean and the 95th percentile of what a
    network would show that has these confidences and is calibrated (right as often as it says).
    """
    confidence, hit = _confidence(truth, log_p)
    _, which = _bins(confidence)
    sure = np.bincount(which, weights=confidence, minlength=BINS)
    right = np.bincount(which, weights=hit, minlength=BINS)
    chance = np.abs(_drawn_hits(confidence, which, seed) - sure).sum(1) / len(hit)
    return {
        "error": float(np.abs(right - sure).sum() / len(hit)),
        "error_if_calibrated": float(chance.mean()),
        "error_if_calibrated_95": float(np.percentile(chance, 95)),
        "mean_confidence": float(confidence.mean()),
        "accuracy": float(hit.mean()),
        "bins": BINS,
        "binning": "equal width",
    }


def _confidence(
    truth: NDArray[np.int64], log_p: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.exp(log_p.max(1)), log_p.argmax(1) == truth


def _drawn_hits(
    confidence: NDArray[np.float64], which: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return (CONSISTENT, BINS): how many of each bin are right, if each is as often as it says."""
    rng = np.random.default_rng(seed)
    member = np.eye(BINS)[which]  # (n, BINS)
    rows = max(1, CHUNK // len(confidence))
    parts = [
        (rng.random((min(rows, CONSISTENT - first), len(confidence))) < confidence) @ member
        for first in range(0, CONSISTENT, rows)
    ]
    return np.concatenate(parts)
