"""The ten variants: one test for all of them, and each against an independent library."""

import ast
import itertools
import subprocess
import sys

import librosa
import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuromusic.features import augment
from neuromusic.features.frontends.mel import log_mel
from neuromusic.features.stft import cpu
from neuromusic.features.stft.median import moving_median
from neuromusic.features.stft.spectrum import Spectrum

CLIP = "blues.00000_15s.wav"


@pytest.fixture(scope="module")
def wave(small_clips):
    """Three seconds: long enough for the phase vocoder, and quick."""
    return soundfile.read(small_clips / CLIP, dtype="float32")[0][: 3 * 22050]


def apply(wave, index, parameters):
    return augment.apply(augment.Source(wave), index, parameters).numpy()


def variant(wave, name):
    index = augment.VARIANTS.index(name)
    parameters = augment.draw(0, CLIP, index)
    return apply(wave, index, parameters), parameters


def correlation(a, b):
    n = min(len(a), len(b))
    return np.corrcoef(log_mel(a[:n]).ravel(), log_mel(b[:n].astype(np.float32)).ravel())[0, 1]


@pytest.mark.parametrize("index", range(10))
def test_every_variant_is_valid_sound_and_can_be_repeated(wave, index):
    parameters = augment.draw(0, CLIP, index)
    out = apply(wave, index, parameters)
    assert out.dtype == np.float32
    assert 0 < len(out) <= len(wave)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1
    # Draws depend only on (seed, clip, variant): other draws in between change nothing.
    augment.draw(1, "other", index)
    assert augment.draw(0, CLIP, index) == parameters
    assert (apply(wave, index, parameters) == out).all()
    if index:
        assert augment.draw(1, CLIP, index) != parameters
        assert augment.draw(0, "rock.00001_15s.wav", index) != parameters


@pytest.mark.parametrize("index", range(10))
def test_no_variant_of_a_full_scale_wave_clips(index):
    wave = np.sign(np.sin(np.arange(22050) * 0.05)).astype(np.float32)
    wave[1000::2000] *= -1
    out = apply(wave, index, augment.draw(0, CLIP, index))
    assert np.abs(out).max() <= 1


RANGES = {
    "snr_db": [(10, 30)], "shift": [(0.1, 0.9)], "pitch_semitones": [(-3, -0.5), (0.5, 3)],
    "rate_hz": [(5000, 12000)], "gain_db": [(-12, -3)], "margin": [(1, 2)],
    "stretch": [(0.8, 0.95), (1.05, 1.25)], "speed": [(0.85, 0.95), (1.05, 1.18)],
}  # fmt: skip


LISTED = {"speed": augment.SPEEDS, "pitch": augment.PITCHES}


@pytest.mark.parametrize("index", range(1, 10))
def test_draws_fill_their_ranges(index):
    drawn = [augment.draw(seed, CLIP, index) for seed in range(400)]
    key = next(iter(drawn[0]))
    values = np.array([parameters[key] for parameters in drawn])
    ranges = RANGES[augment.VARIANTS[index] if key == "rate" else key]
    inside = [values[(low <= values) & (values <= high)] for low, high in ranges]
    assert sum(map(len, inside)) == 400
    for part, (low, high) in zip(inside, ranges, strict=True):
        assert len(part) > 400 / len(ranges) / 1.3
        if augment.VARIANTS[index] in LISTED:  # all values that the frame lengths allow
            allowed = [value for value in LISTED[augment.VARIANTS[index]] if low <= value <= high]
            assert set(part) == set(allowed)
            continue
        assert part.min() < low + 0.05 * (high - low)
        assert part.max() > high - 0.05 * (high - low)


def test_another_process_draws_the_same_parameters():
    code = (
        "from neuromusic.features.augment import VARIANTS, draw\n"
        f"print([draw(7, {CLIP!r}, index) for index in reversed(range(len(VARIANTS)))])\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    expected = [augment.draw(7, CLIP, index) for index in range(10)]
    assert ast.literal_eval(process.stdout)[::-1] == expected


def test_all_ten_variants_differ(wave):
    mels = [log_mel(apply(wave, i, augment.draw(0, CLIP, i))) for i in range(10)]
    for a, b in itertools.combinations(mels, 2):
        n = min(a.shape[1], b.shape[1])
        assert np.abs(a[:, :n] - b[:, :n]).mean() > 0.5  # dB


def test_noise_has_the_drawn_signal_to_noise_ratio(wave):
    out, parameters = variant(wave, "noise")
    ratio = 10 * np.log10(np.mean(wave**2) / np.mean((out - wave) ** 2))
    assert ratio == pytest.approx(parameters["snr_db"], abs=0.1)


def test_shift_rolls_gain_scales_and_the_original_is_unchanged(wave):
    out, parameters = variant(wave, "shift")
    assert (out == np.roll(wave, round(parameters["shift"] * len(wave)))).all()
    out, parameters = variant(wave, "gain")
    assert 20 * np.log10(out.std() / wave.std()) == pytest.approx(parameters["gain_db"], abs=1e-3)
    assert (variant(wave, "original")[0] == wave).all()


def test_stretch_matches_librosa(wave):
    out, parameters = variant(wave, "stretch")
    theirs = librosa.effects.time_stretch(wave, rate=parameters["rate"])
    assert len(out) == min(len(theirs), len(wave))
    assert correlation(out, theirs) > 0.99


def test_pitch_matches_librosa(wave):
    out, parameters = variant(wave, "pitch")
    theirs = librosa.effects.pitch_shift(
        wave, sr=22050, n_steps=parameters["pitch_semitones"], res_type="soxr_hq"
    )
    assert correlation(out, theirs) > 0.99


def test_speed_matches_resampling_by_librosa(wave):
    out, parameters = variant(wave, "speed")
    theirs = librosa.resample(wave, orig_sr=22050 * parameters["rate"], target_sr=22050)
    n = min(len(out), len(theirs))
    assert abs(len(out) - min(len(theirs), len(wave))) <= 1
    assert np.corrcoef(out[:n], theirs[:n])[0, 1] > 0.9999


def test_resample_removes_the_treble_and_nothing_else(wave):
    out, parameters = variant(wave, "resample")
    spectrum = np.abs(np.fft.rfft(out)) ** 2
    hz = np.fft.rfftfreq(len(out), 1 / 22050)
    original = np.abs(np.fft.rfft(wave)) ** 2
    treble = hz > parameters["rate_hz"] / 2 * 1.05
    bass = hz < parameters["rate_hz"] / 2 * 0.9
    assert spectrum[treble].sum() < 1e-4 * original[treble].sum()
    assert spectrum[bass].sum() == pytest.approx(original[bass].sum(), rel=0.01)


@pytest.mark.parametrize("part", ["harmonic", "percussive"])
def test_harmonic_and_percussive_parts_match_librosa(wave, part):
    out, parameters = variant(wave, part)
    theirs = getattr(librosa.effects, part)(wave, margin=parameters["margin"])
    np.testing.assert_allclose(out, theirs, atol=2e-3)
    assert correlation(out, theirs) > 0.999


def test_a_silent_gap_is_handled_as_by_librosa(wave):
    gap = wave[:22050].copy()
    gap[5000:15000] = 0
    ours = Spectrum(torch.from_numpy(gap))
    theirs = librosa.effects.hpss(gap)
    for harmonic, part in zip((True, False), theirs, strict=True):
        np.testing.assert_allclose(ours.part(harmonic, 1.0), part, atol=2e-3)
    # librosa also sets the phase of digital silence to 0.
    for rate in (0.83, 1.21):
        theirs = librosa.effects.time_stretch(gap, rate=rate)
        # From 1.0 on, librosa differs in the last hop (512 samples) of a stretched wave.
        end = len(theirs) - (512 if librosa.__version__ >= "1" else 0)
        np.testing.assert_allclose(ours.at_tempo(rate)[:end], theirs[:end], atol=5e-3)


@given(
    st.integers(1, 80), st.integers(1, 1100), st.integers(0, 2**32 - 1), st.sampled_from([9, 2**15])
)
def test_the_moving_median_equals_that_of_numpy(n, columns, seed, end):
    x = np.random.default_rng(seed).integers(0, end, (n, columns)).astype(np.int16)
    padded = np.pad(x, ((15, 15), (0, 0)), mode="symmetric")
    theirs = np.median(np.lib.stride_tricks.sliding_window_view(padded, 31, 0), axis=-1)
    np.testing.assert_array_equal(cpu.moving_median(x), theirs)
    np.testing.assert_array_equal(moving_median(torch.from_numpy(x)), theirs)


@pytest.mark.parametrize("length", [1716, 1936, 2200, 2464])
def test_another_speed_matches_soxr(wave, length):
    theirs = soxr.resample(wave, 22050 * 2048 / length, 22050)
    ours = Spectrum(torch.from_numpy(wave)).at_speed(length)
    assert abs(len(ours) - len(theirs)) <= 1
    n = min(len(ours), len(theirs))
    assert correlation(ours.numpy(), theirs) > 0.999
    assert np.corrcoef(ours[:n], theirs[:n])[0, 1] > 0.9999


@pytest.mark.parametrize("rate_hz", [5000, 8011, 12000])
def test_resampling_down_and_up_matches_soxr(wave, rate_hz):
    theirs = soxr.resample(soxr.resample(wave, 22050, rate_hz), rate_hz, 22050)
    ours = Spectrum(torch.from_numpy(wave)).without_treble(rate_hz / 22050)
    assert correlation(ours.numpy(), theirs) > 0.999


def test_variants_of_a_real_clip_match_librosa(shared):
    path = shared / "data/gtzan/genres/reggae/reggae.00003.wav"
    wave = soundfile.read(path, dtype="float32")[0][: 4 * 22050]
    for name, function in (
        ("stretch", lambda p: librosa.effects.time_stretch(wave, rate=p["rate"])),
        (
            "pitch",
            lambda p: librosa.effects.pitch_shift(
                wave, sr=22050, n_steps=p["pitch_semitones"], res_type="soxr_hq"
            ),
        ),
        ("harmonic", lambda p: librosa.effects.harmonic(wave, margin=p["margin"])),
        ("percussive", lambda p: librosa.effects.percussive(wave, margin=p["margin"])),
    ):
        out, parameters = variant(wave, name)
        least = 0.99 if name in ("stretch", "pitch") else 0.999
        assert correlation(out, function(parameters)) > least, name
