"""Passes over spectra on a CPU: each in one go over the memory, compiled by Numba.

A few frames at a time, so that what one pass writes is still in the cache when the next one reads
it. `tensors` has the same functions for a GPU. Spectra are (frames, bins) complex64.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.features.stft.median import TILE, mirrored_rows, program

BLOCK = 160 * 1024  # samples at a time, in as many frames as hold them
WIDTH = 512  # columns that are sorted at a time
TINY = np.float32(1e-30)  # a power that is none
ZERO, ONE = np.float32(0), np.float32(1)

# A power as a positive 16-bit number: a float's bits, with 9 of its fraction (.05 % of a
# magnitude), from 2 ** -36 (a 60th of 16-bit noise) to 2 ** 28 (a tone of amplitude 32). They sort
# as the powers do.
SHIFT, LOWEST = np.int32(14), np.int32((127 - 36) << 23)


def blocks(n: int, n_fft: int) -> Iterator[slice]:
    """Yield slices of n frames of about ``n_fft`` samples; the last may be shorter."""
    size = max(1, BLOCK // n_fft)
    return (slice(first, min(n, first + size)) for first in range(0, n, size))


def spectra_in_blocks(wave: Tensor, window: Tensor, hop: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield (frames, their spectra) of a wave (n_samples,); see `stft.spectra`."""
    samples, weights = wave.numpy(), window.numpy()
    n_fft = len(window)
    frames = torch.empty(max(1, BLOCK // n_fft), n_fft)
    for part in blocks(1 + len(wave) // hop, n_fft):
        cut = frames[: part.stop - part.start]
        _cut(samples, weights, hop, part.start, cut.numpy())
        yield part, torch.fft.rfft(cut)


def spectra(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """Return the spectra of a wave (n_samples,); see `stft.spectra`."""
    bins = np.empty((1 + len(wave) // hop, len(window) // 2 + 1), np.complex64)
    for part, made in spectra_in_blocks(wave, window, hop):
        bins[part] = made.numpy()
    return torch.from_numpy(bins)


def band_powers(wave: Tensor, window: Tensor, hop: int, filters: Tensor) -> Tensor:
    """Return the power (bands, frames) of a wave (n_samples,) in bands.

    ``filters`` (bins, bands); what a band weighs lies in one piece.
    """
    first, starts, weights = _bands(filters)
    powers = np.empty((len(first), 1 + len(wave) // hop), np.float32)
    for part, bins in spectra_in_blocks(wave, window, hop):
        _sum_bands(bins.numpy(), first, weights, starts, powers[:, part])
    return torch.from_numpy(powers)


@lru_cache
def _bands(filters: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return for each band its first bin, where its weights begin and end, and all weights."""
    heard = [band.nonzero().flatten() for band in filters.T]
    first = [int(bins[0]) if len(bins) else 0 for bins in heard]
    ends = [int(bins[-1]) + 1 if len(bins) else 0 for bins in heard]
    weights = [band[a:b] for band, a, b in zip(filters.T, first, ends, strict=True)]
    starts = np.cumsum([0, *map(len, weights)])
    return np.array(first), starts, torch.cat(weights).numpy()


def filtered(bins: Tensor, gains: Tensor) -> Iterator[Tensor]:
    """Multiply each bin by its gain; as many bins as there are gains, silent where none is."""
    source, weights = bins.numpy(), gains.numpy()
    for part in blocks(len(source), 2 * source.shape[1]):
        out = torch.empty(part.stop - part.start, len(weights), dtype=bins.dtype)
        _filter(source[part], weights, out.numpy())
        yield out


def vocoded(bins: Tensor, steps: NDArray[np.float64], gains: Tensor) -> Iterator[Tensor]:
    """Yield a phase vocoder's frames, with gains as in `filtered`; see `stft.Spectrum.at_tempo`.

    ``steps`` are their places in ``bins``, behind whose last frame silence follows.
    """
    source, weights = bins.numpy(), gains.numpy()
    phase = np.where(np.abs(source[0]) ** 2 < TINY, 1, np.exp(1j * np.angle(source[0])))
    re, im = phase.real.astype(np.float32), phase.imag.astype(np.float32)
    for part in blocks(len(steps), 2 * source.shape[1]):
        out = torch.empty(part.stop - part.start, len(weights), dtype=bins.dtype)
        _vocode(source, steps[part], weights, re, im, out.numpy())
        yield out


def medians(bins: Tensor) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return moving medians of the power along time and along frequency, (frames, bins) codes."""
    codes = np.empty(bins.shape, np.int16)
    _encode(bins.numpy(), codes)
    turned = np.ascontiguousarray(codes.T)  # what is read across rows is read ten times as slowly
    return moving_median(codes), np.ascontiguousarray(moving_median(turned).T)


def masked(
    bins: Tensor, wanted: NDArray[np.int16], other: NDArray[np.int16], margin: float
) -> Iterator[Tensor]:
    """Multiply bins by wanted / (wanted + margin ** 2 * other), where these are powers as codes."""
    source = bins.numpy()
    for part in blocks(len(source), 2 * source.shape[1]):
        out = torch.empty(part.stop - part.start, source.shape[1], dtype=bins.dtype)
        _mask(source[part], wanted[part], other[part], np.float32(margin), out.numpy())
        yield out


def overlap_add(spectra: Iterable[Tensor], window: Tensor, hop: int, n_frames: int) -> Tensor:
    """Return the sum (samples,) of the inverse transforms of frames, weighted, ``hop`` apart.

    What is behind ``n_frames`` is left out.
    """
    weights = window.numpy()
    wave = np.zeros((n_frames - 1) * hop + len(weights), np.float32)
    first = 0
    for bins in spectra:
        if first == n_frames:
            break
        frames = torch.fft.irfft(bins[: n_frames - first], len(weights)).numpy()
        _add(frames, weights, hop, first, wave)
        first += len(frames)
    return torch.from_numpy(wave)


def moving_median(x: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the median of LENGTH values along the first axis of ``x`` (n, columns) int16.

    Equal to that of scipy.ndimage.median_filter with mode "reflect".
    """
    p = program()
    out = np.empty_like(x)
    _medians(x, mirrored_rows(len(x)), p.column, p.tile, p.medians, p.kept, p.rows, out)
    return out


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called; kept on disk where a place can be written."""
    options: dict[str, Any] = {
        "fastmath": {"reassoc", "contract", "nsz", "arcp"}, "error_model": "numpy", "nogil": True,
    }  # fmt: skip
    try:
        made: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package nor the home can be written
        made = njit(**options)(function)
    return made


@compiled
def _cut(wave: Any, window: Any, hop: int, first: int, out: Any) -> None:
    """Cut windowed frames (n, n_fft) of a wave, from frame ``first`` on; silence lies around it."""
    for frame in range(len(out)):
        start = (first + frame) * hop - len(window) // 2
        begin, end = max(0, -start), max(0, min(len(window), len(wave) - start))
        source, under, to = wave[start + begin : start + end], window[begin:end], out[frame]
        to[:begin] = 0
        to[end:] = 0
        inside = to[begin:end]
        for i in range(len(inside)):
            inside[i] = source[i] * under[i]


@compiled
def _sum_bands(bins: Any, first: Any, weights: Any, starts: Any, out: Any) -> None:
    """Sum the power of bins into bands (bands, frames).

    Band ``b`` begins at bin ``first[b]``; its weights are ``weights[starts[b] : starts[b + 1]]``.
    """
    n, n_bins = bins.shape
    # So many frames side by side, turned a few at a time.
    side, few = 64, 8
    rows, power = np.zeros((few, n_bins), np.float32), np.zeros((n_bins, side), np.float32)
    total = np.empty(side, np.float32)
    for begin in range(0, n, side):
        width = min(side, n - begin)
        for top in range(0, width, few):
            for frame in range(min(few, width - top)):
                source, row = bins[begin + top + frame], rows[frame]
                for k in range(n_bins):
                    row[k] = source[k].real ** 2 + source[k].imag ** 2
            for k in range(n_bins):
                for frame in range(few):
                    power[k, top + frame] = rows[frame, k]
        for band in range(len(first)):
            total[:] = 0
            for i in range(starts[band], starts[band + 1]):
                weight, heard = weights[i], power[first[band] + i - starts[band]]
                for frame in range(side):
                    total[frame] += weight * heard[frame]
            _copy(total, out[band, begin : begin + width])


@compiled
def _filter(bins: Any, gains: Any, out: Any) -> None:
    """Multiply each bin by its gain; as many bins as there are gains, silent where none is."""
    n = min(bins.shape[1], len(gains))
    for frame in range(len(bins)):
        source, to = bins[frame], out[frame]
        for k in range(n):
            to[k] = complex(source[k].real * gains[k], source[k].imag * gains[k])
        to[n:] = 0


@compiled
def _vocode(bins: Any, steps: Any, gains: Any, re: Any, im: Any, out: Any) -> None:
    """Write the frames of a phase vocoder; see `stft.Spectrum.at_tempo`.

    ``steps`` are the places of the frames in ``bins``, behind whose last frame silence follows;
    ``re`` and ``im`` the phase of the first of them, and then of the next to come, of magnitude 1.
    """
    n = min(bins.shape[1], len(gains))
    silence = np.zeros(bins.shape[1], np.complex64)
    for t in range(len(steps)):
        at = int(steps[t])
        share = np.float32(steps[t] - at)
        there = bins[at + 1] if at + 1 < len(bins) else silence
        _turn(bins[at], there, share, gains, re, im, out[t, :n])
        out[t, n:] = 0


@compiled
def _turn(here: Any, there: Any, share: np.float32, gains: Any, re: Any, im: Any, out: Any) -> None:
    for k in range(len(out)):
        a, b = here[k], there[k]
        a_power, b_power = a.real**2 + a.imag**2, b.real**2 + b.imag**2
        # The phase of silence is 0, as that of 1.
        a_none, b_none = ONE if a_power < TINY else ZERO, ONE if b_power < TINY else ZERO
        a_size, b_size = np.sqrt(a_power + a_none), np.sqrt(b_power + b_none)
        a_re, b_re = a.real + a_none, b.real + b_none
        x, y, before = re[k], im[k], a_size - a_none
        size = (before + share * (b_size - b_none - before)) * gains[k]
        out[k] = complex(x * size, y * size)
        one = ONE / (a_size * b_size)
        turn_re = (b_re * a_re + b.imag * a.imag) * one
        turn_im = (b.imag * a_re - b_re * a.imag) * one
        re[k], im[k] = x * turn_re - y * turn_im, x * turn_im + y * turn_re


@compiled
def _encode(bins: Any, out: Any) -> None:
    """Write the powers of bins as 16-bit numbers that sort as they do (int16)."""
    n, n_bins = bins.shape
    powers = np.empty(n_bins, np.float32)
    bits = powers.view(np.int32)
    for frame in range(n):
        row, to = bins[frame], out[frame]
        for k in range(n_bins):
            powers[k] = row[k].real ** 2 + row[k].imag ** 2
        for k in range(n_bins):
            rounded = (bits[k] - LOWEST + (1 << (SHIFT - 1))) >> SHIFT
            to[k] = max(0, min(2**15 - 1, rounded))


@compiled
def _mask(bins: Any, wanted: Any, other: Any, margin: np.float32, out: Any) -> None:
    """Multiply bins by wanted / (wanted + margin ** 2 * other), where these are powers as codes."""
    n, n_bins = bins.shape
    a, b = np.empty(n_bins, np.float32), np.empty(n_bins, np.float32)
    a_bits, b_bits = a.view(np.int32), b.view(np.int32)
    for frame in range(n):
        row, to, wanted_row, other_row = bins[frame], out[frame], wanted[frame], other[frame]
        for k in range(n_bins):
            code, against = np.int32(wanted_row[k]), np.int32(other_row[k])
            a_bits[k] = (code << SHIFT) + LOWEST if code > 0 else 0
            b_bits[k] = (against << SHIFT) + LOWEST if against > 0 else 0
        for k in range(n_bins):
            share = a[k] / (a[k] + margin * margin * b[k] + TINY)
            to[k] = complex(row[k].real * share, row[k].imag * share)


@compiled
def _add(added: Any, window: Any, hop: int, first: int, wave: Any) -> None:
    """Add frames (n, n_fft), weighted, to a wave, from frame ``first`` on."""
    for frame in range(len(added)):
        start = (first + frame) * hop
        row, to = added[frame], wave[start : start + len(window)]
        for i in range(len(to)):
            to[i] += row[i] * window[i]


@compiled
def _medians(
    x: Any, rows: Any, column: Any, tile: Any, medians: Any, kept: int, n_rows: int, out: Any
) -> None:
    """Follow a `median.Program`; ``rows`` says which rows of ``x`` lie in which tile."""
    n, columns = x.shape
    values = np.zeros((n_rows, WIDTH), np.int16)
    for left in range(0, columns, WIDTH):
        width = min(WIDTH, columns - left)
        for t in range(len(rows)):
            for i in range(TILE):
                _copy(x[rows[t, i], left : left + width], values[t % 3 * kept + i])
            _run(column[t % 3], values)
            if t < 2:
                continue
            _run(tile[(t - 2) % 3], values)
            top = (t - 2) * TILE
            for i in range(min(TILE, n - top)):
                _copy(values[medians[i]], out[top + i, left : left + width])


@compiled
def _copy(source: Any, to: Any) -> None:
    for i in range(min(len(source), len(to))):
        to[i] = source[i]


@compiled
def _run(steps: Any, values: Any) -> None:
    for step in range(len(steps)):
        to, a, b = values[steps[step, 0]], values[steps[step, 1]], values[steps[step, 2]]
        if steps[step, 3]:
            for c in range(WIDTH):
                to[c] = a[c] if a[c] > b[c] else b[c]
        else:
            for c in range(WIDTH):
                to[c] = a[c] if a[c] < b[c] else b[c]
