"""The corrected resampled t test: against a computation by hand and scipy, and its size."""

import numpy as np
import pytest
import scipy.stats

from neuromusic.encoding.sound_encoding import signed_r2
from neuromusic.stats.resampled_t import corrected_resampled_interval, corrected_resampled_t
from neuromusic.stats.resampling import random_halves


def test_t_and_p_are_those_of_the_formula():
    differences = np.array([0.02, 0.05, -0.01, 0.03, 0.04])
    result = corrected_resampled_t(differences, 82, 83)
    # mean .026, variance .00053, (1 / 5 + 83 / 82) * variance = .00064245..., root .025347
    assert result.t == pytest.approx(0.026 / np.sqrt((0.2 + 83 / 82) * 0.00053))
    assert result.df == 4
    assert result.p == pytest.approx(2 * scipy.stats.t.sf(result.t, 4))
    assert corrected_resampled_t(-differences, 82, 83).p == pytest.approx(result.p)  # two-sided


def test_without_test_items_to_share_it_is_the_ordinary_t_test():
    differences = np.random.default_rng(0).normal(0.1, 1, (12, 3))
    result = corrected_resampled_t(differences, 10**12, 1)
    expected = scipy.stats.ttest_1samp(differences, 0)
    np.testing.assert_allclose(result.t, expected.statistic, rtol=1e-9)
    np.testing.assert_allclose(result.p, expected.pvalue, rtol=1e-9)


def test_what_cannot_be_tested_is_nan():
    assert np.isnan(corrected_resampled_t(np.array([[0.1, 0.2]]), 80, 80).p).all()
    columns = np.array([[0.0, 0.3, np.nan], [0.0, 0.3, 0.1], [0.0, 0.3, 0.2]])
    assert np.isnan(corrected_resampled_t(columns, 80, 80).p).all()
    with pytest.raises(ValueError, match="n_test=0"):
        corrected_resampled_t(columns, 80, 0)


def test_two_equivalent_sets_of_features_rarely_differ():
    """Least squares on two sets that describe the same hidden causes equally well."""
    differences = []
    for draw in range(200):
        rng = np.random.default_rng([3, draw])
        causes = rng.standard_normal((100, 4))
        y = causes @ rng.standard_normal((4, 2)) + rng.standard_normal((100, 2))
        sets = [causes + rng.standard_normal((100, 4)) for _ in range(2)]
        differences.append(
            [
                np.subtract(*(_r2(x, y, train, test) for x in sets))
                for train, test in random_halves(100, 10, draw)
            ]
        )
    differences = np.moveaxis(np.array(differences), 1, 0).reshape(10, -1)
    plain = scipy.stats.ttest_1samp(differences, 0).pvalue
    corrected = corrected_resampled_t(differences, 50, 50).p
    assert np.mean(plain < 0.05) > 0.3
    # The test is conservative here; the bound is the upper 99.9 % binomial one for 200 draws.
    assert np.mean(corrected < 0.05) < scipy.stats.binom.ppf(0.999, 200, 0.05) / 200


def _r2(x, y, train, test):
    design = np.column_stack([x, np.ones(len(x))])
    weights = np.linalg.lstsq(design[train], y[train], rcond=None)[0]
    return signed_r2(y[test], design[test] @ weights)


def test_the_interval_contains_zero_exactly_if_the_test_finds_nothing():
    scores = np.random.default_rng(0).normal(0.5, 1, (10, 200))
    low, high = corrected_resampled_interval(scores, 83, 82)
    p = corrected_resampled_t(scores, 83, 82).p
    assert 0 < (p < 0.05).sum() < 200
    np.testing.assert_array_equal((low > 0) | (high < 0), p < 0.05)
    assert np.isnan(corrected_resampled_interval(scores[:1], 83, 82)).all()
