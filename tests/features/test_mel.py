"""The log-mel front end, against librosa."""

import librosa
import numpy as np
import pytest

from neuromusic.features.frontends.mel import MelSpec, log_mel, mel_hz


@pytest.mark.parametrize(("n_fft", "hop", "n_mels"), [(1024, 512, 128), (2048, 220, 64)])
def test_log_mel_matches_librosa(n_fft, hop, n_mels):
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal(22050) * np.linspace(0, 0.3, 22050)).astype(np.float32)
    wave[5000:8000] = 0
    mel = librosa.feature.melspectrogram(
        y=wave, sr=22050, n_fft=n_fft, hop_length=hop, n_mels=n_mels, pad_mode="constant"
    )
    theirs = librosa.power_to_db(mel, ref=1.0, amin=1e-8, top_db=None)
    ours = log_mel(wave, MelSpec(n_fft=n_fft, hop=hop, n_mels=n_mels))
    assert ours.shape == theirs.shape == (n_mels, 1 + 22050 // hop)
    assert ours.min() >= -80
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_frames_are_512_samples_apart_and_bands_rise():
    assert MelSpec().frame_s == 512 / 22050
    hz = mel_hz(128)
    assert len(hz) == 128
    assert (np.diff(hz) > 0).all()
    assert 0 < hz[0] < hz[-1] < 11025


@pytest.mark.parametrize("band", [10, 31, 50])
def test_a_sine_peaks_in_its_band_and_a_click_in_its_frame(band):
    t = np.arange(22050) / 22050
    sine = 0.5 * np.sin(2 * np.pi * mel_hz(64)[band] * t)
    assert (log_mel(sine, MelSpec(n_mels=64))[:, 5:-5].argmax(0) == band).all()
    click = np.zeros(22050)
    click[round(20 * MelSpec().frame_s * 22050)] = 1
    assert (log_mel(click).mean(0).argmax()) == 20


@pytest.mark.parametrize("n_mels", [10, 64, 128])
def test_the_centres_of_the_bands_match_librosa(n_mels):
    oracle = librosa.mel_frequencies(n_mels + 2, fmin=0.0, fmax=22050 / 2)[1:-1]
    np.testing.assert_allclose(mel_hz(n_mels), oracle, rtol=1e-12)
