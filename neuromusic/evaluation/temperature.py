"""One temperature for the probabilities of an ensemble, fitted on clips that no member saw.

Temperature scaling: Guo et al. 2017, On Calibration of Modern Neural Networks, ICML, section 4.2.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.evaluation.metrics import calibration, cross_entropy
from neuromusic.training.ensemble import tempered

LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are tried


def fit_temperature(truth: NDArray[np.int64], log_p: NDArray[np.float64]) -> float:
    """Return the temperature with the lowest cross-entropy of some clips.

    ``truth`` (n,) are their labels, ``log_p`` (n, classes) their log-probabilities. The
    cross-entropy is convex in 1 / temperature, so the minimum between LOWEST and HIGHEST is unique.
    """
    from scipy.optimize import minimize_scalar  # takes a moment to import

    found = minimize_scalar(
        lambda inverse: cross_entropy(truth, tempered(log_p, 1 / inverse)),
        bounds=(1 / HIGHEST, 1 / LOWEST), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return float(1 / found.x)


def calibrated(
    truth: NDArray[np.int64], log_p: NDArray[np.float64], temperature: float
) -> dict[str, Any]:
    """Return n, cross_entropy and calibration_error of clips at a temperature."""
    at = tempered(log_p, temperature)
    return {
        "n": len(truth),
        "cross_entropy": cross_entropy(truth, at),
        "calibration_error": calibration(truth, at)["error"],
    }
