"""Reading sound: formats, rates and channels against librosa; everything that is no sound."""

import librosa
import numpy as np
import pytest
import soundfile

from neuromusic import audio
from neuromusic.errors import InputError


def chirp(rate_hz, seconds=2.0):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return 0.5 * np.sin(2 * np.pi * (200 + 800 * t) * t)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [("wav", "PCM_U8", 0.02), ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6),
     ("wav", "FLOAT", 1e-7), ("au", "PCM_16", 1e-4), ("flac", "PCM_16", 1e-4),
     ("mp3", None, 0.05), ("ogg", None, 0.1)],
)  # fmt: skip
def test_formats(tmp_path, suffix, subtype, tolerance):
    path = tmp_path / f"a song.{suffix}"
    wave = chirp(22050)
    soundfile.write(path, wave, 22050, subtype=subtype)
    out = audio.read(path)
    assert out.dtype == np.float32
    assert audio.duration_s(path) == pytest.approx(2.0, abs=0.06)
    if suffix not in ("mp3", "ogg"):
        np.testing.assert_allclose(out, wave, atol=tolerance)
    else:
        theirs, _ = librosa.load(path, sr=None)
        np.testing.assert_allclose(out, theirs, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels(tmp_path, rate_hz, channels):
    wave = chirp(rate_hz)[:, None] * np.linspace(1, 0.2, channels)
    soundfile.write(tmp_path / "a.wav", wave, rate_hz, subtype="FLOAT")
    theirs, _ = librosa.load(tmp_path / "a.wav", sr=22050, mono=True, res_type="soxr_hq")
    out = audio.read(tmp_path / "a.wav")
    assert abs(len(out) - len(theirs)) <= 1
    n = min(len(out), len(theirs))
    np.testing.assert_allclose(out[:n], theirs[:n], atol=1e-4)


def test_pieces_are_the_whole(tmp_path):
    soundfile.write(tmp_path / "a.wav", chirp(48000, 5), 48000, subtype="FLOAT")
    pieces = list(audio.blocks(tmp_path / "a.wav", block_s=0.7))
    assert len(pieces) == 8
    np.testing.assert_allclose(np.concatenate(pieces), audio.read(tmp_path / "a.wav"), atol=1e-6)


def bad(name, folder):
    path = folder / f"{name}.wav"
    wave = chirp(22050, 16)
    if name == "corrupt":
        path.write_bytes(b"RIFF....WAVEnothing")
    elif name == "text":
        path.write_text("hello")
    elif name != "missing":
        wave = {"empty": wave[:0], "silent": 0 * wave, "short": wave[: 14 * 22050]}.get(name, wave)
        if name == "NaN":
            wave[500] = np.nan
        soundfile.write(path, wave, 22050, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [("empty", "expected at least 15 s"), ("silent", "is silent"), ("NaN", "holds NaN"),
     ("short", "lasts 14.00 s"), ("corrupt", "no readable sound file"),
     ("text", "no readable sound file"), ("missing", "no such file")],
)  # fmt: skip
def test_what_is_no_sound_is_named(tmp_path, name, message):
    path = bad(name, tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        audio.read(path, least_s=15)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", audio.SUFFIXES)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_file_that_is_cut_short_is_named(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    noise = 0.1 * np.random.default_rng(0).standard_normal(15 * 22050)
    soundfile.write(path, noise, 22050)
    assert len(audio.read(path, least_s=15)) >= 14.98 * 22050
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError) as caught:
        audio.read(path, least_s=15)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_samples_that_the_header_promises_are_missed_at_any_length(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, chirp(22050, 5), 22050)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"a\.{suffix}: is (cut short|no readable sound)"):
        audio.read(path)


def test_what_is_written_is_16_bit_mono(tmp_path):
    path = tmp_path / "a.wav"
    audio.write(path, chirp(22050))
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
    np.testing.assert_allclose(soundfile.read(path)[0], chirp(22050), atol=1 / 32000)
    with pytest.raises(ValueError, match="would clip"):
        audio.write(tmp_path / "b.wav", 3 * chirp(22050))
    assert not (tmp_path / "b.wav").exists()


def test_the_laboratorys_clip_of_14_99_s_is_taken(tmp_path):
    soundfile.write(tmp_path / "a.wav", chirp(22050, 14.99), 22050)
    assert len(audio.read(tmp_path / "a.wav", least_s=15)) == round(14.99 * 22050)
