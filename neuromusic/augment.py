"""The ten variants of a training clip: draw their parameters from a seed, then apply them.

`draw` depends on (seed, clip, variant) alone, so the result is the same whatever the order of the
clips or the number of workers. `apply` is a pure function of the wave and the parameters.
"""

import hashlib
from typing import Any

import bottleneck
import numpy as np
import soxr
import torch
import torchaudio.functional as taf
from numpy.typing import NDArray

from neuromusic.audio import RATE_HZ
from neuromusic.variants import VARIANTS

# STFT of the phase vocoder and of the median filters; librosa's defaults.
N_FFT, HOP = 2048, 512
MEDIAN = 31
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


def apply(wave: Wave, variant: int, parameters: Parameters) -> Wave:
    """Return a variant of a wave (n_samples,) at RATE_HZ, float32.

    A variant that would last longer is cut to the length of the original; one that is faster stays
    shorter: nothing is padded.
    """
    match VARIANTS[variant]:
        case "original":
            out = wave
        case "noise":
            out = add_noise(wave, **parameters)
        case "shift":
            out = np.roll(wave, round(parameters["shift"] * len(wave)))
        case "stretch":
            out = time_stretch(wave, parameters["rate"])
        case "pitch":
            out = pitch_shift(wave, parameters["pitch_semitones"])
        case "speed":
            out = change_speed(wave, parameters["rate"])
        case "resample":
            low = soxr.resample(wave, RATE_HZ, parameters["rate_hz"])
            out = soxr.resample(low, parameters["rate_hz"], RATE_HZ)
        case "gain":
            out = wave * np.float32(10 ** (parameters["gain_db"] / 20))
        case "percussive":
            out = separate(wave, parameters["margin"])[1]
        case "harmonic":
            out = separate(wave, parameters["margin"])[0]
    out = np.ascontiguousarray(out[: len(wave)], dtype=np.float32)
    peak = np.abs(out).max(initial=0.0)
    if variant and peak > 1:  # a file could not hold it
        out *= np.float32(0.999 / peak)
    return out


def add_noise(wave: Wave, snr_db: float, noise_seed: int) -> Wave:
    """Add white Gaussian noise ``snr_db`` below the wave's RMS; digital silence stays silent."""
    noise = np.random.default_rng(noise_seed).standard_normal(len(wave), dtype=np.float32)
    silent = digital_silence(wave)
    noise[silent] = 0
    rms = np.sqrt(np.mean(np.square(wave[~silent], dtype=np.float64)))
    return wave + noise * np.float32(rms * 10 ** (-snr_db / 20))


def digital_silence(wave: Wave) -> NDArray[np.bool_]:
    """Return which samples (n_samples,) lie in a stretch of zeros of at least SILENCE_S."""
    zero = np.concatenate([[False], wave == 0, [False]])
    borders = np.flatnonzero(zero[1:] != zero[:-1])
    silent = np.zeros(len(wave), dtype=np.bool_)
    for first, end in borders.reshape(-1, 2):
        if end - first >= SILENCE_S * RATE_HZ:
            silent[first:end] = True
    return silent


def time_stretch(wave: Wave, rate: float) -> Wave:
    """Change the tempo by ``rate`` (> 1 is faster) and keep the pitch, by a phase vocoder.

    As librosa.effects.time_stretch (Flanagan and Golden 1966; Ellis 2002).
    """
    advance = torch.linspace(0, np.pi * HOP, N_FFT // 2 + 1)[:, None]
    slow = taf.phase_vocoder(_stft(wave), rate, advance)
    return _istft(slow, round(len(wave) / rate))


def pitch_shift(wave: Wave, semitones: float) -> Wave:
    """Shift the pitch and keep the tempo: a time stretch, then resampling back to the length."""
    rate = 2.0 ** (-semitones / 12)
    return soxr.resample(time_stretch(wave, rate), RATE_HZ / rate, RATE_HZ)[: len(wave)]


def change_speed(wave: Wave, rate: float) -> Wave:
    """Play the wave ``rate`` times as fast; tempo and pitch go together."""
    return soxr.resample(wave, RATE_HZ * rate, RATE_HZ)


def separate(wave: Wave, margin: float) -> tuple[Wave, Wave]:
    """Return the harmonic and the percussive part of a wave.

    Median filtering of the spectrogram along time and along frequency, soft masks of power 2
    (Fitzgerald 2010; margin after Driedger, Mueller and Disch 2014), as librosa.effects.hpss.
    """
    spectrum = _stft(wave)
    magnitude = spectrum.abs().numpy()
    harmonic = _moving_median(magnitude)
    percussive = _moving_median(magnitude.T).T
    keep = [
        torch.from_numpy(_soft_mask(a, b * np.float32(margin)))
        for a, b in ((harmonic, percussive), (percussive, harmonic))
    ]
    return _istft(spectrum * keep[0], len(wave)), _istft(spectrum * keep[1], len(wave))


def _moving_median(x: Wave) -> Wave:
    """Median of MEDIAN values along the last axis, the borders mirrored."""
    half = MEDIAN // 2
    padded = np.pad(x, ((0, 0), (half, half)), mode="symmetric")
    return bottleneck.move_median(padded, MEDIAN, axis=1)[:, MEDIAN - 1 :]


def _soft_mask(x: Wave, reference: Wave) -> Wave:
    z = np.maximum(x, reference)
    silent = z < np.finfo(np.float32).tiny
    z[silent] = 1  # where both are silent the mask is 0
    mask: Wave = np.square(x / z)
    total = mask + np.square(reference / z)
    total[silent] = 1
    mask /= total
    return mask


def _stft(wave: Wave) -> torch.Tensor:
    # Zero padding at the ends as librosa has it since 0.10.
    return torch.stft(
        torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32)),
        N_FFT, HOP, window=torch.hann_window(N_FFT), pad_mode="constant", return_complex=True,
    )  # fmt: skip


def _istft(spectrum: torch.Tensor, length: int) -> Wave:
    return torch.istft(spectrum, N_FFT, HOP, window=torch.hann_window(N_FFT), length=length).numpy()
