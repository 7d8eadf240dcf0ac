"""Log-mel against librosa."""

import librosa
import numpy as np

from neuromusic.features import MelSpec, log_mel, mel_hz


def test_log_mel_is_librosas():
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal(22050) * np.linspace(0, 0.3, 22050)).astype(np.float32)
    wave[5000:8000] = 0
    mel = librosa.feature.melspectrogram(
        y=wave, sr=22050, n_fft=1024, hop_length=512, n_mels=128, pad_mode="constant"
    )
    theirs = librosa.power_to_db(mel, ref=1.0, amin=1e-8, top_db=None)
    ours = log_mel(wave)
    assert ours.shape == theirs.shape == (128, 44)
    assert ours.min() >= -80
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_frames_and_bands():
    assert MelSpec().frame_s == 512 / 22050
    hz = mel_hz(128)
    assert len(hz) == 128
    assert (np.diff(hz) > 0).all()
    assert 0 < hz[0] < hz[-1] < 11025
