"""Reliability and ceilings against planted truth, scipy and values computed by hand."""

import numpy as np
import pytest
import scipy.stats
from scipy.ndimage import gaussian_filter1d

from neuromusic.stats import harmonics, reliability

RUNS = np.repeat(np.arange(6), 10)
DRIFT_CYCLES = 600 / 256


def repeated(explainable, seed=0):
    """Return measurements (4, 60, 10, voxels) with mean 0 in each run, and their signal."""
    rng = np.random.default_rng(seed)
    shape = (60, 10, len(explainable))
    signal = np.sqrt(explainable) * rng.normal(size=shape)
    noise = np.sqrt(1 - np.asarray(explainable)) * rng.normal(size=(4, *shape))
    measured = signal + noise
    for run in range(6):
        measured[:, run == RUNS] -= measured[:, run == RUNS].mean((0, 1, 2))
    return measured.astype(np.float32), signal


def test_the_planted_explainable_variance_is_found_and_in_its_interval():
    planted = np.repeat([0.0, 0.05, 0.2, 0.5, 0.9], 200)
    measured, _ = repeated(planted)
    powers = reliability.clip_powers(measured, RUNS, 0.0)
    share, low, high = reliability.explainable_variance(powers)
    for level in np.unique(planted):
        assert share[planted == level].mean() == pytest.approx(level, abs=0.006)
    # 1000 voxels: the standard error of the coverage is .007.
    assert 0.925 < ((low <= planted) & (planted <= high)).mean() < 0.975


def test_signal_power_is_that_of_sahani_and_linden_by_hand():
    """Two repeats of one clip: the signal power is the mean of their product."""
    measured = np.array([[1.0, -2.0, 1.0], [3.0, -1.0, -2.0]]).reshape(2, 1, 3, 1)
    powers = reliability.clip_powers(measured, np.zeros(1, int), None)
    assert powers.signal.item() == pytest.approx((3 + 2 - 2) / 3)
    assert powers.single.item() == pytest.approx((6 + 14) / 6)
    assert powers.mean.item() == pytest.approx((4 + 2.25 + 0.25) / 3)
    assert reliability.signed_reliability(powers).item() == pytest.approx(1 / (6.5 / 3))


def test_correlations_of_all_clips_are_scipys():
    rng = np.random.default_rng(1)
    predicted, measured = rng.normal(size=(2, 60, 10, 5))
    weights = reliability.clip_weights(RUNS)
    inside = np.array([[True, True, False, False, False], [False, False, True, True, True]])
    sums = reliability.correlation_draws(predicted, measured, weights, inside)
    r = scipy.stats.pearsonr(predicted.reshape(600, 5), measured.reshape(600, 5)).statistic
    assert sums.shape == (7, 2)
    np.testing.assert_allclose(sums[0], [r[:2].sum(), r[2:].sum()])
    constant = reliability.correlation_draws(0 * predicted, measured, weights, inside)
    assert (constant == 0).all()


def test_few_runs_are_halved():
    weights = reliability.clip_weights(np.repeat([3, 7], [4, 3]))
    np.testing.assert_array_equal(weights[1], [0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(weights[3:], [[1, 1, 1, 1, 0, 0, 1], [1, 1, 1, 1, 1, 1, 0]])


@pytest.mark.parametrize(("planted", "voxels"), [(0.02, 6000), (0.1, 400), (0.3, 400)])
def test_an_area_s_score_is_not_biased_by_weak_voxels(planted, voxels):
    """Others do not respond at all. The standard error is below .6 %, nine tenths of it noise."""
    explainable = np.repeat([0.0, planted], [400, voxels])
    measured, signal = repeated(explainable, seed=3)
    scale = np.sqrt(np.where(explainable > 0, explainable, 1))
    rng = np.random.default_rng(4)
    predicted = 0.6 * signal / scale + 0.8 * rng.normal(size=signal.shape)
    powers = reliability.clip_powers(measured, RUNS, 0.0)
    weights, inside = reliability.clip_weights(RUNS), (explainable > 0)[None]
    score = reliability.area_score(
        reliability.correlation_draws(predicted, measured.mean(0), weights, inside)[:, 0],
        reliability.reliability_draws(powers, weights, inside)[:, 0],
        voxels,
    )
    truth = np.sqrt(planted / (planted + (1 - planted) / 4))
    assert score.ceiling == pytest.approx(truth, rel=0.03)
    assert score.score == pytest.approx(0.6, rel=0.03)
    assert score.r_low < score.r < score.r_high
    assert score.score_low < 0.6 < score.score_high
    assert score.ceiling_low < score.ceiling < score.ceiling_high


def test_the_reliability_of_noise_has_uniform_p_values():
    measured, _ = repeated(np.zeros(2000), seed=5)
    p = reliability.reliability_test(measured, RUNS, 0.0, 1.5)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
    # A response about as smooth as a haemodynamic one that explains .1.
    rng = np.random.default_rng(6)
    smooth = gaussian_filter1d(rng.normal(size=(6, 100, 2000)), 1, axis=1, mode="wrap")
    smooth -= smooth.mean(1, keepdims=True)
    driven = measured + (smooth / smooth.std(1, keepdims=True) / 3).reshape(60, 10, 2000)
    p = reliability.reliability_test(driven.astype(np.float32), RUNS, 0.0, 1.5)
    assert (p < 0.001).mean() > 0.9


def test_what_cannot_be_estimated_is_nan():
    measured, _ = repeated(np.array([0.5, 0.5]))
    measured[..., 1] = 0
    powers = reliability.clip_powers(measured, RUNS, DRIFT_CYCLES)
    assert np.isnan(reliability.explainable_variance(powers).share).tolist() == [False, True]
    assert np.isnan(reliability.signed_reliability(powers)).tolist() == [False, True]
    p = reliability.reliability_test(measured, RUNS, DRIFT_CYCLES, 1.5)
    assert np.isnan(p).tolist() == [False, True]
    assert np.isnan(reliability.reliability_test(measured, RUNS, None, 1.5)).all()
    one_clip = reliability.clip_powers(measured[:, :1], RUNS[:1], None)
    assert np.isnan(reliability.explainable_variance(one_clip).low).all()
    none = reliability.area_score(np.array([1.0, 1.0, 1.0]), np.array([-1.0, -1.0, 2.0]), 4)
    assert none.r == 0.25
    assert np.isnan([none.ceiling, none.score, none.score_low]).all()
    with pytest.raises(ValueError, match="1 repeat"):
        reliability.clip_powers(measured[:1], RUNS, None)


def test_interpolated_noise_is_right_for_any_parabola():
    """A spectrum that is a polynomial of degree 2 is interpolated without error at all of them."""
    found = harmonics.harmonics(4, 400, DRIFT_CYCLES, 0.25)
    frequency = np.arange(201.0)
    np.testing.assert_allclose(found.noise.sum(1), 1)
    straight = found.noise @ frequency
    np.testing.assert_allclose(straight[:-1], found.at[:-1])  # the last has neighbours on one side
    slow = slice(harmonics.SLOW_HARMONICS)
    np.testing.assert_allclose((found.noise @ frequency**2)[slow], found.at[slow] ** 2.0)
