"""Features of a sound in blocks are those of the whole, for files of every rate."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from neuromusic.core.errors import InputError
from neuromusic.features.blocks import compute_in_blocks
from neuromusic.features.frontends.base import front_end
from neuromusic.features.frontends.mel import MelSpec
from neuromusic.stimuli import audio


def noise(n, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def cut(wave, size):
    return [wave[first : first + size] for first in range(0, len(wave), size)]


@pytest.mark.parametrize("n", [0, 1, 511, 512, 1023, 1024, 5000, 51_200, 110_250, 140_311])
@pytest.mark.parametrize("size", [100, 512, 5000, 66_167, 10**6])
def test_log_mel_in_blocks_has_the_same_bytes(n, size):
    wave = noise(n)
    for spec in (MelSpec(), MelSpec(hop=220, n_mels=40), MelSpec(n_fft=2048, hop=300)):
        found = compute_in_blocks(spec, cut(wave, size) or [wave])
        np.testing.assert_array_equal(found, spec.compute(wave))


@pytest.mark.parametrize("name", ["cochleagram", "modulation"])
def test_other_front_ends_get_the_whole_sound(name):
    wave, spec = noise(60_000), front_end(name)
    np.testing.assert_array_equal(compute_in_blocks(spec, cut(wave, 9_000)), spec.compute(wave))


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000, 8_000])
@pytest.mark.parametrize("played_s", [3.0, 6.99, 7.0, 7.02])
def test_blocks_that_are_played_are_the_beginning_of_the_file(tmp_path, rate_hz, played_s):
    soundfile.write(tmp_path / "x.wav", noise(7 * rate_hz), rate_hz)
    whole = audio.read(tmp_path / "x.wav")
    expected = whole[: round(played_s * audio.RATE_HZ)] if played_s < 6.9 else whole
    for block_s in (0.5, 3.0, 60.0):
        found = np.concatenate([*audio.played_blocks(tmp_path / "x.wav", played_s, "mix", block_s)])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (noise(22_050), "lasts 1.00 s; expected at least 3 s"),
        (np.zeros(80_000), "is silent"),
        (np.where(np.arange(80_000) == 70_000, np.nan, 0.1), "NaN or infinite"),
        (np.zeros(0), "expected at least 3 s|is empty"),
    ],
)
def test_sounds_that_cannot_be_used_are_refused_as_before(tmp_path, wave, message):
    soundfile.write(tmp_path / "x.wav", np.asarray(wave, np.float32), 22_050, subtype="FLOAT")
    with pytest.raises(InputError, match=message):
        list(audio.played_blocks(tmp_path / "x.wav", 3.0))
    with pytest.raises(InputError, match=message):
        audio.read(tmp_path / "x.wav", 3.0)


def test_memory_is_that_of_a_block_and_of_the_features(tmp_path):
    """NumPy's peak without the features, for one and ten minutes of 44.1 kHz."""
    peaks = []
    for seconds in (60, 60, 600):  # the first call imports and compiles
        with soundfile.SoundFile(tmp_path / "x.wav", "w", 44_100, 1) as file:
            for second in range(seconds):
                file.write(noise(44_100, second))
        tracemalloc.start()
        blocks = audio.played_blocks(tmp_path / "x.wav", float(seconds))
        features = compute_in_blocks(MelSpec(), blocks)
        peaks.append(tracemalloc.get_traced_memory()[1] - 2 * features.nbytes)
        tracemalloc.stop()
    assert peaks[2] < 1.5 * max(peaks[1], 2**23)
