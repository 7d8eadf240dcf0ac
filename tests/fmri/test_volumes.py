"""Resampling to volumes, delays and convolution, against pandas, scipy and nilearn."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import signal

from neuromusic.fmri import volumes
from neuromusic.fmri.hrf import hrf

TR_S, CLIP_S, VOLUMES_PER_CLIP = 1.5, 15.0, 10

frames = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 60), st.integers(1, 3)), elements=st.floats(-1e3, 1e3)
)


def binned(weights_of, x, centre_s, n_vol):
    weights = weights_of(centre_s, n_vol, TR_S)
    return weights @ x / weights.sum(1)[:, None]


@given(frames, st.floats(0.01, 4), st.floats(-3, 3), st.integers(1, 20))
def test_volumes_contain_what_a_groupby_gives(x, frame_s, start_s, n_vol):
    centre_s = start_s + frame_s * np.arange(len(x))
    weights = volumes.mean_weights(centre_s, n_vol, TR_S)
    total, count = weights @ x, weights.sum(1)
    volume = np.floor(centre_s / TR_S + 1e-9)
    grouped = pd.DataFrame(x).groupby(volume).sum().reindex(range(n_vol), fill_value=0.0)
    np.testing.assert_allclose(total, grouped.to_numpy(), atol=1e-8)
    inside = (volume >= 0) & (volume < n_vol)
    assert count.sum() == inside.sum()
    np.testing.assert_allclose(total.sum(0), x[inside].sum(0), atol=1e-8)


@given(st.integers(0, 409), st.floats(0, 0.999))
def test_a_click_lands_in_its_volume(volume, phase):
    click_s = np.array([(volume + phase) * TR_S])
    count = volumes.mean_weights(click_s, 410, TR_S).sum(1)
    assert count[volume] == 1


@given(st.integers(1, 100), st.integers(0, 40), st.integers(1, 10))
def test_frames_on_a_border_belong_to_the_later_volume(per_volume, skipped, n_vol):
    """The expected volume follows from whole numbers, however the times are rounded."""
    frame = np.arange(skipped * per_volume, (skipped + n_vol) * per_volume)
    centre_s = frame * (TR_S / per_volume)
    weights = volumes.mean_weights(centre_s, skipped + n_vol, TR_S)
    total, count = weights @ frame[:, None], weights.sum(1)
    assert list(count) == [0] * skipped + [per_volume] * n_vol
    np.testing.assert_array_equal(total[skipped:, 0], frame.reshape(n_vol, per_volume).sum(1))


@given(st.integers(7, 30), st.floats(0.02, 0.4))
def test_resampling_keeps_constants_and_averages_slow_signals(n_vol, frame_s):
    centre_s = (np.arange(round(n_vol * TR_S / frame_s)) + 0.5) * frame_s
    constant = np.full((len(centre_s), 2), 3.0)
    np.testing.assert_allclose(binned(volumes.lanczos_weights, constant, centre_s, n_vol), 3.0)
    slow = np.cos(2 * np.pi * 0.01 * centre_s)[:, None]
    middle = slice(3, n_vol - 3)
    values = [binned(w, slow, centre_s, n_vol)[middle] for w in volumes.BINNINGS.values()]
    np.testing.assert_allclose(values[0], values[1], atol=0.02)


def test_lanczos_resampling_does_not_alias_but_the_mean_does():
    """A tone above half the sampling rate of the volumes, which scipy's decimation removes too."""
    rate_hz, n_vol = 20.0, 100
    centre_s = (np.arange(round(n_vol * TR_S * rate_hz)) + 0.5) / rate_hz
    tone = np.sin(2 * np.pi * 0.55 * centre_s)[:, None]
    residue = {}
    for name, weights_of in volumes.BINNINGS.items():
        residue[name] = np.abs(binned(weights_of, tone, centre_s, n_vol))[5:-5].max()
    assert np.abs(signal.resample_poly(tone[:, 0], 1, 30)[5:-5]).max() < 0.05
    assert residue["lanczos"] < 0.1
    assert residue["mean"] > 0.2


@given(hnp.arrays(np.float64, (12, 2), elements=st.floats(-9, 9)), st.integers(0, 14))
def test_a_delay_is_a_shift_that_only_drops_the_end(x, delay):
    out = volumes.delayed(x, [delay, 0])
    np.testing.assert_array_equal(out[:, 2:], x)
    frame = pd.DataFrame(x).shift(delay, fill_value=0.0)
    np.testing.assert_array_equal(out[:, :2], frame.to_numpy())


@given(
    hnp.arrays(np.float64, (20, 2), elements=st.floats(-9, 9)),
    hnp.arrays(np.float64, st.integers(1, 25), elements=st.floats(-2, 2)),
)
def test_convolution_matches_scipy(x, kernel):
    oracle = signal.convolve(x, kernel[:, None])[: len(x)]
    np.testing.assert_allclose(volumes.convolved(x, kernel), oracle, atol=1e-9)


@pytest.mark.parametrize("name", ["spm", "glover"])
def test_a_convolved_run_matches_the_regressor_of_nilearn(name):
    """One genre on the grid, against the regressor that nilearn makes from its events."""
    first_level = pytest.importorskip("nilearn.glm.first_level")
    rng = np.random.default_rng(0)
    trials = np.sort(rng.choice(40, 8, replace=False)) + 1
    onsets, durations = trials * CLIP_S, np.full(8, CLIP_S)
    on = np.zeros((410, 1))
    for trial in trials:
        on[VOLUMES_PER_CLIP * trial :][:VOLUMES_PER_CLIP] = 1
    got = volumes.convolved(on, hrf(name, TR_S))
    times = np.arange(410) * TR_S
    condition = np.stack([onsets, durations, np.ones(8)])
    oracle, _ = first_level.compute_regressor(condition, name, times, oversampling=50)
    np.testing.assert_allclose(got[:, 0], oracle[:, 0], atol=0.02)
    assert hrf(name, TR_S).sum() == pytest.approx(1, abs=1e-4)
