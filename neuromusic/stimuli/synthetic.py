"""A small synthetic corpus for the demo: ten families of clips, from a seed.

The families differ in tempo, rhythm, harmony and timbre and carry the names of the ten genres that
they caricature; within a family tempo, key, pattern, balance and melody vary from clip to clip.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.stimuli.clips import SET_RMS, fade, set_rms

CLIP_S = 15.0  # length of a synthetic clip
Wave = NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """What the clips of a family share; rhythms have 16 steps a bar, chords a root each bar."""

    tempo_bpm: float
    kick: str
    snare: str
    hat: str
    bass: str
    comp: str  # steps on which the chord is struck
    roots: tuple[int, ...]  # semitones above the key, one a bar
    chord: tuple[int, ...]
    partials: tuple[float, ...]  # of the chord's timbre
    decay_s: float
    drive: float = 0.0  # distortion
    lead: float = 0.3  # loudness of the melody
    vibrato: float = 0.0


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


def clip_name(genre: str, number: int) -> str:
    """Return the name of a demo clip, as the experiment names its own."""
    return f"{genre}.{number:05d}_15s.wav"


def make_clip(genre: str, number: int, seed: int) -> Wave:
    """Synthesise one 15-s clip (n_samples,) at audio.RATE_HZ, faded and at the set's RMS."""
    family = FAMILIES[genre]
    digest = hashlib.sha256(f"{seed}/{genre}/{number}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
    step_s = 15 / (family.tempo_bpm * rng.uniform(0.9, 1.1))
    key_hz = 110 * 2 ** (rng.integers(-5, 7) / 12)
    level = dict(zip(("drums", "bass", "chord", "lead"), rng.uniform(0.5, 1.3, 4), strict=True))
    swing, vibrato_hz = rng.uniform(0, 0.1), rng.uniform(4.5, 6.5)
    out = np.zeros(round(CLIP_S * RATE_HZ))
    for step in range(int(CLIP_S / step_s)):
        at = round((step + swing * (step % 2)) * step_s * RATE_HZ)
        for sound in _step(family, step, key_hz, step_s, level, vibrato_hz, rng):
            end = min(len(out), at + len(sound))
            out[at:end] += sound[: end - at]
    if family.drive:
        out = np.tanh(family.drive * out / np.abs(out).max() * 3)
    out += 10 ** (-rng.uniform(2.2, 3.2)) * np.abs(out).max() * rng.standard_normal(len(out))
    _note.cache_clear()
    return set_rms(fade(out), SET_RMS)[0]


def _step(
    family: Family,
    step: int,
    key_hz: float,
    step_s: float,
    level: dict[str, float],
    vibrato_hz: float,
    rng: np.random.Generator,
) -> list[Wave]:
    """Return the sounds that begin on one step; one in seventeen is left out."""
    bar, beat = divmod(step, 16)
    root = key_hz * 2 ** (family.roots[bar % len(family.roots)] / 12)
    played = {
        part: getattr(family, part)[beat] == "x" and rng.random() > 0.06
        for part in ("kick", "snare", "hat", "bass", "comp")
    }
    sounds: list[Wave] = []
    if played["kick"]:
        sounds.append(level["drums"] * _kick())
    if played["snare"]:
        sounds.append(level["drums"] * 0.5 * _noise(rng, 0.12, 1))
    if played["hat"]:
        sounds.append(level["drums"] * 0.2 * _noise(rng, 0.04, 2))
    if played["bass"]:
        sounds.append(level["bass"] * 0.6 * _note(root / 2, (1, 0.4, 0.1), 2 * step_s, 0.3))
    if played["comp"]:
        for tone in family.chord:
            note = _note(root * 2 ** (tone / 12), family.partials, 1.2, family.decay_s)
            sounds.append(level["chord"] * 0.25 * note)
    if rng.random() < family.lead * 0.5:
        hz = 2 * root * 2 ** (rng.choice(family.chord) / 12)
        note = _note(hz, family.partials, 0.6, 0.4, family.vibrato, vibrato_hz)
        sounds.append(level["lead"] * 0.5 * note)
    return sounds


@lru_cache(maxsize=256)  # a clip strikes few notes many times
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
    t = np.arange(round(0.2 * RATE_HZ)) / RATE_HZ
    return np.sin(2 * np.pi * (50 * t + 100 * 0.03 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.07)


def _noise(rng: np.random.Generator, length_s: float, brightness: int) -> Wave:
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    noise = rng.standard_normal(len(t) + brightness)
    for _ in range(brightness - 1):
        noise = np.diff(noise)
    return noise[: len(t)] * np.exp(-3 * t / length_s)
