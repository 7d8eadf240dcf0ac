"""The ten variants of a training clip: `draw` their parameters from a seed, then `apply` them.

`draw` depends on nothing but (seed, clip, variant), so the result is the same for any order of the
clips and any number of workers. `apply` is a pure function of the wave and the parameters.
"""

import hashlib
import math
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.features.stft.spectrum import LENGTHS, N_FFT, Spectrum, nearest_length
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.stimuli.variants import VARIANTS

# The speeds and pitches that the allowed frame lengths can produce; see `Spectrum.at_speed`.
RATES = [N_FFT / n for n in LENGTHS]
SPEEDS = [rate for rate in RATES if 0.85 <= rate <= 0.95 or 1.05 <= rate <= 1.18]
PITCHES = [12 * math.log2(rate) for rate in RATES if 0.5 <= abs(12 * math.log2(rate)) <= 3]

SILENCE_S = 0.1  # digital zeros of at least this duration are padding, not sound
PEAK = 0.999  # of a variant that would otherwise clip in a sound file

Parameters = dict[str, float]
Wave = NDArray[np.float32]


def draw(seed: int, clip: str, variant: int) -> Parameters:
    """Draw the parameters of a variant of a clip: plain numbers by name; empty for the original.

    =====================  ===============  =======================================================
    variant                parameter        range (uniform)
    =====================  ===============  =======================================================
    noise                  snr_db           10..30; and the seed of the noise, noise_seed
    shift                  shift            0.1..0.9 of the clip
    stretch                rate             0.8..0.95 or 1.05..1.25 (above 1 is faster)
    pitch                  pitch_semitones  -3..-0.5 or 0.5..3, then the nearest of PITCHES
    speed                  rate             0.85..0.95 or 1.05..1.18, then the nearest of SPEEDS
    resample               rate_hz          5 000..12 000
    gain                   gain_db          -12..-3
    percussive, harmonic   margin           1..2, of the median-filter masks
    =====================  ===============  =======================================================
    """
    if VARIANTS[variant] == "original":
        return {}
    rng = generator(seed, clip, variant)

    def either(low: tuple[float, float], high: tuple[float, float]) -> float:
        return float(rng.uniform(*(low if rng.random() < 0.5 else high)))

    match VARIANTS[variant]:
        case "noise":
            return {"snr_db": rng.uniform(10, 30), "noise_seed": int(rng.integers(2**31))}
        case "shift":
            return {"shift": rng.uniform(0.1, 0.9)}
        case "stretch":
            return {"rate": either((0.8, 0.95), (1.05, 1.25))}
        case "pitch":
            return {"pitch_semitones": _nearest(PITCHES, either((-3, -0.5), (0.5, 3)))}
        case "speed":
            return {"rate": _nearest(SPEEDS, either((0.85, 0.95), (1.05, 1.18)))}
        case "resample":
            return {"rate_hz": int(rng.integers(5_000, 12_000))}
        case "gain":
            return {"gain_db": rng.uniform(-12, -3)}
        case "percussive" | "harmonic":
            return {"margin": rng.uniform(1, 2)}
    return {}


def generator(seed: int, clip: str, variant: int) -> np.random.Generator:
    """Return the random generator of one variant of one clip."""
    digest = hashlib.sha256(f"{seed}/{clip}/{variant}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def _nearest(values: list[float], target: float) -> float:
    return min(values, key=lambda value: abs(value - target))


class Source:
    """A wave (n_samples,) float32 at RATE_HZ, and its spectrum, computed once for all variants."""

    def __init__(self, wave: Wave) -> None:
        self.wave = wave
        self.tensor = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))

    @cached_property
    def spectrum(self) -> Spectrum:
        """The short-time spectrum of the wave."""
        return Spectrum(self.tensor)


def apply(source: Source, variant: int, parameters: Parameters) -> Tensor:
    """Return a variant of a wave, (n_samples,) float32 at RATE_HZ.

    A variant that lasts longer is cut to the length of the original; a faster one remains shorter,
    so nothing is padded.
    """
    wave = source.tensor
    match VARIANTS[variant]:
        case "original":
            return wave
        case "noise":
            snr_db, noise_seed = parameters["snr_db"], int(parameters["noise_seed"])
            out = torch.from_numpy(add_noise(source.wave, snr_db, noise_seed))
        case "shift":
            out = wave.roll(round(parameters["shift"] * len(wave)))
        case "stretch":
            out = source.spectrum.at_tempo(parameters["rate"])
        case "pitch":  # stretch, then play at another speed, which restores the length
            # Exactly as in librosa: the last digit decides which frames a step lies between.
            rate = 2.0 ** (-parameters["pitch_semitones"] / 12)
            out = source.spectrum.at_tempo(rate, nearest_length(rate))
        case "speed":
            out = source.spectrum.at_speed(nearest_length(1 / parameters["rate"]))
        case "resample":
            out = source.spectrum.without_treble(parameters["rate_hz"] / RATE_HZ)
        case "gain":
            out = wave * 10 ** (parameters["gain_db"] / 20)
        case "percussive":
            out = source.spectrum.part(False, parameters["margin"])
        case "harmonic":
            out = source.spectrum.part(True, parameters["margin"])
    out = out[: len(wave)]
    low, high = torch.aminmax(out)
    peak = max(-float(low), float(high))
    return out * (PEAK / peak) if peak > 1 else out


def add_noise(wave: Wave, snr_db: float, noise_seed: int) -> Wave:
    """Add white Gaussian noise ``snr_db`` below the wave's RMS; digital silence remains silent."""
    noise = torch.randn(len(wave), generator=torch.Generator().manual_seed(noise_seed)).numpy()
    n_sounding = len(wave)
    for first, end in digital_silence(wave):
        noise[first:end] = 0
        n_sounding -= end - first
    power = np.square(wave).sum(dtype=np.float64) / n_sounding
    noise *= np.float32(np.sqrt(power) * 10 ** (-snr_db / 20))
    noise += wave
    return noise


def digital_silence(wave: Wave) -> NDArray[np.int64]:
    """Return (first, end) of each stretch of zeros that lasts at least SILENCE_S, (n, 2)."""
    # Quick test: any such stretch contains a zero at one of these samples.
    if wave[:: int(SILENCE_S * RATE_HZ)].all():
        return np.empty((0, 2), np.int64)
    zero = np.concatenate([[False], wave == 0, [False]])
    stretches = np.flatnonzero(zero[1:] != zero[:-1]).reshape(-1, 2)
    return stretches[stretches[:, 1] - stretches[:, 0] >= SILENCE_S * RATE_HZ]
