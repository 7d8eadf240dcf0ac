"""The variance of a contrast, against scikit-learn's fits of noise and a two-sample formula."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from neuromusic.stats.contrasts import contrast_variance


def test_two_groups_have_the_variance_of_a_difference_of_means():
    design = np.repeat(np.eye(2), [5, 20], axis=0)
    assert contrast_variance(design, np.array([1, -1])) == pytest.approx(1 / 5 + 1 / 20)


def test_it_is_the_variance_of_the_estimates_in_noise():
    rng = np.random.default_rng(0)
    design = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    contrast = np.array([1.0, -1, 0, 0.5])
    noise = 3 * rng.normal(size=(60, 4000))
    estimates = LinearRegression(fit_intercept=False).fit(design, noise).coef_ @ contrast
    # The variance of 4 000 normal values is known to 2.2 % (one standard error).
    assert np.var(estimates) == pytest.approx(9 * contrast_variance(design, contrast), rel=0.09)


def test_a_singular_design_determines_some_contrasts():
    groups = np.repeat(np.eye(2), 4, axis=0)
    design = np.column_stack([groups, np.ones(8)])  # the groups add up to the constant
    assert contrast_variance(design, np.array([1, -1, 0])) == pytest.approx(0.5)
    assert contrast_variance(design, np.array([1, 0, 0])) == np.inf
