"""Scores of encoding models, against scipy and scikit-learn."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import r2_score

from neuromusic.encoding import scoring


def test_correlation_and_r2_are_scipys_and_scikit_learns():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 50, 4))
    b += a
    np.testing.assert_allclose(scoring.correlation(a, b), scipy.stats.pearsonr(a, b).statistic)
    np.testing.assert_allclose(scoring.r2(a, b), r2_score(a, b, multioutput="raw_values"))
    assert np.isnan(scoring.correlation(a, np.ones_like(a))).all()


def test_the_trace_of_clip_matches_is_the_sum_of_correlations():
    rng = np.random.default_rng(2)
    predicted, measured = rng.normal(size=(2, 8, 5, 3))
    measured += predicted
    x, y = (scoring.unit_length(each) for each in (predicted, measured))
    expected = scipy.stats.pearsonr(predicted.reshape(40, 3), measured.reshape(40, 3)).statistic
    assert np.trace(scoring.clip_matches(x, y)) == pytest.approx(expected.sum(), abs=1e-5)
    assert scoring.clip_matches(x, y)[2, 5] == pytest.approx((x[2] * y[5]).sum(), abs=1e-5)
    assert (scoring.unit_length(np.ones((8, 5, 3))) == 0).all()
