"""Corrections for multiple comparisons against R and scipy."""

import numpy as np
import pytest
import scipy.stats

from neuromusic.stats.multiple import false_discovery, holm


def test_holm_agrees_with_r():
    """p.adjust(c(.01, .04, .03, .005), "holm") in R."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]


def test_holm_does_not_count_missing_values():
    np.testing.assert_allclose(holm([0.02, np.nan, 0.9]), [0.04, np.nan, 0.9])
    assert len(holm([])) == 0


def test_false_discovery_agrees_with_the_definition():
    """q of the i-th smallest p is the minimum of k p_j / j over all j >= i."""
    p = np.array([0.03, 0.001, 0.2, 0.012, 0.9])
    in_order = [min(5 * np.sort(p)[j] / (j + 1) for j in range(i, 5)) for i in range(5)]
    expected = np.array(in_order)[scipy.stats.rankdata(p).astype(int) - 1]
    np.testing.assert_allclose(false_discovery(p), expected)
    with pytest.raises(ValueError, match="between 0"):
        false_discovery(np.array([0.5, 1.5]))
