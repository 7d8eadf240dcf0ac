"""Metrics of a classifier in NumPy: accuracy with its interval, F1, Brier score, calibration.

Definitions and sources of every number: docs/explanation/trust.md.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.stats.intervals import accuracy_ci95
from neuromusic.stats.resampling import DRAWS_AT_ONCE

BINS = 15  # of confidence, as in Guo et al. 2017
CALIBRATED_DRAWS = 2_000  # simulations of a calibrated network


def confusion_matrix(
    truth: NDArray[np.int64], guess: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Return counts (n, n): one row per true class, one column per predicted class."""
    return np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)


def f1_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 score of each class (n,); NaN for a class neither true nor predicted."""
    hits = np.diag(confusion)
    total = confusion.sum(0) + confusion.sum(1)
    with np.errstate(invalid="ignore"):
        return 2 * hits / total


def cross_entropy(truth: NDArray[np.int64], log_p: NDArray[np.float64]) -> float:
    """Return the mean negative log-probability of the true class, in nats."""
    return float(-log_p[np.arange(len(truth)), truth].mean())


def brier_score(truth: NDArray[np.int64], log_p: NDArray[np.float64]) -> float:
    """Return the mean over rows of the squared errors summed over classes (0 best, 2 worst).

    Brier 1950, Monthly Weather Review 78, 1-3, eq. 2.
    """
    p = np.exp(log_p)
    p[np.arange(len(truth)), truth] -= 1
    return float((p**2).sum(1).mean())


def summarise(
    truth: NDArray[np.int64],
    log_p: NDArray[np.float64],
    groups: NDArray[Any],
    over: str = "clips",
) -> dict[str, Any]:
    """Return accuracy, accuracy_ci95, interval_over, cross_entropy, brier, macro_f1 and n.

    The 95 % interval is Wilson's, with an effective number of clips from the spread over ``groups``
    (n,), see `intervals.accuracy_ci95`; ``over`` names what the groups are.
    """
    guess = log_p.argmax(1)
    confusion = confusion_matrix(truth, guess, log_p.shape[1])
    return {
        "accuracy": float((truth == guess).mean()),
        "accuracy_ci95": list(accuracy_ci95(truth == guess, groups)),
        "interval_over": over,
        "cross_entropy": cross_entropy(truth, log_p),
        "brier": brier_score(truth, log_p),
        "macro_f1": float(np.nanmean(f1_scores(confusion))),
        "n": len(truth),
    }


def one_group(n: int, over: str) -> str:
    """Return the warning that ``n`` clips form one group, so that no interval can be given."""
    what = "there is one clip" if n == 1 else f"all {n} clips are by one artist"
    return f"{what}, so nothing is known about other {over}; the interval is 0 to 1"


# --- Calibration ----------------------------------------------------------------------------------


def reliability(
    truth: NDArray[np.int64], log_p: NDArray[np.float64], seed: int = 0
) -> pd.DataFrame:
    """Return one row per bin of confidence that is not empty.

    Columns: low, high, n, confidence (mean), accuracy, and expected_low and expected_high, between
    which the accuracy of a calibrated network with these confidences lies with a probability of
    95 % (the consistency bars of Broecker and Smith 2007, Weather and Forecasting 22, 651-661).
    """
    confidence, hit = _confidence(truth, log_p)
    edges, bin_of = _bins(confidence)
    accuracies = _calibrated_hits(confidence, bin_of, seed) / np.maximum(
        np.bincount(bin_of, minlength=BINS), 1
    )
    low, high = np.percentile(accuracies, [2.5, 97.5], axis=0)
    rows = [
        {
            "low": edges[k], "high": edges[k + 1], "n": int((bin_of == k).sum()),
            "confidence": confidence[bin_of == k].mean(), "accuracy": hit[bin_of == k].mean(),
            "expected_low": low[k], "expected_high": high[k],
        }
        for k in np.unique(bin_of)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"n": int})


def calibration(
    truth: NDArray[np.int64], log_p: NDArray[np.float64], seed: int = 0
) -> dict[str, Any]:
    """Return the expected calibration error, and the error of a calibrated network.

    Guo et al. 2017 (ICML, eq. 3), after Naeini et al. 2015 (AAAI): the distance of accuracy from
    mean confidence in BINS bins of equal width, averaged with the sizes of the bins as weights. In
    a finite sample the error is above 0 even for a calibrated network, whose accuracy equals its
    confidence. So the mean and the 95th percentile of the error that such a network would have with
    these confidences are returned as well.
    """
    confidence, hit = _confidence(truth, log_p)
    _, bin_of = _bins(confidence)
    expected = np.bincount(bin_of, weights=confidence, minlength=BINS)
    correct = np.bincount(bin_of, weights=hit, minlength=BINS)
    errors = np.abs(_calibrated_hits(confidence, bin_of, seed) - expected).sum(1) / len(hit)
    return {
        "error": float(np.abs(correct - expected).sum() / len(hit)),
        "error_if_calibrated": float(errors.mean()),
        "error_if_calibrated_95": float(np.percentile(errors, 95)),
        "mean_confidence": float(confidence.mean()),
        "accuracy": float(hit.mean()),
        "bins": BINS,
        "binning": "equal width",
    }


def _confidence(
    truth: NDArray[np.int64], log_p: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability of the predicted class, and whether it is the true one, (n,) each."""
    return np.exp(log_p.max(1)), log_p.argmax(1) == truth


def _bins(confidence: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the edges of the bins (BINS + 1,) and the bin of each confidence (n,)."""
    edges = np.linspace(0, 1, BINS + 1)
    return edges, np.searchsorted(edges[1:-1], confidence)  # (low, high], as in Guo et al.


def _calibrated_hits(
    confidence: NDArray[np.float64], bin_of: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Simulate a calibrated network; return its hits per bin, (CALIBRATED_DRAWS, BINS)."""
    rng = np.random.default_rng(seed)
    member = np.eye(BINS)[bin_of]  # (n, BINS)
    rows = max(1, DRAWS_AT_ONCE // len(confidence))
    parts = [
        (rng.random((min(rows, CALIBRATED_DRAWS - first), len(confidence))) < confidence) @ member
        for first in range(0, CALIBRATED_DRAWS, rows)
    ]
    return np.concatenate(parts)
