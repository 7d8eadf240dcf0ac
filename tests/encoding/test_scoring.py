"""Scores and noise ceilings of encoding models, against scipy, scikit-learn and planted truth."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import r2_score

from neuromusic.encoding import scoring
from neuromusic.stats import multiple, reliability, significance


def repeated(explainable, n_rep=4, n_clips=60, n_vol=10, seed=0):
    """Return measurements and their signal; ``explainable`` is its share of the variance."""
    rng = np.random.default_rng(seed)
    shape = (n_clips, n_vol, len(explainable))
    signal = np.sqrt(explainable) * rng.normal(size=shape)
    noise = np.sqrt(1 - np.asarray(explainable)) * rng.normal(size=(n_rep, *shape))
    return (signal + noise).astype(np.float32), signal


def test_the_planted_explainable_variance_is_in_its_interval():
    planted = np.repeat([0.05, 0.2, 0.5, 0.9], 100)
    measured, signal = repeated(planted)
    ceiling = reliability.noise_ceiling(measured, np.random.default_rng(0))
    inside = (ceiling.interval[0] <= planted) & (planted <= ceiling.interval[1])
    assert 0.9 < inside.mean() < 0.99
    for level in (0.05, 0.2, 0.5, 0.9):
        assert ceiling.explainable[planted == level].mean() == pytest.approx(level, abs=0.01)
    # No prediction is better than the signal itself.
    best = scoring.correlation(signal.reshape(600, -1), measured.mean(0).reshape(600, -1))
    strong = planted > 0.1
    np.testing.assert_allclose(ceiling.r[strong], best[strong], atol=0.08)
    assert (ceiling.r - best)[strong].mean() == pytest.approx(0, abs=0.01)


def test_noise_has_no_ceiling():
    measured, _ = repeated(np.zeros(400))
    ceiling = reliability.noise_ceiling(measured, np.random.default_rng(0))
    assert abs(np.mean(ceiling.explainable)) < 0.005
    assert 0.3 < np.isnan(ceiling.r).mean() < 0.7
    assert (np.isnan(ceiling.r) == (ceiling.explainable <= 0)).all()
    with pytest.raises(ValueError, match="repeat"):
        reliability.noise_ceiling(measured[:1], np.random.default_rng(0))


def test_correlation_and_r2_are_scipys_and_scikit_learns():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 50, 4))
    b += a
    np.testing.assert_allclose(scoring.correlation(a, b), scipy.stats.pearsonr(a, b).statistic)
    np.testing.assert_allclose(scoring.r2(a, b), r2_score(a, b, multioutput="raw_values"))
    assert np.isnan(scoring.correlation(a, np.ones_like(a))).all()


def test_p_from_permuted_clips_is_that_of_a_loop():
    rng = np.random.default_rng(2)
    predicted, measured = rng.normal(size=(2, 8, 5, 3))
    measured[..., 0] += predicted[..., 0]
    p = significance.clip_permutation_p(
        scoring.clip_matches(predicted, measured), np.random.default_rng(3)
    )
    draws = np.random.default_rng(3)
    observed = scoring.correlation(predicted.reshape(40, 3), measured.reshape(40, 3))
    reached = np.zeros(3)
    for _ in range(significance.CLIP_PERMUTATIONS):
        permuted = measured[draws.permutation(8)].reshape(40, 3)
        reached += scoring.correlation(predicted.reshape(40, 3), permuted) >= observed - 1e-6
    np.testing.assert_allclose(p, (1 + reached) / (1 + significance.CLIP_PERMUTATIONS))
    assert p[0] < 0.01


def test_without_signal_p_is_uniform_and_nothing_survives_fdr():
    rng = np.random.default_rng(4)
    predicted, measured = rng.normal(size=(2, 60, 10, 500))
    p = significance.clip_permutation_p(scoring.clip_matches(predicted, measured), rng)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001
    assert (multiple.false_discovery(p) > 0.05).all()


def test_with_signal_the_right_clip_ranks_first():
    measured, signal = repeated(np.full(50, 0.5))
    matches = scoring.clip_matches(signal, measured.mean(0)).sum(0)
    assert (scoring.identification_ranks(matches) == 1).all()
    rng = np.random.default_rng(5)
    ranks = scoring.identification_ranks(rng.normal(size=(60, 60)))
    assert 20 < ranks.mean() < 41
    assert (scoring.identification_ranks(np.zeros((60, 60))) == 30.5).all()
