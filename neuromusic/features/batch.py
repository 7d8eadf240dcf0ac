"""The ten variants of a batch of clips of one length, on a GPU; `augment` has those of one clip."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neuromusic.features.augment import PEAK, Parameters, Wave, add_noise
from neuromusic.features.stft import gpu
from neuromusic.features.stft.spectrum import (
    HOP,
    N_FFT,
    PARTS,
    edge,
    gains_of_length,
    nearest_length,
    spectra,
)
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.stimuli.variants import VARIANTS

Lengths = list[int]  # samples of each wave of a batch; the rest of its row is zero


def noisy_waves(waves: Sequence[Wave], drawn: Sequence[Sequence[Parameters]]) -> Tensor | None:
    """Return the variant "noise" of each wave, (waves, n_samples); None if it is not drawn.

    Computed on the CPU, whose random numbers differ from those of a GPU.
    """
    index = VARIANTS.index("noise")
    if len(drawn[0]) <= index:
        return None
    noisy = [
        add_noise(wave, parameters[index]["snr_db"], int(parameters[index]["noise_seed"]))
        for wave, parameters in zip(waves, drawn, strict=True)
    ]
    return torch.from_numpy(np.stack(noisy))


def batch_variants(
    waves: Tensor, noisy: Tensor | None, drawn: Sequence[Sequence[Parameters]]
) -> Iterator[tuple[Tensor, Lengths]]:
    """Yield each variant of a batch: its waves (waves, n_samples) and how long each is.

    Parameters
    ----------
    waves : Tensor (waves, n_samples)
        Waves at RATE_HZ, float32, on the device that computes.
    noisy : Tensor (waves, n_samples) or None
        The variant "noise", of `noisy_waves`.
    drawn : sequence of sequence of dict
        For each wave, the parameters of each variant, of `augment.draw`.
    """
    yield waves, [waves.shape[1]] * len(waves)
    if len(drawn[0]) == 1:
        return
    assert noisy is not None
    batch = _Batch(waves)
    for variant in range(1, len(drawn[0])):
        parameters = [of_wave[variant] for of_wave in drawn]
        name = VARIANTS[variant]
        out, lengths = (noisy, None) if name == "noise" else MAKERS[name](batch, parameters)
        yield _fitted(out.to(waves.device), lengths, waves.shape[1])


def _fitted(out: Tensor, lengths: Lengths | None, n_samples: int) -> tuple[Tensor, Lengths]:
    """Return waves of ``n_samples`` samples, cut or with zeros, none above full scale."""
    out = F.pad(out[:, :n_samples], (0, max(0, n_samples - out.shape[1])))
    peak = out.abs().amax(1, keepdim=True)
    out = out * torch.where(peak > 1, PEAK / peak, torch.ones_like(peak))
    return out, [min(n, n_samples) for n in lengths or [n_samples] * len(out)]


class _Batch:
    """Waves of one length, their spectra, and the medians of these (computed once)."""

    def __init__(self, waves: Tensor) -> None:
        self.waves = waves
        self.n_samples = waves.shape[1]
        self.bins = spectra(waves, N_FFT, HOP)  # (waves, frames, bins)
        self.n_frames = self.bins.shape[1]
        self._medians: tuple[Tensor, Tensor] | None = None

    @property
    def medians(self) -> tuple[Tensor, Tensor]:
        """Moving medians along time and along frequency."""
        if self._medians is None:
            self._medians = gpu.moving_medians(self.bins)
        return self._medians

    def numbers(self, values: Sequence[float], n_axes: int) -> Tensor:
        """Return one number per wave, with ``n_axes`` axes of one element after the first."""
        tensor = torch.tensor(values, dtype=torch.float32, device=self.waves.device)
        return tensor.view(-1, *[1] * n_axes)


Made = tuple[Tensor, Lengths | None]
Maker = Callable[[_Batch, list[Parameters]], Made]


def _shift(batch: _Batch, parameters: list[Parameters]) -> Made:
    pairs = zip(batch.waves, parameters, strict=True)
    return torch.stack([wave.roll(round(p["shift"] * len(wave))) for wave, p in pairs]), None


def _gain(batch: _Batch, parameters: list[Parameters]) -> Made:
    return batch.waves * batch.numbers([10 ** (p["gain_db"] / 20) for p in parameters], 1), None


def _stretch(batch: _Batch, parameters: list[Parameters]) -> Made:
    rates = [p["rate"] for p in parameters]
    return _at_tempo(batch, rates, [N_FFT] * len(rates))


def _pitch(batch: _Batch, parameters: list[Parameters]) -> Made:
    rates = [2.0 ** (-p["pitch_semitones"] / 12) for p in parameters]
    return _at_tempo(batch, rates, [nearest_length(rate) for rate in rates])


def _at_tempo(batch: _Batch, rates: list[float], lengths: list[int]) -> Made:
    """As `Spectrum.at_tempo`, with a rate and a frame length for each wave."""
    steps = [np.arange(0, batch.n_frames, rate) for rate in rates]
    frames = gpu.phase_vocode(batch.bins, steps)
    n_samples = [batch.n_samples / rate for rate in rates]
    return _inverse(frames, [len(at) for at in steps], n_samples, lengths)


def _speed(batch: _Batch, parameters: list[Parameters]) -> Made:
    lengths = [nearest_length(1 / p["rate"]) for p in parameters]
    n = len(lengths)
    return _inverse(batch.bins, [batch.n_frames] * n, [float(batch.n_samples)] * n, lengths)


def _resample(batch: _Batch, parameters: list[Parameters]) -> Made:
    """As `Spectrum.without_treble`."""
    limits = batch.numbers([p["rate_hz"] / RATE_HZ * N_FFT / 2 for p in parameters], 2)
    gains = edge(limits, N_FFT // 2 + 1, batch.waves.device) ** 2
    return _unchanged_length(batch, gpu.apply_gains(batch.bins, gains))


def _part(harmonic: bool) -> Maker:
    """As `Spectrum.part`."""

    def make(batch: _Batch, parameters: list[Parameters]) -> Made:
        along_time, along_frequency = batch.medians
        pair = (along_time, along_frequency) if harmonic else (along_frequency, along_time)
        margins = batch.numbers([p["margin"] for p in parameters], 2)
        return _unchanged_length(batch, gpu.apply_mask(batch.bins, *pair, margins))

    return make


def _unchanged_length(batch: _Batch, frames: Tensor) -> Made:
    n = len(frames)
    return gpu.overlap_add(frames, [batch.n_frames] * n, [batch.n_samples] * n, N_FFT), None


def _inverse(
    frames: Tensor, n_frames: Lengths, n_samples: Sequence[float], lengths: Sequence[int]
) -> Made:
    """Return waves from frames of ``lengths`` samples; see `Spectrum._inverse`."""
    n = [
        round(samples * length / N_FFT) for samples, length in zip(n_samples, lengths, strict=True)
    ]
    out = frames.new_zeros(len(frames), max(n), dtype=torch.float32)
    for length in sorted(set(lengths)):  # one transform for all waves with frames of this length
        waves = [index for index, other in enumerate(lengths) if other == length]
        most = [-(-(n[w] + length // 2) // (length // PARTS)) for w in waves]
        few = [min(n_frames[w], most_w) for w, most_w in zip(waves, most, strict=True)]
        chosen = frames[torch.tensor(waves, device=frames.device)][:, : max(few)]
        if length != N_FFT:
            chosen = gpu.apply_gains(chosen, gains_of_length(length, frames.device))
        made = gpu.overlap_add(chosen, few, [n[w] for w in waves], length)
        out[torch.tensor(waves, device=frames.device), : made.shape[1]] = made
    return out, n


MAKERS: dict[str, Maker] = {
    "shift": _shift,
    "stretch": _stretch,
    "pitch": _pitch,
    "speed": _speed,
    "resample": _resample,
    "gain": _gain,
    "percussive": _part(False),
    "harmonic": _part(True),
}
