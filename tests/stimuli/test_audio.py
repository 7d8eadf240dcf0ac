"""Sound files: formats, rates and channels against librosa; damaged files; writing."""

import fractions

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
from sounds import write_sound

from neuromusic.core.errors import InputError
from neuromusic.stimuli import audio
from neuromusic.stimuli.clips import find_sounds


def chirp(rate_hz, seconds=2.0):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return 0.5 * np.sin(2 * np.pi * (200 + 800 * t) * t)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [("wav", "PCM_U8", 0.02), ("wav", "PCM_16", 1e-4), ("wav", "PCM_24", 1e-6),
     ("wav", "FLOAT", 1e-7), ("au", "PCM_16", 1e-4), ("flac", "PCM_16", 1e-4),
     ("mp3", None, 0.05), ("ogg", None, 0.1)],
)  # fmt: skip
def test_every_format_is_read(tmp_path, suffix, subtype, tolerance):
    path = tmp_path / f"a song.{suffix}"
    wave = chirp(22050)
    soundfile.write(path, wave, 22050, subtype=subtype)
    out = audio.read(path)
    assert out.dtype == np.float32
    assert audio.duration_s(path) == pytest.approx(2.0, abs=0.06)
    if suffix not in ("mp3", "ogg"):
        np.testing.assert_allclose(out, wave, atol=tolerance)
    else:
        expected, _ = librosa.load(path, sr=None)
        np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels_match_librosa(tmp_path, rate_hz, channels):
    wave = chirp(rate_hz)[:, None] * np.linspace(1, 0.2, channels)
    soundfile.write(tmp_path / "a.wav", wave, rate_hz, subtype="FLOAT")
    expected, _ = librosa.load(tmp_path / "a.wav", sr=22050, mono=True, res_type="soxr_hq")
    out = audio.read(tmp_path / "a.wav")
    assert abs(len(out) - len(expected)) <= 1
    n = min(len(out), len(expected))
    np.testing.assert_allclose(out[:n], expected[:n], atol=1e-4)


def test_blocks_concatenate_to_the_whole(tmp_path):
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
    [("empty", "expected at least 15 s"), ("silent", "is silent"), ("NaN", "contains NaN"),
     ("short", "lasts 14.00 s"), ("corrupt", "not a readable sound file"),
     ("text", "not a readable sound file"), ("missing", "no such file")],
)  # fmt: skip
def test_a_file_without_usable_sound_is_refused_by_name(tmp_path, name, message):
    path = bad(name, tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        audio.read(path, least_s=15)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", audio.SUFFIXES)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_a_truncated_file_is_refused_by_name(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(15.1 * 22050))  # wma drops .05 s
    write_sound(path, noise, 22050)
    assert len(audio.read(path, least_s=15)) >= 14.98 * 22050
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError) as caught:
        audio.read(path, least_s=15)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_missing_samples_are_detected_whatever_length_is_expected(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, chirp(22050, 5), 22050)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"a\.{suffix}: is (truncated|not a readable sound)"):
        audio.read(path)


def test_written_files_are_16_bit_mono(tmp_path):
    path = tmp_path / "a.wav"
    audio.write(path, chirp(22050))
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
    np.testing.assert_allclose(soundfile.read(path)[0], chirp(22050), atol=1 / 32000)
    with pytest.raises(ValueError, match="would clip"):
        audio.write(tmp_path / "b.wav", 3 * chirp(22050))
    assert not (tmp_path / "b.wav").exists()


def test_the_clip_of_14_99_s_is_accepted(tmp_path):
    soundfile.write(tmp_path / "a.wav", chirp(22050, 14.99), 22050)
    assert len(audio.read(tmp_path / "a.wav", least_s=15)) == round(14.99 * 22050)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 192_000])
@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [("PCM_U8", 0.02), ("PCM_24", 1e-5), ("PCM_32", 1e-5), ("FLOAT", 1e-5), ("DOUBLE", 1e-5)],
)
def test_sample_formats_with_six_channels_match_scipy(tmp_path, rate_hz, subtype, tolerance):
    """The mean of six channels, resampled by the filter of another library."""
    path = tmp_path / "环绕 声.wav"
    t = np.arange(rate_hz) / rate_hz
    wave = np.stack([0.5 * np.sin(2 * np.pi * f * t) for f in range(200, 800, 100)], axis=1)
    soundfile.write(path, wave, rate_hz, subtype=subtype)
    out = audio.read(path)
    ratio = fractions.Fraction(audio.RATE_HZ, rate_hz)
    expected = scipy.signal.resample_poly(wave.mean(1), ratio.numerator, ratio.denominator)
    assert abs(len(out) - len(expected)) <= 1
    middle = slice(2000, -2000)  # both filters ring at the ends
    np.testing.assert_allclose(
        out[: len(expected)][middle], expected[middle], atol=tolerance + 1e-3
    )


@pytest.mark.parametrize("suffix", ["wav", "au", "flac"])
def test_constant_and_clipped_sounds_are_read_unchanged(tmp_path, suffix):
    for name, wave in (("dc", np.full(3000, 0.25)), ("clipped", np.sign(chirp(22050)))):
        path = tmp_path / f"{name}.{suffix}"
        soundfile.write(path, wave, 22050, subtype="PCM_16")
        np.testing.assert_allclose(audio.read(path), wave, atol=1e-4)


@pytest.mark.parametrize("form", ["wav", "au", "flac", "mp3", "ogg"])
def test_a_file_without_samples_is_refused(tmp_path, form):
    path = tmp_path / f"a.{form}"
    soundfile.write(path, np.zeros(0), 22050)
    with pytest.raises(InputError, match=r"is empty|not a readable sound file|is silent"):
        audio.read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"is empty|not a readable sound file"):
        audio.read(path)


def test_only_nan_or_infinity_is_refused(tmp_path):
    for value in (np.nan, np.inf, -np.inf):
        soundfile.write(tmp_path / "a.wav", np.full(500, value), 22050, subtype="DOUBLE")
        with pytest.raises(InputError, match="contains NaN or infinite"):
            audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("form", "endian"),
    [("WAV", "LITTLE"), ("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE"), ("AU", "BIG"),
     ("AU", "LITTLE"), ("OGG", "FILE")],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.97])
def test_a_file_shorter_than_its_header_declares_is_truncated(tmp_path, form, endian, share):
    """libsndfile itself reads it as a shorter file."""
    path = tmp_path / "a.x"
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * 22050)
    subtype = "VORBIS" if form == "OGG" else "PCM_16"
    soundfile.write(path, noise, 22050, format=form, subtype=subtype, endian=endian)
    assert len(audio.read(path)) == 3 * 22050
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"a\.x: is (truncated|not a readable sound file)"):
        audio.duration_s(path)


@pytest.mark.parametrize("size", [(8, 0), *[(n, n) for n in (0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF)]])
def test_a_wav_of_unknown_length_is_read_to_its_end(tmp_path, size):
    """ffmpeg and SoX write them to a pipe, and libsndfile until it closes a file."""
    path = tmp_path / "a.wav"
    soundfile.write(path, chirp(22050), 22050, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = (n.to_bytes(4, "little") for n in size)
    path.write_bytes(content)
    np.testing.assert_allclose(audio.read(path), chirp(22050), atol=1e-4)
    content[4:8] = content[40:44] = bytes(4)  # libsndfile itself reads it as an empty file
    path.write_bytes(content)
    np.testing.assert_allclose(audio.read(path), chirp(22050), atol=1e-4)
    assert audio.duration_s(path) == 2.0


def test_streamed_au_and_extra_wav_chunks_are_read(tmp_path):
    path = tmp_path / "a.au"
    soundfile.write(path, chirp(22050), 22050, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[8:12] = b"\xff" * 4
    path.write_bytes(content)
    assert len(audio.read(path)) == 2 * 22050
    path = tmp_path / "b.wav"
    with soundfile.SoundFile(path, "w", 22050, 1) as file:
        file.title = "odd"  # a LIST chunk
        file.write(chirp(22050))
    content = path.read_bytes()
    odd = b"junk" + (3).to_bytes(4, "little") + b"abc\0"  # padded to an even length
    path.write_bytes(content[:12] + odd + content[12:])
    assert len(audio.read(path)) == 2 * 22050


def test_the_real_sounds_are_complete(shared):
    paths = find_sounds(shared / "data").files
    assert len(paths) > 500
    for path in paths:
        assert audio.duration_s(path) > 0


@pytest.mark.parametrize(("rate_hz", "channels"), [(100, 1), (2_000_000, 1), (8000, 65)])
def test_impossible_rates_and_channels_are_refused(tmp_path, rate_hz, channels):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.ones((50, channels)), rate_hz)
    with pytest.raises(InputError, match=rf"declares {rate_hz} Hz and {channels} channels"):
        audio.read(tmp_path / "a.wav")


def test_large_blocks_are_decoded_in_small_parts(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.stack([chirp(48000, 5)] * 2, 1), 48000, subtype="FLOAT")
    whole = audio.read(tmp_path / "a.wav")
    monkeypatch.setattr(audio, "MOST_VALUES", 5000)
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), whole, atol=1e-6)
    assert len(list(audio.blocks(tmp_path / "a.wav", block_s=0.7))) == 8
