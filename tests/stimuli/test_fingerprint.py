"""Fingerprints: copies, different sounds, silence, and the search against plain loops."""

import io

import numpy as np
import pytest
import soundfile

from neuromusic.stimuli import audio, fingerprint
from neuromusic.stimuli.clips import find_sounds

RATE_HZ = audio.RATE_HZ


def music(seed, seconds=15.0):
    """Chords that change every third of a second, in noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = 0.02 * rng.standard_normal(len(t))
    for start in np.arange(0, seconds, 1 / 3):
        since = t - start
        for hz in 220 * 2 ** (rng.integers(0, 36, 3) / 12):
            wave += np.where(since >= 0, np.exp(-4 * since.clip(0)), 0) * np.sin(
                2 * np.pi * hz * since
            )
    return (0.2 * wave / np.abs(wave).max()).astype(np.float32)


def mp3(wave):
    file = io.BytesIO()
    soundfile.write(file, wave, RATE_HZ, format="MP3")
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


@pytest.fixture(scope="module")
def waves():
    return [music(seed) for seed in range(5)]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 0.03 * x,
        lambda x: x[RATE_HZ + 77 :],
        lambda x: np.concatenate([np.zeros(RATE_HZ + 77, np.float32), x]),
        mp3,
        lambda x: mp3(0.1 * x[RATE_HZ + 77 :]),
    ],
    ids=["gain", "later", "earlier", "mp3", "all"],
)
def test_copies_are_near_and_different_sounds_are_not(waves, change):
    known = [fingerprint.fingerprint(wave) for wave in waves]
    changed = [fingerprint.fingerprint(change(wave)) for wave in waves]
    error, _ = fingerprint.compare(known, changed)
    assert (np.diag(error) < fingerprint.NEAR - 0.1).all()
    assert (error[~np.eye(len(waves), dtype=bool)] > fingerprint.NEAR + 0.05).all()


def test_the_lag_is_returned(waves):
    known = [fingerprint.fingerprint(waves[0])]
    for seconds in (-2.0, 0.0, 3.5):
        n = round(abs(seconds) * RATE_HZ)
        other = waves[0][n:] if seconds < 0 else np.concatenate([np.zeros(n), waves[0]])
        _, lag_s = fingerprint.compare(known, [fingerprint.fingerprint(other.astype(np.float32))])
        assert lag_s[0, 0] == pytest.approx(seconds, abs=0.03)


def test_the_search_matches_plain_loops():
    """Random bits of different lengths in more than one block, with some silent frames."""
    rng = np.random.default_rng(0)
    sounds = [
        rng.choice([-1, 1], (n, fingerprint.N_BITS)).astype(np.int8)
        for n in rng.integers(30, 60, 35)
    ]
    sounds[3][10:14] = 0
    sounds[34] = np.concatenate([sounds[3][7:], sounds[3][:7]])
    left, right = sounds, sounds[30:]
    error, lag_s = fingerprint.compare(left, right)
    for i in (0, 3, 34):
        for j, other in enumerate(right):
            n_left, n_right = ((bits != 0).any(1).sum() for bits in (left[i], other))
            best = (1.0, 0)
            for lag in range(-len(left[i]) + 1, len(other)):
                rows = np.arange(max(0, -lag), min(len(left[i]), len(other) - lag))
                a, b = left[i][rows], other[rows + lag]
                both = (a != 0).any(1) & (b != 0).any(1)
                if both.sum() >= 0.8 * min(n_left, n_right):
                    best = min(best, ((a[both] != b[both]).mean(), lag))
            assert error[i, j] == pytest.approx(best[0], abs=1e-5)
            assert lag_s[i, j] == pytest.approx(best[1] * fingerprint.HOP_S)


def test_silent_and_short_sounds_are_near_nothing(waves):
    tick = np.zeros(5 * RATE_HZ, np.float32)
    tick[:3000] = waves[0][:3000]
    short = fingerprint.fingerprint(waves[0][:5000])
    assert len(short) == 0
    error, _ = fingerprint.compare([short, fingerprint.fingerprint(waves[0])], [short])
    assert (error == 1).all()
    # A silent window has no bits, any other has all of them.
    bits = fingerprint.fingerprint(tick)
    assert (bits[-50:] == 0).all()
    assert set(np.unique(np.abs(bits).sum(1))) <= {0, fingerprint.N_BITS}


def test_real_excerpts_are_distinguished(shared):
    paths = find_sounds(shared / "data/gtzan/genres").files[::4]
    waves = [audio.read(path) for path in paths]
    known = [fingerprint.fingerprint(wave) for wave in waves]
    changed = [fingerprint.fingerprint(mp3(0.1 * wave[RATE_HZ + 137 :])) for wave in waves]
    error, lag_s = fingerprint.compare(known, changed)
    is_same = np.eye(len(paths), dtype=bool)
    assert error[is_same].max() < 0.2
    assert error[~is_same].min() > 0.4
    assert lag_s[is_same] == pytest.approx(-1.006, abs=0.02)
