"""All front ends, against scipy, numpy and sounds with known features; log-mel: test_mel."""

import json

import numpy as np
import pytest
import scipy.signal

from neuromusic.core.errors import InputError
from neuromusic.features.frontends.base import describe, front_end, front_end_names
from neuromusic.features.frontends.cochleagram import CochleaSpec, erb_spaced_hz
from neuromusic.features.frontends.mel import mel_hz
from neuromusic.features.frontends.modulation import ModulationSpec
from neuromusic.features.frontends.scattering import ScatteringSpec
from neuromusic.stimuli.audio import RATE_HZ


def noise(seconds, seed=0):
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("name", front_end_names())
def test_every_front_end_has_frames_centred_on_their_time_and_a_floor(name):
    spec = front_end(name)
    assert front_end(**json.loads(json.dumps(describe(spec)))) == spec
    wave = 0.1 * noise(2.3)
    rows = spec.compute(wave)
    assert rows.shape == (spec.n_channels * spec.n_bands, spec.n_frames(len(wave)))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert (spec.n_frames(len(wave)) - 1) * spec.frame_s <= 2.3
    np.testing.assert_array_equal(spec.compute(wave), rows)
    silent = spec.compute(np.zeros_like(wave))
    assert np.abs(silent - spec.floor).max() < 1e-3
    # A click is loudest in the frame centred on it.
    click = np.zeros_like(wave)
    click[round(1.2 * RATE_HZ)] = 1.0
    loudest = spec.compute(click).sum(0).argmax()
    assert abs(loudest * spec.frame_s - 1.2) <= spec.frame_s


def test_the_error_for_an_unknown_front_end_suggests_a_similar_one():
    with pytest.raises(InputError, match="did you mean 'cochleagram'"):
        front_end("cochleogram")


def test_the_cochleagram_has_the_energies_of_scipys_gammatone_filters():
    """scipy's filters are recursive, with the same bandwidths."""
    spec = CochleaSpec()
    wave = 0.1 * noise(3.0)
    # Amplitude modulation gives the two something in time to agree on.
    wave *= 1 + 0.9 * np.sin(2 * np.pi * 3 * np.arange(len(wave)) / RATE_HZ).astype(np.float32)
    ours = spec.compute(wave)
    for band in (12, 30, 50):
        hz = spec.centre_hz[band]
        b, a = scipy.signal.gammatone(hz, "iir", fs=RATE_HZ)
        theirs = scipy.signal.lfilter(b, a, wave) ** 2
        edges = np.arange(2, 120) * spec.hop - spec.hop // 2
        delay = round(3 / (2 * np.pi * 1.019 * 24.7 * (4.37 * hz / 1000 + 1)) * RATE_HZ)
        energy = np.add.reduceat(np.roll(theirs, -delay), edges)[:-1] / spec.hop
        frames = 10 ** (ours[band, 2 : 2 + len(energy)] / 10)
        assert abs(10 * np.log10(frames.mean() / energy.mean())) < 0.5
        assert np.corrcoef(np.log(frames), np.log(energy))[0, 1] > 0.95


def test_erb_spacing_equals_published_values():
    # Slaney 1993 (Apple TR 35): the ERB rate of 1 kHz is 15.6.
    hz = erb_spaced_hz(50, 10_000, 5)
    rate = 21.4 * np.log10(0.00437 * hz + 1)
    np.testing.assert_allclose(np.diff(rate), np.diff(rate)[0])
    assert abs(21.4 * np.log10(4.37 + 1) - 15.6) < 0.05


@pytest.mark.parametrize(("rate_hz", "scale"), [(4.0, 1.0), (-4.0, 1.0), (8.0, 0.5), (-2.0, 2.0)])
def test_a_ripple_is_strongest_in_the_channel_of_its_rate_and_scale(rate_hz, scale):
    spec = ModulationSpec()
    octave = np.log2(mel_hz(spec.n_mels) / 90)[:, None]
    time = np.arange(600)[None, :] * spec.mel_frame_s
    mel = -40 + 10 * np.cos(2 * np.pi * (rate_hz * time + scale * octave))
    rows = spec.compute_from_mel(mel.astype(np.float32)).reshape(spec.n_channels, spec.n_bands, -1)
    middle = rows[:, 4:14, 20:-20].mean((1, 2))
    channels = [
        (direction * rate, s)
        for direction in (1, -1)
        for rate in spec.usable_rates_hz
        for s in spec.scales
    ]
    assert channels[int(middle.argmax())] == (rate_hz, scale)
    assert middle.max() == pytest.approx(10, rel=0.15)  # the ripple's own amplitude, in dB


def test_rates_above_a_third_of_the_frame_rate_are_left_out():
    assert ModulationSpec(mel_frame_s=0.07755).usable_rates_hz == (1.0, 2.0, 4.0)


def test_scattering_equals_convolution_with_the_wavelets():
    spec = ScatteringSpec()
    wave = 0.1 * noise(2.0)
    rows = spec.compute(wave).reshape(spec.n_channels, spec.n_bands, -1)
    n = len(wave)
    padded = np.concatenate([wave, np.zeros(n, np.float32)]).astype(np.float64)
    hz = np.fft.fftfreq(2 * n, 1 / RATE_HZ)

    def filtered(x, centre_hz, deviation_hz, analytic=True):
        gain = np.exp(-0.5 * ((hz - centre_hz) / deviation_hz) ** 2)
        gain = np.where(hz > 0, 2 * gain, 0) if analytic else gain
        return np.fft.ifft(np.fft.fft(x) * gain)

    average_hz = 0.1 * RATE_HZ / spec.average
    at = np.arange(rows.shape[2]) * spec.hop
    for band, channel in ((20, 3), (45, 5)):
        centre_hz = spec.first_hz[band]
        envelope = np.abs(filtered(padded, centre_hz, spec.first_width_hz(centre_hz)))
        first = filtered(envelope, 0, average_hz, analytic=False).real[at]
        np.testing.assert_allclose(rows[0, band], 20 * np.log10(first), atol=0.1)
        rate_hz = spec.second_hz[channel - 1]
        twice = np.abs(filtered(envelope, rate_hz, rate_hz * np.sqrt(1 / np.log(2)) / 3))
        second = filtered(twice, 0, average_hz, analytic=False).real[at]
        np.testing.assert_allclose(rows[channel, band, 2:-2], 20 * np.log10(second[2:-2]), atol=0.5)
