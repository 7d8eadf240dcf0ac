"""The ten variants of a training clip: draw their parameters from a seed, then apply them.

`draw` depends on (seed, clip, variant) alone, so the result is the same whatever the order of the
clips or the number of workers. `apply` is a pure function of the wave and the parameters.
"""

import hashlib
import math
from functools import cached_property
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.audio import RATE_HZ
from neuromusic.stft import Spectrum
from neuromusic.variants import VARIANTS

# Where soxr's HQ falls to a half, and how fast, as shares of what a rate can hold; measured.
EDGE, EDGE_WIDTH = 0.9568, 0.0115
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
    0.8..0.95 or 1.05..1.25, of speed 0.85..0.95 or 1.05..1.18; pitch_semitones +-0.5..3;
    rate_hz 5 000..12 000; gain_db -12..-3; margin of the median masks 1..2.
    """
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
            return {"pitch_semitones": either((-3, -0.5), (0.5, 3))}
        case "speed":
            return {"rate": either((0.85, 0.95), (1.05, 1.18))}
        case "resample":
            return {"rate_hz": int(rng.integers(5_000, 12_000))}
        case "gain":
            return {"gain_db": rng.uniform(-12, -3)}
        case "percussive" | "harmonic":
            return {"margin": rng.uniform(1, 2)}
    return {}


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
            out = source.spectrum.stretched(parameters["rate"])
        case "pitch":  # a stretch, then played at another speed, back to the length
            rate = 2.0 ** (-parameters["pitch_semitones"] / 12)
            out = play_at(source.spectrum.stretched(rate), 1 / rate)
        case "speed":
            out = play_at(wave, parameters["rate"])
        case "resample":
            out = without_treble(wave, parameters["rate_hz"])
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
    noise = np.random.default_rng(noise_seed).standard_normal(len(wave), dtype=np.float32)
    power = np.square(wave).sum(dtype=np.float64) / len(wave)
    # A rest of SILENCE_S has a zero among every so many samples.
    if (wave[:: int(SILENCE_S * RATE_HZ)] == 0).any():
        silent = digital_silence(wave)
        noise[silent] = 0
        power = np.square(wave[~silent]).mean(dtype=np.float64)
    noise *= np.float32(np.sqrt(power) * 10 ** (-snr_db / 20))
    noise += wave
    return noise


def digital_silence(wave: Wave) -> NDArray[np.bool_]:
    """Return which samples (n_samples,) lie in a stretch of zeros of at least SILENCE_S."""
    zero = np.concatenate([[False], wave == 0, [False]])
    borders = np.flatnonzero(zero[1:] != zero[:-1])
    silent = np.zeros(len(wave), dtype=np.bool_)
    for first, end in borders.reshape(-1, 2):
        if end - first >= SILENCE_S * RATE_HZ:
            silent[first:end] = True
    return silent


def play_at(wave: Tensor, rate: float) -> Tensor:
    """Return a wave (n_samples,) played ``rate`` times as fast; tempo and pitch go together."""
    if wave.is_cuda:
        return _fourier_resample(wave, 1 / rate)
    return torch.from_numpy(soxr.resample(wave.numpy(), RATE_HZ * rate, RATE_HZ))


def without_treble(wave: Tensor, rate_hz: int) -> Tensor:
    """Return a wave (n_samples,) after resampling down to ``rate_hz`` and back."""
    if wave.is_cuda:
        return _fourier_resample(wave, 1.0, rate_hz)
    low = soxr.resample(wave.numpy(), RATE_HZ, rate_hz)
    return torch.from_numpy(soxr.resample(low, rate_hz, RATE_HZ))


def _fourier_resample(wave: Tensor, ratio: float, low_hz: float | None = None) -> Tensor:
    """Return a wave (n_samples,) at ``ratio`` times its rate, as soxr would, by Fourier transform.

    For GPUs. With ``low_hz`` it passes through that lower rate on its way.
    """
    n = len(wave)
    # With silence behind, for a filter reaches round the end; as long as fits the ratio best.
    lengths = n + n // 16 + np.arange(500)
    n_in = int(lengths[np.abs(lengths * ratio - np.round(lengths * ratio)).argmin()])
    n_out = round(n_in * ratio)
    spectrum = torch.fft.rfft(wave, n_in)
    limit = min(n_in, n_out) / 2 if low_hz is None else low_hz / RATE_HZ * n_in / 2
    place = torch.arange(len(spectrum), device=wave.device) / limit
    passed = 0.5 * torch.erfc((place - EDGE) / (EDGE_WIDTH * math.sqrt(2)))
    spectrum *= passed if low_hz is None else passed**2  # down and up again
    return torch.fft.irfft(spectrum, n_out)[: round(n * ratio)] * (n_out / n_in)
