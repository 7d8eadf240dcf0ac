"""The ten variants of a training clip: draw their parameters from a seed, then apply them.

`draw` depends on (seed, clip, variant) alone, so the result is the same whatever the order of the
clips or the number of workers. `apply` is a pure function of the wave and the parameters.
"""

import hashlib
import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.features.stft.spectrum import LENGTHS, N_FFT, Spectrum, nearest_length
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.stimuli.variants import VARIANTS

# What frames of other lengths make of a wave; see `stft.Spectrum.played`.
RATES = [N_FFT / n for n in LENGTHS]
SPEEDS = [rate for rate in RATES if 0.85 <= rate <= 0.95 or 1.05 <= rate <= 1.18]
PITCHES = [12 * math.log2(rate) for rate in RATES if 0.5 <= abs(12 * math.log2(rate)) <= 3]
SILENCE_S = 0.1  # exact zeros for so long are no sound but padding

Parameters = dict[str, Any]
Wave = NDArray[np.float32]


def generator(seed: int, clip: str, variant: int) -> np.random.Generator:
    """Return the random generator of one variant of one clip."""
    digest = hashlib.sha256(f"{seed}/{clip}/{variant}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def draw(seed: int, clip: str, variant: int) -> Parameters:
    """Draw the parameters of a variant of a clip; a dict of plain numbers, empty for the original.

    snr_db 10..30; shift as a fraction 0.1..0.9 of the clip; rate (> 1 is faster) of stretch
    0.8..0.95 or 1.05..1.25, of speed 0.85..0.95 or 1.05..1.18 (of SPEEDS); pitch_semitones
    +-0.5..3 (of PITCHES); rate_hz 5 000..12 000; gain_db -12..-3; margin of the median masks 1..2.
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


def _nearest(values: list[float], wanted: float) -> float:
    return min(values, key=lambda value: abs(value - wanted))


class Source:
    """A wave (n_samples,) at RATE_HZ, float32, and what its variants share of the work."""

    def __init__(self, wave: Wave, device: str = "cpu") -> None:
        self.wave = wave
        self.tensor = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32)).to(device)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Its short-time spectrum."""
        return Spectrum(self.tensor)


def apply(source: Source, variant: int, parameters: Parameters) -> Tensor:
    """Return a variant of a wave, (n_samples,) at RATE_HZ, float32, on the source's device.

    A variant that would last longer is cut to the length of the original; one that is faster stays
    shorter: nothing is padded.
    """
    wave = source.tensor
    match VARIANTS[variant]:
        case "original":
            return wave
        case "noise":
            out = torch.from_numpy(add_noise(source.wave, **parameters)).to(wave.device)
        case "shift":
            out = wave.roll(round(parameters["shift"] * len(wave)))
        case "stretch":
            out = source.spectrum.at_tempo(parameters["rate"])
        case "pitch":  # a stretch, then played at another speed, back to the length
            # As librosa computes it: a last digit decides between which frames a step lies.
            rate = 2.0 ** (-parameters["pitch_semitones"] / 12)
            out = source.spectrum.at_tempo(rate, nearest_length(rate))
        case "speed":
            out = source.spectrum.played(nearest_length(1 / parameters["rate"]))
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
    return out * (0.999 / peak) if peak > 1 else out  # a file could not hold more


def add_noise(wave: Wave, snr_db: float, noise_seed: int) -> Wave:
    """Add white Gaussian noise ``snr_db`` below the wave's RMS; digital silence stays silent."""
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
    """Return (first, end) of each stretch of zeros of at least SILENCE_S, (stretches, 2)."""
    # Such a stretch has a zero among every so many samples.
    if wave[:: int(SILENCE_S * RATE_HZ)].all():
        return np.empty((0, 2), np.int64)
    zero = np.concatenate([[False], wave == 0, [False]])
    stretches = np.flatnonzero(zero[1:] != zero[:-1]).reshape(-1, 2)
    return stretches[stretches[:, 1] - stretches[:, 0] >= SILENCE_S * RATE_HZ]
