"""Sound files as people have them: wrong headers, damage, channels that cancel, many formats."""

import os
import struct

import numpy as np
import pytest
import scipy.signal
import soundfile
from helpers import neuromusic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sounds import FORMATS, LOSSLESS, ffmpeg, write_sound

from neuromusic.core.errors import InputError
from neuromusic.stimuli import audio
from neuromusic.stimuli.ffmpeg import SUFFIXES as FFMPEG_SUFFIXES
from neuromusic.stimuli.sound_headers import layout_of

RATE_HZ = 44_100
SECONDS = 10


def crescendo(rate_hz=RATE_HZ, seconds=SECONDS):
    """A quiet start, so that the first frames of a VBR mp3 are small."""
    rng = np.random.default_rng(0)
    n = round(rate_hz * seconds)
    return 0.2 * rng.standard_normal(n) * np.linspace(0, 1, n) ** 4


@pytest.fixture(scope="module")
def mp3(tmp_path_factory):
    """The bytes of a VBR and of a CBR mp3, and the length of their first frame."""
    folder = tmp_path_factory.mktemp("mp3")
    content = {}
    for mode in ("VARIABLE", "CONSTANT"):
        path = folder / f"{mode}.mp3"
        soundfile.write(
            path, crescendo(), RATE_HZ, subtype="MPEG_LAYER_III", bitrate_mode=mode,
            compression_level=0.5,
        )  # fmt: skip
        content[mode] = path.read_bytes()
    return content


def with_count(content, n_frames=None, n_bytes=None):
    """Change what the first frame of an mp3 declares."""
    at = max(content.find(b"Xing"), content.find(b"Info"))
    out = bytearray(content)
    if n_frames is not None:
        out[at + 8 : at + 12] = struct.pack(">I", n_frames)
    if n_bytes is not None:
        out[at + 12 : at + 16] = struct.pack(">I", n_bytes)
    return bytes(out)


def without_first_frame(content):
    return content[content.find(content[:2], 100) :]


# --- mp3: the header's number of frames -----------------------------------------------------------


@pytest.mark.parametrize("n_frames", [0, 1, 100, 380, 383, 385, 388, 1000, 100_000, 0xFFFFFFFF])
def test_an_mp3_with_a_wrong_number_of_frames_is_read_completely(tmp_path, mp3, n_frames):
    right, wrong = tmp_path / "right.mp3", tmp_path / "wrong.mp3"
    right.write_bytes(mp3["VARIABLE"])
    wrong.write_bytes(with_count(mp3["VARIABLE"], n_frames))
    assert audio.duration_s(wrong) == audio.duration_s(right) == SECONDS
    np.testing.assert_array_equal(audio.read(wrong), audio.read(right))


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
@pytest.mark.parametrize("tag", ["removed", "blanked"])
def test_an_mp3_without_a_header_frame_is_read_completely(tmp_path, mp3, mode, tag):
    path = tmp_path / "a.mp3"
    content = mp3[mode]
    if tag == "removed":
        content = without_first_frame(content)
    else:
        content = content.replace(b"Xing", bytes(4), 1).replace(b"Info", bytes(4), 1)
    path.write_bytes(content)
    assert audio.duration_s(path) == pytest.approx(SECONDS, abs=0.08)
    wave = audio.read(path)
    assert len(wave) / audio.RATE_HZ == pytest.approx(SECONDS, abs=0.08)
    (tmp_path / "whole.mp3").write_bytes(mp3[mode])
    # Decimated, because the sound begins later by half a sample.
    wave, expected = (
        scipy.signal.decimate(x, 8) for x in (wave, audio.read(tmp_path / "whole.mp3"))
    )
    lag = np.argmax(scipy.signal.correlate(wave, expected, method="fft")) - len(expected) + 1
    n = min(len(wave) - lag, len(expected))
    assert np.corrcoef(wave[lag : lag + n], expected[:n])[0, 1] > 0.98


def test_validate_and_lists_accept_it_and_see_its_whole_length(tmp_path, mp3):
    for genre in ("jazz", "rock"):
        folder = tmp_path / "genres" / genre
        folder.mkdir(parents=True)
        for number in range(2):
            path = folder / f"{genre}{number}.mp3"
            soundfile.write(
                path, crescendo(seconds=16 + number) * (1 if genre == "rock" else 0.5), RATE_HZ,
                subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5,
            )  # fmt: skip
            path.write_bytes(without_first_frame(path.read_bytes()))
    done = neuromusic("stimuli", "validate", "folder", "genres", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no problems\n"), done.stdout + done.stderr
    path.write_bytes(path.read_bytes()[:30_000])
    done = neuromusic("stimuli", "validate", "folder", "genres", cwd=tmp_path)
    assert done.returncode == 1
    assert "short: genres/rock/rock1.mp3" in done.stdout


@pytest.mark.parametrize("tag", ["ID3v1", "APEv2", "Lyrics3", "cover", "all"])
@pytest.mark.parametrize("header", ["right", "removed"])
def test_tags_around_an_mp3_are_not_sound(tmp_path, mp3, tag, header):
    """A picture may contain what looks like frames."""
    content = mp3["VARIABLE"]
    path = tmp_path / "a.mp3"
    path.write_bytes(content if header == "right" else without_first_frame(content))
    expected = audio.read(path)
    id3 = b"TAG" + b"x" * 125
    items = b"\xff\xfb\x90\xc4" * 800
    ape = items + b"APETAGEX" + struct.pack("<IIII", 2000, len(items) + 32, 1, 0) + bytes(8)
    lyrics = b"LYRICSBEGIN" + b"la" * 500
    lyrics += f"{len(lyrics):06d}".encode() + b"LYRICS200"
    cover = b"ID3\x03\0\0" + bytes([0, 8, 0, 0]) + b"\xff\xfb\x90\xc4" * (8 * 128 * 128 // 4)
    after = {"ID3v1": id3, "APEv2": ape, "Lyrics3": lyrics + id3, "all": ape + lyrics + id3}
    before = cover if tag in ("cover", "all") else b""
    path.write_bytes(before + path.read_bytes() + after.get(tag, b""))
    np.testing.assert_array_equal(audio.read(path), expected)


def test_mp3_files_that_were_joined_are_read_completely(tmp_path, mp3):
    path = tmp_path / "a.mp3"
    tag = b"TAG" + bytes(125)
    path.write_bytes(
        mp3["VARIABLE"] + tag + b"ID3\x03\0\0\0\0\x08\0" + bytes(1024) + mp3["CONSTANT"]
    )
    assert audio.duration_s(path) == pytest.approx(2 * SECONDS, abs=0.1)
    assert len(audio.read(path)) / audio.RATE_HZ == pytest.approx(2 * SECONDS, abs=0.1)


@pytest.mark.parametrize("n_frames", [None, 300, 1000])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.98])
def test_an_mp3_that_was_cut_short_is_refused_with_both_numbers(tmp_path, mp3, share, n_frames):
    path = tmp_path / "a.mp3"
    content = with_count(mp3["VARIABLE"], n_frames)
    path.write_bytes(content[: int(share * len(content))])
    n_declared = n_frames or 384
    message = rf"is truncated at .* s \(byte \d+\); its header declares {n_declared} frames"
    n = len(audio.read(path)) / audio.RATE_HZ if n_frames == 300 and share > 0.9 else None
    if n is None or n < 9:
        with pytest.raises(InputError, match=message):
            audio.read(path)


@pytest.mark.parametrize("header", ["right", "removed"])
@pytest.mark.parametrize("damage", ["zeros", "noise", "missing"])
def test_an_mp3_that_is_damaged_in_the_middle_is_refused_with_the_place(
    tmp_path, mp3, damage, header, caplog
):
    content = mp3["VARIABLE"]
    half = len(content) // 2
    noise = np.random.default_rng(1).integers(0, 255, 5000, np.uint8).tobytes()
    middle = {"zeros": bytes(5000), "noise": noise, "missing": b""}[damage]
    path = tmp_path / "a.mp3"
    content = content[:half] + middle + content[half + 5000 :]
    path.write_bytes(content if header == "right" else without_first_frame(content))
    if (damage, header) == ("missing", "removed"):  # nothing says how much is missing
        audio.read(path)
        assert f"{path}: its MPEG frames are interrupted at 5." in caplog.text
        return
    with pytest.raises(InputError, match=r"is damaged at 5\.\d\d s \(frame 2\d\d, byte 3\d{4}\)"):
        audio.read(path)


def test_an_mp3_in_free_format_says_so(tmp_path, mp3):
    frame = bytes([0xFF, 0xFB, 0x00, 0xC4]) + bytes(600)
    (tmp_path / "a.mp3").write_bytes(frame * 20)
    with pytest.raises(InputError, match="is an mp3 in free format"):
        audio.read(tmp_path / "a.mp3")


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 32_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_mpeg_1_2_and_2_5_are_counted_as_they_were_encoded(tmp_path, rate_hz, channels):
    path = tmp_path / "a.mp3"
    wave = np.stack([crescendo(rate_hz, 6)] * channels, axis=1)
    soundfile.write(path, wave, rate_hz, bitrate_mode="VARIABLE")
    assert layout_of(path).n_samples == len(wave)
    path.write_bytes(with_count(path.read_bytes(), 20))
    assert audio.duration_s(path) == 6.0
    assert len(audio.read(path)) == 6 * audio.RATE_HZ


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    n=st.integers(1, 60_000),
    suffix=st.sampled_from([".mp3", ".flac", ".ogg", ".wav", ".aiff", ".caf", ".w64"]),
    rate_hz=st.sampled_from([8000, 22_050, 48_000]),
    channels=st.sampled_from([1, 2]),
)
def test_the_number_of_samples_is_that_which_libsndfile_wrote(
    tmp_path, n, suffix, rate_hz, channels
):
    path = tmp_path / f"a{suffix}"
    wave = 0.1 * np.random.default_rng(n).standard_normal((n, channels))
    write_sound(path, wave, rate_hz)
    layout = layout_of(path)
    assert not layout.header_is_wrong
    assert not layout.doubt
    if layout.n_samples is not None:
        assert abs(layout.n_samples - n) <= layout.unit_samples - 1
    if np.any(wave):
        assert abs(audio.duration_s(path) * rate_hz - n) <= 1


@pytest.mark.parametrize(
    "options",
    [("-q:a", 9), ("-q:a", 0, "-write_xing", 0), ("-b:a", "64k", "-write_xing", 0),
     ("-ar", 22_050, "-q:a", 5), ("-f", "mp2"), ("-f", "mp2", "-ar", 22_050)],
)  # fmt: skip
def test_files_of_other_encoders_are_read_completely(tmp_path, options):
    soundfile.write(tmp_path / "a.wav", crescendo(), RATE_HZ)
    ffmpeg("-i", tmp_path / "a.wav", *options, tmp_path / "a.mp3")
    assert audio.duration_s(tmp_path / "a.mp3") == pytest.approx(SECONDS, abs=0.08)
    wave = audio.read(tmp_path / "a.mp3")
    assert len(wave) / audio.RATE_HZ == pytest.approx(SECONDS, abs=0.08)


# --- The same for other formats -------------------------------------------------------------------


def flac_with_total(content, total):
    (packed,) = struct.unpack(">Q", content[18:26])
    return content[:18] + struct.pack(">Q", (packed >> 36 << 36) | total) + content[26:]


@pytest.mark.parametrize("total", [0, 1000, SECONDS * RATE_HZ - 1])
@pytest.mark.parametrize("tag", [b"", b"ID3\x03\0\0\0\0\x08\0" + bytes(1024)])
def test_a_flac_with_too_few_samples_in_its_header_is_read_completely(tmp_path, total, tag):
    path = tmp_path / "a.flac"
    soundfile.write(path, crescendo(), RATE_HZ)
    expected = audio.read(path)
    path.write_bytes(tag + flac_with_total(path.read_bytes(), total))
    assert audio.duration_s(path) == SECONDS
    np.testing.assert_array_equal(audio.read(path), expected)


def test_a_flac_with_too_many_samples_in_its_header_is_refused_with_both_numbers(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, crescendo(), RATE_HZ)
    path.write_bytes(flac_with_total(path.read_bytes(), 600_000))
    with pytest.raises(InputError, match=r"declares 600000 samples, .* ends at sample 441000"):
        audio.duration_s(path)


def test_a_flac_of_unknown_length_is_read(tmp_path):
    """The flac program and ffmpeg write 0 into a pipe."""
    soundfile.write(tmp_path / "a.wav", crescendo(), RATE_HZ)
    content = ffmpeg("-i", tmp_path / "a.wav", "-f", "flac", "pipe:1")
    assert not any(content[22:26])
    (tmp_path / "a.flac").write_bytes(content)
    assert audio.duration_s(tmp_path / "a.flac") == SECONDS


@pytest.mark.parametrize("kind", ["wav", "au", "w64", "caf", "aiff", "mp3", "ogg", "opus"])
def test_what_ffmpeg_writes_into_a_pipe_is_read_completely(tmp_path, kind):
    soundfile.write(tmp_path / "a.wav", crescendo(), RATE_HZ)
    content = ffmpeg("-i", tmp_path / "a.wav", "-f", kind, "pipe:1")
    (tmp_path / "a.x").write_bytes(content)
    assert len(audio.read(tmp_path / "a.x")) / audio.RATE_HZ == pytest.approx(SECONDS, abs=0.08)


def ogg_pages(content):
    pages, at = [], 0
    while at < len(content):
        n = content[at + 26]
        end = at + 27 + n + sum(content[at + 27 : at + 27 + n])
        pages.append(content[at:end])
        at = end
    return pages


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [("page missing", r"is damaged; page 5, byte \d+, is number 6, not 5"),
     ("bit", r"is damaged; page 5, byte \d+, has a wrong checksum"),
     ("junk", r"is damaged; page 5, byte \d+, is no Ogg page"),
     ("cut", r"is truncated in page \d+, byte \d+; 10 bytes of it are missing"),
     ("joined", r"contains several sounds after each other")],
)  # fmt: skip
def test_a_damaged_ogg_is_refused_with_the_page(tmp_path, suffix, damage, message):
    """libsndfile itself replaces what is missing by silence, without a word."""
    path = write_sound(tmp_path / f"a{suffix}", crescendo(24_000), 24_000)
    pages = ogg_pages(path.read_bytes())
    if damage == "page missing":
        del pages[5]
    elif damage == "bit":
        pages[5] = pages[5][:-50] + bytes([pages[5][-50] ^ 1]) + pages[5][-49:]
    elif damage == "junk":
        pages.insert(5, bytes(3000))
    elif damage == "cut":
        pages[-1] = pages[-1][:-10]
    else:
        pages *= 2
    path.write_bytes(b"".join(pages))
    with pytest.raises(InputError, match=message):
        audio.duration_s(path)


def test_an_ogg_without_its_last_page_is_doubtful(tmp_path):
    path = write_sound(tmp_path / "a.ogg", crescendo(24_000), 24_000)
    path.write_bytes(b"".join(ogg_pages(path.read_bytes())[:-1]))
    for genre in ("jazz", "rock"):
        (tmp_path / "genres" / genre).mkdir(parents=True)
    write_sound(tmp_path / "genres/rock/b.wav", crescendo(), RATE_HZ)
    path.rename(tmp_path / "genres/jazz/a.ogg")
    done = neuromusic("stimuli", "validate", "folder", "genres", "--least-s", 1, cwd=tmp_path)
    assert "genres/jazz/a.ogg: its last page is not marked as the last" in done.stderr


@pytest.mark.parametrize("name", ["COMM", "SSND"])
def test_an_aiff_whose_chunks_disagree_is_refused_with_both_numbers(tmp_path, name):
    path = write_sound(tmp_path / "a.aif", crescendo(), RATE_HZ)
    content = bytearray(path.read_bytes())
    at = content.find(name.encode()) + (10 if name == "COMM" else 4)
    content[at : at + 4] = struct.pack(">I", 1000)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"declares \d+ bytes of sound in its chunk COMM, but \d+"):
        audio.duration_s(path)


def test_a_wav_that_declares_too_little_is_refused_with_both_numbers(tmp_path):
    path = write_sound(tmp_path / "a.wav", crescendo(), RATE_HZ)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 1000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="declares 1000 bytes of sound, but 882000 bytes follow"):
        audio.duration_s(path)


@pytest.mark.parametrize("after", [b"LIST" + struct.pack("<I", 600) + bytes(600),
                                   b"id3 " + struct.pack("<I", 3) + b"abc\0", b"TAG" + bytes(125),
                                   bytes(4000)])  # fmt: skip
def test_chunks_tags_and_zeros_after_the_sound_of_a_wav_are_accepted(tmp_path, after):
    path = write_sound(tmp_path / "a.wav", crescendo(), RATE_HZ)
    path.write_bytes(path.read_bytes() + after)
    assert audio.duration_s(path) == SECONDS


# --- Channels -------------------------------------------------------------------------------------


def stereo(path, right, noise=0.0):
    rng = np.random.default_rng(2)
    left = 0.1 * rng.standard_normal(RATE_HZ * 16)
    wave = np.stack([left, right * left + noise * rng.standard_normal(len(left))], axis=1)
    soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
    return wave


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac"])
def test_channels_that_cancel_are_refused_in_the_mix_and_read_one_by_one(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    stereo(tmp_path / "a.wav", -1.0)
    write_sound(path, soundfile.read(tmp_path / "a.wav")[0], RATE_HZ)
    with pytest.raises(InputError, match=r"channels cancel each other: their mix is \S+ dB below"):
        audio.read(path)
    left, right = (audio.read(path, channel=channel) for channel in ("left", "right"))
    assert np.sqrt(np.mean(left**2)) > 0.05
    assert np.corrcoef(left, right)[0, 1] < -0.99


@pytest.mark.parametrize(
    ("right", "noise", "refused", "warned"),
    [(-1, 0, True, False), (-1, 0.0005, True, False), (-1, 0.01, False, True),
     (-0.9, 0, False, True), (-0.5, 0, False, False), (0, 0, False, False), (1, 0, False, False)],
)  # fmt: skip
def test_how_far_a_mix_may_be_below_its_channels(tmp_path, right, noise, refused, warned):
    for genre in ("jazz", "rock"):
        (tmp_path / "genres" / genre).mkdir(parents=True)
    write_sound(tmp_path / "genres/rock/b.wav", crescendo(), RATE_HZ)
    stereo(tmp_path / "genres/jazz/a.wav", right, noise)
    command = ("stimuli", "validate", "folder", "genres", "--least-s", 1)
    done = neuromusic(*command, cwd=tmp_path)
    assert ("corrupt: genres/jazz/a.wav: its channels cancel" in done.stdout) == refused
    assert ("genres/jazz/a.wav: its channels cancel" in done.stderr) == warned
    assert done.returncode == int(refused)
    for channel in ("left", "right") if right else ("left",):
        done = neuromusic(*command, "--channel", channel, cwd=tmp_path)
        assert (done.returncode, "cancel" in done.stderr) == (0, False)


def test_one_sounding_channel_of_many_does_not_cancel(tmp_path, caplog):
    wave = np.zeros((RATE_HZ, 24))
    wave[:, 5] = crescendo(seconds=1)
    soundfile.write(tmp_path / "a.wav", wave, RATE_HZ, subtype="FLOAT")
    audio.read(tmp_path / "a.wav")
    assert not caplog.records


def test_an_offset_does_not_hide_that_channels_cancel(tmp_path):
    wave = crescendo(seconds=2)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], 1) + 0.3, RATE_HZ, subtype="FLOAT")
    with pytest.raises(InputError, match="cancel"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_left_and_right_are_the_first_two_channels(tmp_path, channels):
    wave = 0.1 * np.random.default_rng(0).standard_normal((22_050, channels))
    soundfile.write(tmp_path / "a.wav", wave, 22_050, subtype="FLOAT")
    for channel, column in (("left", 0), ("right", min(1, channels - 1))):
        out = audio.read(tmp_path / "a.wav", channel=channel)
        np.testing.assert_array_equal(out, wave[:, column].astype(np.float32))
    mix = audio.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(mix, wave.astype(np.float32).mean(axis=1))


def test_an_unknown_channel_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", crescendo(), RATE_HZ)
    with pytest.raises(
        InputError, match="channel='lefft': expected mix, left, right; did you mean"
    ):
        audio.read(tmp_path / "a.wav", channel="lefft")


# --- Formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", audio.SUFFIXES)
@pytest.mark.parametrize("upper", [False, True])
def test_every_suffix_that_is_looked_for_is_read(tmp_path, suffix, upper):
    path = tmp_path / f"a{suffix}"
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * 22_050) / 22_050)
    write_sound(path, wave, 22_050)
    if upper:
        path = path.rename(tmp_path / f"A{suffix.upper()}")
    out = audio.read(path)
    assert audio.duration_s(path) == pytest.approx(2, abs=0.12)
    assert len(out) / audio.RATE_HZ == pytest.approx(2, abs=0.12)
    power = np.abs(np.fft.rfft(out)) ** 2
    assert np.argmax(power) / len(out) * audio.RATE_HZ == pytest.approx(440, abs=2)
    if suffix in LOSSLESS:
        np.testing.assert_allclose(out, wave, atol=1e-4)


def test_every_suffix_has_a_writer_here():
    assert set(audio.SUFFIXES) - set(FORMATS) - {".mp2"} == set(FFMPEG_SUFFIXES)


@pytest.mark.parametrize("suffix", [".m4a", ".aac", ".wma"])
def test_without_ffmpeg_an_m4a_says_what_to_do(tmp_path, suffix):
    path = write_sound(tmp_path / f"a{suffix}", crescendo(), RATE_HZ)
    found = os.environ["PATH"]
    try:
        os.environ["PATH"] = ""
        with pytest.raises(InputError, match=r"needs the ffmpeg program.*install it, or convert"):
            audio.read(path)
    finally:
        os.environ["PATH"] = found


@pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".aac", ".wma"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_damaged_m4a_is_refused(tmp_path, suffix, share):
    path = write_sound(tmp_path / f"-a {suffix}", crescendo(), RATE_HZ)
    if suffix == ".m4a":  # the header first, as on the web
        whole = tmp_path / "b.m4a"
        ffmpeg("-i", path, "-c", "copy", "-movflags", "+faststart", whole)
        whole.replace(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"is (not a readable sound file|truncated)") as caught:
        audio.read(path)
    assert "\n" not in str(caught.value)


def test_a_playlist_that_is_called_m4a_opens_no_other_file(tmp_path):
    soundfile.write(tmp_path / "secret.wav", crescendo(), RATE_HZ)
    (tmp_path / "a.m4a").write_text("ffconcat version 1.0\nfile secret.wav\n")
    with pytest.raises(InputError, match="is not a readable sound file"):
        audio.read(tmp_path / "a.m4a")


@pytest.mark.parametrize(("really", "called"), [(".mp3", ".wav"), (".wav", ".mp3"),
                                                (".flac", ".wav"), (".opus", ".ogg"),
                                                (".m4a", ".mp3"), (".wav", ".m4a")])  # fmt: skip
def test_the_format_is_decided_by_content(tmp_path, really, called):
    path = write_sound(tmp_path / f"a{really}", crescendo(), RATE_HZ)
    expected = audio.read(path)
    path = path.rename(tmp_path / f"b{called}")
    np.testing.assert_array_equal(audio.read(path), expected)


@pytest.mark.parametrize("content", ["html", "jpeg", "zip", "text", "UTF-16", "zeros", "empty"])
@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".m4a"])
def test_what_is_no_sound_is_refused_in_one_line(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes({
        "html": b"<!DOCTYPE html>\n<html>404</html>\n" * 20, "jpeg": b"\xff\xd8\xff\xe0" * 500,
        "zip": b"PK\x03\x04" * 500, "text": b"hello\n" * 500,
        "UTF-16": ("hello\n" * 500).encode("utf-16"), "zeros": bytes(5000), "empty": b"",
    }[content])  # fmt: skip
    done = neuromusic("predict", "none", path, cwd=tmp_path)
    assert done.returncode == 2
    with pytest.raises(InputError) as caught:
        audio.read(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_no_numbers_are_refused_in_one_line(tmp_path, value, channels):
    wave = np.stack([crescendo()] * channels, axis=1)
    wave[1234, -1] = value
    soundfile.write(tmp_path / "a.wav", wave, RATE_HZ, subtype="FLOAT")
    with pytest.raises(InputError, match="contains NaN or infinite samples"):
        audio.read(tmp_path / "a.wav")
