"""Synthetic clips for the demo: ten families of rhythm, harmony and timbre, from a seed.

The families differ in tempo, rhythm, harmony and timbre, and have the names of the ten genres that
they caricature. Within a family, tempo, key, pattern, balance and melody vary from clip to clip.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.stimuli.clips import SET_RMS, fade, set_rms

CLIP_S = 15.0
STEPS_PER_BAR = 16
REST_PROBABILITY = 0.06  # that an instrument leaves out a note of its pattern
Wave = NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """What the clips of a family have in common.

    A rhythm is a string of 16 steps per bar, with "x" where a note begins.
    """

    tempo_bpm: float
    kick: str
    snare: str
    hat: str
    bass: str
    comp: str  # rhythm of the chord
    roots: tuple[int, ...]  # semitones above the key, one per bar
    chord: tuple[int, ...]  # semitones above the root
    partials: tuple[float, ...]  # amplitudes, of the chord and the melody
    decay_s: float  # of the chord
    drive: float = 0.0  # distortion
    lead: float = 0.3  # twice the probability of a melody note on a step
    vibrato: float = 0.0  # of the melody, in radians


FAMILIES: dict[str, Family] = {
    "blues": Family(84, "x.....x.x.....x.", "....x.......x...", "x.xx.xx.xx.xx.x.", "x..x..x.x..x..x.",
                    "x.....x.x.......", (0, 5, 0, 7), (0, 4, 10), (1, 0.6, 0.5, 0.3, 0.2), 0.5, 0.3, 0.5, 0.3),
    "classical": Family(66, "." * 16, "." * 16, "." * 16, "x.......x.......",
                        "x...x...x...x...", (0, 9, 5, 7), (0, 4, 7, 12), (1, 0.5, 0.33, 0.25, 0.2, 0.1), 1.6, 0, 0.6, 0.8),
    "country": Family(108, "x.......x.......", "....x.......x...", "..x...x...x...x.", "x.......x.......",
                      "....x.xx....x.xx", (0, 5, 7, 0), (0, 4, 7, 12), (1, 0.9, 0.7, 0.5, 0.5, 0.4), 0.35, 0, 0.5),
    "disco": Family(122, "x...x...x...x...", "....x.......x...", "..x...x...x...x.", "x.x.x.x.x.x.x.x.",
                    "..x...x...x...x.", (9, 5, 0, 7), (0, 3, 7, 10), (1, 0.7, 0.5, 0.4), 0.25, 0, 0.25),
    "hiphop": Family(90, "x..x......x.x...", "....x.......x...", "x.x.x.x.x.x.x.x.", "x..x......x.....",
                     "x...............", (0, 0, 8, 7), (0, 3, 7), (1, 0.3), 0.9, 0, 0.1),
    "jazz": Family(140, "x...............", "." * 16, "x...x.xxx...x.xx", "x...x...x...x...",
                   "..x....x........", (2, 7, 0, 9), (0, 4, 7, 11, 14), (1, 0.25, 0.4, 0.1), 0.5, 0, 0.7, 0.2),
    "metal": Family(160, "xxxxxxxxxxxxxxxx", "....x.......x...", "x...x...x...x...", "xxxxxxxxxxxxxxxx",
                    "xxxxxxx.xxxxxx.x", (0, 1, 0, 6), (0, 7, 12), (1, 1, 1, 0.9, 0.8, 0.7, 0.6), 0.4, 3.0, 0.1),
    "pop": Family(112, "x...x...x...x...", "....x.......x...", "x.x.x.x.x.x.x.x.", "x...x...x...x...",
                  "x..x..x.x..x..x.", (0, 7, 9, 5), (0, 4, 7), (1, 0.5, 0.2, 0.1), 0.45, 0, 0.6, 0.4),
    "reggae": Family(76, "........x.......", "........x.......", "x.x.x.x.x.x.x.x.", "x..x..x...x.x...",
                     "....x.......x...", (0, 5, 0, 10), (0, 3, 7), (1, 0.8, 0.4, 0.2), 0.14, 0, 0.15),
    "rock": Family(126, "x.....x.x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x.", "x.x.x.x.x.x.x.x.",
                   "x...x...x...x.x.", (0, 10, 5, 0), (0, 4, 7, 12), (1, 0.9, 0.8, 0.6, 0.4, 0.3), 0.7, 1.5, 0.35),
}  # fmt: skip


@dataclass(frozen=True)
class Performance:
    """What varies from clip to clip."""

    key_hz: float
    step_s: float
    level: dict[str, float]  # of drums, bass, chord and lead
    swing: float  # delay of every second step, in steps
    vibrato_hz: float


def clip_name(genre: str, number: int) -> str:
    """Return the name of a synthetic clip, in the format of the experiment's own clips."""
    return f"{genre}.{number:05d}_15s.wav"


def make_clip(genre: str, number: int, seed: int) -> Wave:
    """Synthesise a 15-s clip (n_samples,) at audio.RATE_HZ, with fades and an RMS of SET_RMS."""
    family = FAMILIES[genre]
    digest = hashlib.sha256(f"{seed}/{genre}/{number}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
    performance = _draw_performance(family, rng)
    step_s = performance.step_s
    wave = np.zeros(round(CLIP_S * RATE_HZ))
    for step in range(int(CLIP_S / step_s)):
        begin = round((step + performance.swing * (step % 2)) * step_s * RATE_HZ)
        for sound in _sounds_on_step(family, performance, step, rng):
            end = min(len(wave), begin + len(sound))
            wave[begin:end] += sound[: end - begin]
    if family.drive:
        wave = np.tanh(family.drive * wave / np.abs(wave).max() * 3)
    noise_level = 10 ** (-rng.uniform(2.2, 3.2))
    wave += noise_level * np.abs(wave).max() * rng.standard_normal(len(wave))
    _note.cache_clear()
    return set_rms(fade(wave), SET_RMS)[0]


def _draw_performance(family: Family, rng: np.random.Generator) -> Performance:
    step_s = 15 / (family.tempo_bpm * rng.uniform(0.9, 1.1))  # a quarter of a beat
    key_hz = 110 * 2 ** (rng.integers(-5, 7) / 12)
    level = dict(zip(("drums", "bass", "chord", "lead"), rng.uniform(0.5, 1.3, 4), strict=True))
    swing, vibrato_hz = rng.uniform(0, 0.1), rng.uniform(4.5, 6.5)
    return Performance(key_hz, step_s, level, swing, vibrato_hz)


def _sounds_on_step(
    family: Family, performance: Performance, step: int, rng: np.random.Generator
) -> list[Wave]:
    """Return the sounds that begin on a step."""
    bar, step_in_bar = divmod(step, STEPS_PER_BAR)
    root_hz = performance.key_hz * 2 ** (family.roots[bar % len(family.roots)] / 12)
    level, step_s = performance.level, performance.step_s
    is_played = {
        part: getattr(family, part)[step_in_bar] == "x" and rng.random() > REST_PROBABILITY
        for part in ("kick", "snare", "hat", "bass", "comp")
    }
    sounds: list[Wave] = []
    if is_played["kick"]:
        sounds.append(level["drums"] * _kick())
    if is_played["snare"]:
        sounds.append(level["drums"] * 0.5 * _noise(rng, 0.12, 1))
    if is_played["hat"]:
        sounds.append(level["drums"] * 0.2 * _noise(rng, 0.04, 2))
    if is_played["bass"]:
        sounds.append(level["bass"] * 0.6 * _note(root_hz / 2, (1, 0.4, 0.1), 2 * step_s, 0.3))
    if is_played["comp"]:
        for tone in family.chord:
            note = _note(root_hz * 2 ** (tone / 12), family.partials, 1.2, family.decay_s)
            sounds.append(level["chord"] * 0.25 * note)
    if rng.random() < family.lead * 0.5:
        hz = 2 * root_hz * 2 ** (rng.choice(family.chord) / 12)
        note = _note(hz, family.partials, 0.6, 0.4, family.vibrato, performance.vibrato_hz)
        sounds.append(level["lead"] * 0.5 * note)
    return sounds


@lru_cache(maxsize=256)  # a clip repeats a few notes many times
def _note(
    hz: float,
    partials: tuple[float, ...],
    length_s: float,
    decay_s: float,
    vibrato: float = 0.0,
    vibrato_hz: float = 0.0,
) -> Wave:
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * hz * t
    phase += vibrato * np.sin(2 * np.pi * vibrato_hz * t) * np.minimum(t / 0.2, 1)
    tone = np.zeros_like(t)
    for number, amplitude in enumerate(partials, start=1):
        if number * hz < RATE_HZ / 2:
            tone += amplitude * np.sin(number * phase)
    return tone * np.minimum(t / 0.01, 1) * np.exp(-t / decay_s) / sum(partials)


def _kick() -> Wave:
    """Return a bass drum: a sine whose frequency falls from 150 to 50 Hz."""
    t = np.arange(round(0.2 * RATE_HZ)) / RATE_HZ
    return np.sin(2 * np.pi * (50 * t + 100 * 0.03 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.07)


def _noise(rng: np.random.Generator, length_s: float, brightness: int) -> Wave:
    """Return decaying white noise, differentiated ``brightness`` - 1 times."""
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    noise = rng.standard_normal(len(t) + brightness)
    for _ in range(brightness - 1):
        noise = np.diff(noise)
    return noise[: len(t)] * np.exp(-3 * t / length_s)
