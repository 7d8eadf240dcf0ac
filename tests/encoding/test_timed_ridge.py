import numpy as np
import pytest
from sklearn.linear_model import Ridge

from neuromusic.core.errors import InputError
from neuromusic.encoding.ridge import ALPHAS, fit_ridge
from neuromusic.encoding.timed_ridge import fit_products, products, residual, residual_products
from neuromusic.encoding.unique_variance import residual_design


def data(n=600, p=12, n_targets=3, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, p)) + 2).astype(np.float32)
    weights = rng.standard_normal((p, n_targets))
    y = (x @ weights + 4 * rng.standard_normal((n, n_targets)) - 3).astype(np.float32)
    return x, y, np.arange(n) * 4 // n


def test_fit_equals_fit_ridge_and_sklearn():
    x, y, groups = data()
    fit = fit_products([products(x[groups == g], y[groups == g]) for g in range(4)])
    expected = fit_ridge(x, y, groups)
    np.testing.assert_allclose(fit.alpha, expected.alpha, rtol=1e-3)
    np.testing.assert_allclose(fit.loss, expected.loss, rtol=1e-3)
    np.testing.assert_allclose(fit.predict(x), expected.predict(x), atol=1e-2)
    unit = np.square(x - x.mean(0)).sum() / min(x.shape)
    for target in range(y.shape[1]):
        oracle = Ridge(fit.alpha[target] * unit).fit(x.astype(float), y[:, target])
        np.testing.assert_allclose(fit.predict(x)[:, target], oracle.predict(x), atol=1e-2)


def test_penalty_is_that_of_the_least_error_in_groups_left_out():
    x, y, groups = data(n=80, p=30)
    fit = fit_products([products(x[groups == g], y[groups == g]) for g in range(4)])
    unit = np.square(x - x.mean(0)).sum() / min(x.shape)
    errors = [
        np.mean(
            [
                np.square(
                    y[groups == g]
                    - Ridge(a * unit).fit(x[groups != g], y[groups != g]).predict(x[groups == g])
                ).mean(0)
                for g in range(4)
            ],
            axis=0,
        )
        for a in ALPHAS
    ]
    np.testing.assert_array_equal(fit.alpha, ALPHAS[np.argmin(errors, axis=0)])


def test_residual_equals_that_of_unique_variance():
    x, y, _ = data()
    smaller = x[:, :5]
    larger = (x[:, 3:] + 0.5).astype(np.float32)  # two columns are shared
    found = residual(products(smaller, y), smaller.T @ larger, products(larger, y))
    own = found.of(smaller, larger)
    expected = residual_design(larger, smaller, np.ones(len(x), bool))
    assert found.own.tolist() == [False] * 2 + [True] * 7
    np.testing.assert_allclose(own, expected[:, 2:], atol=1e-4)


def test_products_of_a_residual_are_those_of_its_rows():
    x, y, groups = data()
    smaller, larger = x[:, :5], x[:, 5:] + x[:, :1]
    parts = [products(smaller[groups == g], y[groups == g]) for g in range(4)]
    fit = fit_products(parts)
    found = residual(products(smaller, y), smaller.T @ larger, products(larger, y))
    one = groups == 1
    got = residual_products(
        parts[1], smaller[one].T @ larger[one], products(larger[one], y[one]), found, fit
    )
    expected = products(found.of(smaller[one], larger[one]), y[one] - fit.predict(smaller[one]))
    for name in ("n", "x", "y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=1e-3, atol=0.1)


def test_a_linear_function_of_the_baseline_has_no_residual():
    x, y, _ = data()
    larger = (x @ np.ones((12, 2)) + 1).astype(np.float32)
    reason = residual(products(x, y), x.T @ larger, products(larger, y))
    assert reason == "is a linear function of the baseline's features"


def test_constant_features_are_refused():
    x, y, _ = data()
    one = products(np.ones_like(x), y)
    with pytest.raises(InputError, match="do not vary"):
        fit_products([one, one])
    with pytest.raises(InputError, match="two or more groups"):
        fit_products([one])
