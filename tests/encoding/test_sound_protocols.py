"""The protocol of Tuckute et al. (2023), the best stage, and the table with published values."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from neuromusic.core.errors import InputError
from neuromusic.core.figures import FigureStyle
from neuromusic.encoding import sound_plots, sound_ridge, sound_tables
from neuromusic.encoding.sound_encoding import (
    BASELINE,
    FeatureSet,
    ScoredSet,
    Scores,
    best_stage,
    clipped_r2,
    score,
)
from neuromusic.encoding.sound_ridge import LOO_ALPHAS, predict_loo
from neuromusic.stats.multiple import holm
from neuromusic.stats.resampled_t import corrected_resampled_t
from neuromusic.stats.resampling import random_halves

COMPONENTS = ["lowfreq", "highfreq", "envsounds", "pitch", "speech", "music"]

# --- Leave-one-out --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_features", [5, 81, 84, 400])
def test_ridge_with_leave_one_out_is_that_of_scikit_learn(n_features):
    rng = np.random.default_rng(n_features)
    x = rng.standard_normal((165, n_features)) * np.exp(rng.standard_normal(n_features)) + 5
    y = x @ rng.standard_normal((n_features, 3)) / np.sqrt(n_features) + 3
    y += 2 * rng.standard_normal(y.shape)
    train, test = np.arange(83), np.arange(83, 165)
    found = predict_loo(x[train], y[train], x[test])
    reference = RidgeCV(10.0 ** np.arange(-50, 50), alpha_per_target=True).fit(x[train], y[train])
    np.testing.assert_allclose(found.alpha, reference.alpha_)
    np.testing.assert_allclose(found.loss, -reference.best_score_, rtol=1e-7)
    np.testing.assert_allclose(found.predicted, reference.predict(x[test]), rtol=1e-7, atol=1e-7)


def test_joined_blocks_are_a_ridge_on_standardised_features_of_equal_weight():
    rng = np.random.default_rng(5)
    blocks = [rng.standard_normal((60, 8)) * 100 + 3, rng.standard_normal((60, 200)) / 100]
    y = blocks[0][:, :2] / 100 + 30 * blocks[1][:, :2] + rng.standard_normal((60, 2))
    halves = random_halves(60, 3, 0)
    found = score(blocks, y, halves, "tuckute2023", joined=True)
    for row, (train, test) in enumerate(halves):
        scaled = [
            StandardScaler().fit(block[train]).transform(block) / np.sqrt(block.shape[1])
            for block in blocks
        ]
        x = np.concatenate(scaled, axis=1)
        ridge = RidgeCV(10.0 ** np.arange(-12, 12), alpha_per_target=True).fit(x[train], y[train])
        r = [scipy.stats.pearsonr(y[test, t], ridge.predict(x[test])[:, t])[0] for t in range(2)]
        np.testing.assert_allclose(found.r2[row], np.square(np.clip(r, 0, None)), rtol=1e-5)


def test_the_error_in_closed_form_is_that_of_fits_without_one_sound():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 50)), rng.standard_normal((30, 1))
    y += x[:, :5].sum(1, keepdims=True)
    found = predict_loo(x, y, x)
    held = cross_val_predict(Ridge(found.alpha[0]), x, y[:, 0], cv=LeaveOneOut())
    np.testing.assert_allclose(found.loss, np.square(y[:, 0] - held).mean(), rtol=1e-9)


def test_tiny_penalties_are_exact(monkeypatch):
    """With n - 1 features RidgeCV loses the error in rounding; least squares does not."""
    rng = np.random.default_rng(82)
    x = rng.standard_normal((83, 82)) * np.exp(rng.standard_normal(82))
    y = x @ rng.standard_normal((82, 1))
    monkeypatch.setattr(sound_ridge, "LOO_ALPHAS", np.array([1e-18]))
    found = predict_loo(x, y, x)
    errors = []
    for left_out in range(83):
        kept = np.arange(83) != left_out
        x_mean, y_mean = x[kept].mean(0), y[kept].mean()
        weights = np.linalg.pinv(x[kept] - x_mean, rcond=1e-12) @ (y[kept, 0] - y_mean)
        errors.append(y[left_out, 0] - y_mean - (x[left_out] - x_mean) @ weights)
    np.testing.assert_allclose(found.loss[0], np.mean(np.square(errors)), rtol=1e-6)


def test_more_features_than_rank_and_inactive_features_are_no_problem():
    rng = np.random.default_rng(1)
    causes = rng.standard_normal((60, 3))
    x = np.concatenate([causes @ rng.standard_normal((3, 200)), np.zeros((60, 20))], axis=1)
    y = causes[:, [0]] + 0.1 * rng.standard_normal((60, 1))
    found = predict_loo(x[:30], y[:30], x[30:])
    assert clipped_r2(y[30:], found.predicted)[0] > 0.9
    with pytest.raises(InputError, match="no feature differs"):
        predict_loo(np.ones((30, 4)), y[:30], np.ones((30, 4)))


def test_scores_of_the_protocol_are_clipped_and_features_are_not_scaled():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((165, 20)) * np.logspace(-2, 2, 20)
    y = np.stack([x @ rng.standard_normal(20), rng.standard_normal(165)], axis=1)
    y[:, 0] += y[:, 0].std() * rng.standard_normal(165)
    halves = [(larger, smaller) for smaller, larger in random_halves(165, 4, 0)]
    assert [len(half) for half in halves[0]] == [83, 82]
    scores = score([x], y, halves, "tuckute2023")
    for row, (train, test) in enumerate(halves):
        for column in range(2):
            fit = RidgeCV(LOO_ALPHAS).fit(x[train], y[train, column])
            r = scipy.stats.pearsonr(fit.predict(x[test]), y[test, column]).statistic
            assert scores.r2[row, column] == pytest.approx(max(r, 0) ** 2, abs=1e-6)
    assert clipped_r2(np.arange(5.0)[:, None], -np.arange(5.0)[:, None])[0] == 0
    assert clipped_r2(np.arange(5.0)[:, None], np.ones((5, 1)))[0] == 0


# --- The best stage -------------------------------------------------------------------------------


def test_the_best_stage_is_chosen_by_the_training_error_of_each_split_and_target():
    shape = (3, 2)
    loss = {"A1": [[1, 9], [1, 9], [5, 9]], "PB": [[2, 1], [2, 1], [2, 1]]}
    scored = [
        ScoredSet(
            FeatureSet("trained", name, []),
            Scores(np.full(shape, r2), np.zeros(shape), np.array(loss[name], float),
                   np.zeros(shape, bool)),
        )
        for name, r2 in (("A1", 0.1), ("PB", 0.2))
    ]  # fmt: skip
    best = best_stage(scored, "trained", ["A1", "PB"])
    assert best.chosen.tolist() == [["A1", "PB"], ["A1", "PB"], ["PB", "PB"]]
    np.testing.assert_allclose(best.scores.r2, [[0.1, 0.2], [0.1, 0.2], [0.2, 0.2]])


@pytest.mark.parametrize("protocol", ["ours", "tuckute2023"])
def test_the_best_of_equivalent_stages_is_no_better_than_their_mean(protocol):
    gains, naive = [], []
    for draw in range(3):
        rng = np.random.default_rng([5, draw])
        causes = rng.standard_normal((120, 5))
        y = causes @ rng.standard_normal((5, 40)) + 2 * rng.standard_normal((120, 40))
        halves = random_halves(120, 3, draw)
        names = list("abcd")
        scored = [
            ScoredSet(
                FeatureSet("trained", name, []),
                score([causes + rng.standard_normal((120, 5))], y, halves, protocol),
            )
            for name in names
        ]
        r2 = np.array([each.scores.r2 for each in scored])
        gains.append(best_stage(scored, "trained", names).scores.r2.mean() - r2.mean())
        naive.append(r2.mean(1).max(0).mean() - r2.mean())
    assert np.mean(naive) > 0.02  # the best of four on the sounds that chose it
    assert abs(np.mean(gains)) < 0.01


# --- Tables ---------------------------------------------------------------------------------------


def scored_sets(rng, n_targets=6, n_splits=10):
    shape = (n_splits, n_targets)
    names = [("none", "bands"), ("none", BASELINE)]
    names += [(network, name) for network in ("trained", "random") for name in ("A1", "PB")]
    scored = [
        ScoredSet(
            FeatureSet(network, name, [np.zeros((165, 7))]),
            Scores(*(rng.random(shape) for _ in range(3)), np.zeros(shape, bool)),
        )
        for network, name in names
    ]
    return [*scored, *(best_stage(scored, name, ["A1", "PB"]) for name in ("trained", "random"))]


def test_differences_are_tested_with_the_correction_and_corrected_over_the_stages():
    scored = scored_sets(np.random.default_rng(0))
    table = sound_tables.target_table(scored, COMPONENTS, 82, 83, "ours")
    rows = table.set_index(["network", "features", "target"])
    over = scored[2].scores.r2[:, 3] - scored[1].scores.r2[:, 3]
    expected = corrected_resampled_t(over, 82, 83)
    row = rows.loc[("trained", "A1", "pitch")]
    assert row["over_baseline"] == pytest.approx(over.mean())
    assert (row["over_baseline_t"], row["over_baseline_p"]) == pytest.approx(
        (expected.t, expected.p)
    )
    p = [rows.loc[("trained", name, "pitch"), "over_baseline_p"] for name in ("A1", "PB")]
    corrected = [
        rows.loc[("trained", name, "pitch"), "over_baseline_p_holm"] for name in ("A1", "PB")
    ]
    np.testing.assert_allclose(corrected, holm(p))
    best = rows.loc[("trained", "best stage", "pitch")]
    assert best["over_baseline_p_holm"] == best["over_baseline_p"]
    assert best["note"].startswith("chosen in each training half by ten-fold cross-validation: ")
    assert pd.isna(best["n_features"]) and row["n_features"] == 7
    assert pd.isna(rows.loc[("none", BASELINE, "pitch"), "over_baseline_p"])


def test_the_protocol_decides_between_mean_and_median():
    scored = scored_sets(np.random.default_rng(1))
    for protocol, summary in (("ours", np.mean), ("tuckute2023", np.median)):
        table = sound_tables.target_table(scored, COMPONENTS, 83, 82, protocol)
        assert table["r2"][0] == pytest.approx(summary(scored[0].scores.r2[:, 0]))
        assert set(table["protocol"]) == {protocol}


def test_published_values_are_those_of_the_six_components_whatever_their_spelling():
    spelt = ["Low frequency", "high-freq", "EnvSounds", "Pitch", "speech", "music"]
    table = sound_tables.published_rows(spelt, 165).set_index(["features", "target"])
    assert table.loc[("CochResNet50-MultiTask", "Low frequency"), "r2"] == 0.88
    assert table.loc[("SpectroTemporal", "music"), "r2"] == 0.34
    assert table["note"].str.contains("e3002366").all() and len(table) == 36
    assert sound_tables.published_rows(spelt, 100).empty
    assert sound_tables.published_rows(["pitch", "speech"], 165).empty


def test_published_values_have_a_place_of_their_own_in_the_figure():
    scored = scored_sets(np.random.default_rng(2))
    table = sound_tables.target_table(scored, COMPONENTS, 83, 82, "tuckute2023")
    published = sound_tables.published_rows(COMPONENTS, 165)
    both = pd.concat([table, published], ignore_index=True)
    names = ["A1", "PB", "best stage"]
    figure = sound_plots.stages(both, None, names, 10, FigureStyle())
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == [*names, "published"]
    line = next(each for each in figure.axes[0].lines if each.get_label() == "published networks")
    np.testing.assert_allclose(line.get_ydata(), [0.88, 0.87, 0.82, 0.84])
    assert set(line.get_xdata()) == {3}
