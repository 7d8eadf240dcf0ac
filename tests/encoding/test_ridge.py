"""Ridge regression with one penalty per target, against scikit-learn on all rows."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from neuromusic.core.errors import InputError

pytest.importorskip("himalaya")

from himalaya.scoring import l2_neg_loss

from neuromusic.encoding import ridge
from neuromusic.encoding.fit_rows import penalty_groups
from neuromusic.encoding.ridge import ALPHAS, fit_ridge


def problem(n=240, features=30, targets=6, runs=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)) * np.geomspace(3, 0.1, features) + 1
    noise = np.geomspace(0.3, 30, targets)
    y = x @ rng.normal(size=(features, targets)) + noise * rng.normal(size=(n, targets)) - 2
    return x, y, np.repeat(np.arange(runs), n // runs)


@pytest.mark.parametrize(("n", "features"), [(240, 30), (60, 200)])
def test_penalties_weights_and_predictions_are_those_of_scikit_learn(n, features):
    x, y, runs = problem(n, features)
    fit = fit_ridge(x, y, runs)
    unit = ((x - x.mean(0)) ** 2).sum() / min(x.shape)
    errors = []
    for alpha in ALPHAS:
        out = cross_val_predict(Ridge(alpha=alpha * unit), x, y, groups=runs, cv=LeaveOneGroupOut())
        errors.append(((y - out) ** 2).mean(0))
    best = np.argmin(errors, axis=0)
    np.testing.assert_allclose(fit.alpha, ALPHAS[best], rtol=1e-3)
    assert len(set(best)) > 1
    new = np.random.default_rng(1).normal(size=(20, features))
    for target, alpha in enumerate(ALPHAS[best]):
        oracle = Ridge(alpha=alpha * unit).fit(x, y[:, target])
        scale = np.abs(oracle.coef_).max()
        np.testing.assert_allclose(fit.weights[:, target], oracle.coef_, atol=2e-3 * scale)
        np.testing.assert_allclose(
            fit.predict(new)[:, target], oracle.predict(new), atol=5e-3 * np.abs(y[:, target]).max()
        )


def test_losses_are_those_of_himalaya():
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV
    from sklearn.model_selection import PredefinedSplit

    set_backend("numpy")
    x, y, runs = problem(n=600, features=80, targets=40)
    fit = fit_ridge(x, y, runs)
    unit = ((x - x.mean(0)) ** 2).sum() / x.shape[1]
    model = RidgeCV(alphas=ALPHAS * unit, cv=PredefinedSplit(runs), fit_intercept=True)
    model.set_params(solver_params={"score_func": l2_neg_loss}).fit(x, y)
    np.testing.assert_allclose(fit.alpha * unit, model.best_alphas_, rtol=1e-6)
    error = np.abs(fit.loss + np.ravel(model.cv_scores_)) / y.var(0)
    assert error.max() < 1e-5
    expected = model.predict(x)
    np.testing.assert_allclose(fit.predict(x), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("spread", [1, 2, 4, 8])
def test_predictions_for_all_penalties_follow_from_those_for_a_few(spread):
    values = np.logspace(-spread, 0, 300)
    chosen, others, factors = ridge._computed_penalties(values, ALPHAS * values.mean())
    shrinkage = values / (ALPHAS[:, None] * values.mean() + values)
    error = np.abs(factors @ shrinkage[chosen] - shrinkage[others]).max(1)
    assert (error < ridge.ROUNDING * shrinkage[others].max(1)).all()
    assert sorted(chosen + others) == list(range(len(ALPHAS)))
    assert len(chosen) <= 10


def test_the_size_of_the_blocks_of_targets_has_no_effect(monkeypatch):
    x, y, runs = problem(targets=7)
    whole = fit_ridge(x, y, runs)
    monkeypatch.setattr("neuromusic.encoding.ridge.MOST_VALUES", 1)
    blocks = fit_ridge(x, y, runs)
    np.testing.assert_allclose(whole.weights, blocks.weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(whole.alpha, blocks.alpha)


def test_penalties_at_the_edges_of_the_grid_are_marked():
    x, y, runs = problem()
    noise = np.random.default_rng(2).normal(size=y.shape)
    assert fit_ridge(x, noise, runs).highest.any()
    exact = x @ np.ones((x.shape[1], 2))
    fit = fit_ridge(x, exact, runs, alphas=np.array([1.0, 10.0]))
    assert fit.lowest.all()
    assert not fit.highest.any()


def test_banded_ridge_gives_little_share_to_a_band_of_noise():
    x, y, runs = problem(targets=4)
    noise = np.random.default_rng(3).normal(size=(len(x), 60)) * 3
    both = np.hstack([x, noise])
    fit = fit_ridge(both, y, runs, bands=[30, 60])
    assert (fit.share[0] > 0.5)[:3].all()
    np.testing.assert_allclose(fit.share.sum(0), 1, atol=1e-5)
    # scikit-learn, with the same shares and penalty, on scaled features.
    for target in range(4):
        root = np.repeat(np.sqrt(fit.share[:, target]), [30, 60])
        unit = ((both - both.mean(0)) ** 2).sum() / min(both.shape)
        oracle = Ridge(alpha=fit.alpha[target] * unit).fit(both * root, y[:, target])
        np.testing.assert_allclose(
            fit.weights[:, target],
            oracle.coef_ * root,
            atol=5e-3 * np.abs(oracle.coef_ * root).max(),
        )


def test_random_divisions_find_the_one_band_of_six_that_matters():
    rng = np.random.default_rng(4)
    common = rng.normal(size=(400, 1, 4))
    x = rng.normal(size=(400, 6, 4)) + 0.5 * common
    signal = x[:, 0] @ rng.normal(size=(4, 8))
    y = signal / signal.std(0) + rng.normal(size=(400, 8))
    fit = fit_ridge(x.reshape(400, -1), y, np.repeat(np.arange(4), 100), bands=[4] * 6)
    assert fit.share[0].mean() > 0.7  # 30 divisions find .2


@pytest.mark.parametrize("fault", ["one run", "NaN", "constant"])
def test_features_that_cannot_be_fitted_are_refused(fault):
    x, y, runs = problem()
    if fault == "one run":
        runs = np.zeros_like(runs)
    else:
        x = np.where(np.arange(30) == 3, np.nan, x) if fault == "NaN" else np.ones_like(x)
    with pytest.raises(InputError, match="ridge"):
        fit_ridge(x, y, runs)


def test_a_single_run_is_divided_to_choose_a_penalty():
    runs = np.array([4] * 7 + [2] * 5)
    np.testing.assert_array_equal(penalty_groups(runs), runs)
    groups = penalty_groups(np.full(103, 3))
    assert (np.diff(groups) >= 0).all()
    assert np.bincount(groups).min() >= 20 and len(np.unique(groups)) == 5
