"""The small size of experiments/benchmarks/nulls.py: sizes, biases and coverages."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def table():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return list(importlib.import_module("nulls").table("small"))
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.slow
def test_null_voxels_and_areas_are_significant_as_often_as_stated(table):
    """Within four binomial standard errors, and the tolerance that docs/statistics.md states."""
    rows = [row for row in table if row["data"].startswith("null") and row["< .05"] is not None]
    assert {row["statistic"] for row in rows} >= {"p of r", "p of the reliability", "p of rho"}
    for row in rows:
        conservative = row["statistic"] in ("prevalence", "corrected resampled t")
        for level, tolerance in ((0.05, 0.012), (0.01, 0.006), (0.001, 0.002)):
            share, error = row[f"< {level:g}".replace("0.", ".")], np.sqrt(level / row["n"])
            assert share < level + tolerance + 4 * error, row
            if not conservative:
                assert share > level - tolerance - 4 * error, row


@pytest.mark.slow
def test_intervals_contain_the_truth_in_95_percent_of_cases(table):
    rows = [row for row in table if row["coverage"] is not None]
    for row in rows:
        error = np.sqrt(0.05 * 0.95 / max(1, row["n"]))
        assert row["coverage"] > 0.9 - 4 * error, row
