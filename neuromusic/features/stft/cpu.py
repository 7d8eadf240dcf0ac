"""Passes over spectra on a CPU, compiled by Numba; `stft.gpu` has the same functions for a GPU.

Each pass goes through memory once, in blocks of a few frames, so that the data one pass writes are
still in the cache when the next pass reads them. Spectra are (frames, bins) complex64. The upper
half of the file holds the passes, the lower half the compiled loops.
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

BLOCK = 160 * 1024  # samples in a block of frames
WIDTH = 512  # columns that are sorted at a time
TINY = np.float32(1e-30)  # powers below this count as zero
ZERO, ONE = np.float32(0), np.float32(1)

# A power is coded as a positive 16-bit number: the bits of a float32 with 9 bits of its fraction
# (0.05 % of a magnitude), from 2 ** -36 (a 60th of 16-bit noise) to 2 ** 28 (a tone of amplitude
# 32). Codes sort in the same order as the powers.
SHIFT, LOWEST = np.int32(14), np.int32((127 - 36) << 23)


# --- Passes ---------------------------------------------------------------------------------------


def blocks(n: int, n_fft: int) -> Iterator[slice]:
    """Yield slices that divide n frames of about ``n_fft`` samples into blocks."""
    size = max(1, BLOCK // n_fft)
    return (slice(first, min(n, first + size)) for first in range(0, n, size))


def spectra_in_blocks(wave: Tensor, window: Tensor, hop: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield (slice of frames, their spectra) of a wave (n_samples,); see `spectra`."""
    samples, weights = wave.numpy(), window.numpy()
    n_fft = len(window)
    frames = torch.empty(max(1, BLOCK // n_fft), n_fft)
    for block in blocks(1 + len(wave) // hop, n_fft):
        cut = frames[: block.stop - block.start]
        _cut_frames(samples, weights, hop, block.start, cut.numpy())
        yield block, torch.fft.rfft(cut)


def spectra(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """Return the spectra (frames, bins) of a wave (n_samples,); see `stft.spectrum.spectra`."""
    bins = np.empty((1 + len(wave) // hop, len(window) // 2 + 1), np.complex64)
    for block, block_bins in spectra_in_blocks(wave, window, hop):
        bins[block] = block_bins.numpy()
    return torch.from_numpy(bins)


def band_powers(wave: Tensor, window: Tensor, hop: int, filters: Tensor) -> Tensor:
    """Return the power (bands, frames) of a wave (n_samples,) in frequency bands.

    ``filters`` (bins, bands); the non-zero weights of each band are adjacent.
    """
    first, starts, weights = _filter_weights(filters)
    powers = np.empty((len(first), 1 + len(wave) // hop), np.float32)
    for block, bins in spectra_in_blocks(wave, window, hop):
        _sum_bands(bins.numpy(), first, weights, starts, powers[:, block])
    return torch.from_numpy(powers)


@lru_cache
def _filter_weights(
    filters: Tensor,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the first bin of each band, the offsets of each band's weights, and all weights."""
    nonzero = [band.nonzero().flatten() for band in filters.T]
    first = [int(bins[0]) if len(bins) else 0 for bins in nonzero]
    ends = [int(bins[-1]) + 1 if len(bins) else 0 for bins in nonzero]
    weights = [band[a:b] for band, a, b in zip(filters.T, first, ends, strict=True)]
    starts = np.cumsum([0, *map(len, weights)])
    return np.array(first), starts, torch.cat(weights).numpy()


def apply_gains(bins: Tensor, gains: Tensor) -> Iterator[Tensor]:
    """Apply per-bin gains to spectra (frames, bins); yields (frames, len(gains)) in blocks.

    Bins beyond the input are zero.
    """
    source, weights = bins.numpy(), gains.numpy()
    for block in blocks(len(source), 2 * source.shape[1]):
        out = torch.empty(block.stop - block.start, len(weights), dtype=bins.dtype)
        _apply_gains(source[block], weights, out.numpy())
        yield out


def phase_vocode(bins: Tensor, steps: NDArray[np.float64], gains: Tensor) -> Iterator[Tensor]:
    """Compute the frames of a phase vocoder; yields (len(steps), len(gains)) in blocks.

    Output frame t lies at ``steps[t]`` among the frames of ``bins``, whose last frame is followed
    by silence. See `Spectrum.at_tempo` for the method, `apply_gains` for the gains.
    """
    source, weights = bins.numpy(), gains.numpy()
    phase = np.where(np.abs(source[0]) ** 2 < TINY, 1, np.exp(1j * np.angle(source[0])))
    re, im = phase.real.astype(np.float32), phase.imag.astype(np.float32)
    for block in blocks(len(steps), 2 * source.shape[1]):
        out = torch.empty(block.stop - block.start, len(weights), dtype=bins.dtype)
        _phase_vocode(source, steps[block], weights, re, im, out.numpy())
        yield out


def moving_medians(bins: Tensor) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return moving medians of the power along time and along frequency, (frames, bins) codes."""
    codes = np.empty(bins.shape, np.int16)
    _encode_powers(bins.numpy(), codes)
    # Transposed, because reading along a column is ten times as slow as along a row.
    transposed = np.ascontiguousarray(codes.T)
    return moving_median(codes), np.ascontiguousarray(moving_median(transposed).T)


def moving_median(x: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the median of `median.LENGTH` values along the first axis of (n, columns) int16.

    Equals scipy.ndimage.median_filter with mode "reflect".
    """
    p = program()
    out = np.empty_like(x)
    _run_program(x, mirrored_rows(len(x)), p.column, p.tile, p.medians, (p.kept, p.rows), out)
    return out


def apply_mask(
    bins: Tensor, target: NDArray[np.int16], other: NDArray[np.int16], margin: float
) -> Iterator[Tensor]:
    """Multiply spectra by target / (target + margin ** 2 * other); yields blocks of frames.

    All are (frames, bins); ``target`` and ``other`` are coded powers from `moving_medians`.
    """
    source = bins.numpy()
    for block in blocks(len(source), 2 * source.shape[1]):
        out = torch.empty(block.stop - block.start, source.shape[1], dtype=bins.dtype)
        _apply_mask(source[block], target[block], other[block], np.float32(margin), out.numpy())
        yield out


def overlap_add(spectra: Iterable[Tensor], window: Tensor, hop: int, n_frames: int) -> Tensor:
    """Return the wave (samples,) of spectra: windowed inverse transforms, added ``hop`` apart.

    Frames after the first ``n_frames`` are left out.
    """
    weights = window.numpy()
    wave = np.zeros((n_frames - 1) * hop + len(weights), np.float32)
    first = 0
    for bins in spectra:
        if first == n_frames:
            break
        frames = torch.fft.irfft(bins[: n_frames - first], len(weights)).numpy()
        _add_frames(frames, weights, hop, first, wave)
        first += len(frames)
    return torch.from_numpy(wave)


# --- Compiled loops -------------------------------------------------------------------------------


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call; cache it on disk if a cache directory is writable."""
    options: dict[str, Any] = {
        "fastmath": {"reassoc", "contract", "nsz", "arcp"}, "error_model": "numpy", "nogil": True,
    }  # fmt: skip
    try:
        dispatcher: Callable[..., Any] = njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package nor the home directory is writable
        dispatcher = njit(**options)(function)
    return dispatcher


@compiled
def _cut_frames(wave: Any, window: Any, hop: int, first: int, out: Any) -> None:
    """Cut windowed frames (n, n_fft) of a wave, from frame ``first`` on; zeros surround it."""
    for frame in range(len(out)):
        start = (first + frame) * hop - len(window) // 2
        begin, end = max(0, -start), max(0, min(len(window), len(wave) - start))
        source, weights, to = wave[start + begin : start + end], window[begin:end], out[frame]
        to[:begin] = 0
        to[end:] = 0
        inside = to[begin:end]
        for i in range(len(inside)):
            inside[i] = source[i] * weights[i]


@compiled
def _sum_bands(bins: Any, first: Any, weights: Any, starts: Any, out: Any) -> None:
    """Sum the power of bins (frames, bins) into bands (bands, frames).

    Band ``b`` begins at bin ``first[b]``; its weights are ``weights[starts[b] : starts[b + 1]]``.
    """
    n, n_bins = bins.shape
    # 64 frames are summed side by side (SIMD); their powers are transposed, eight rows at a time.
    lanes, n_rows = 64, 8
    rows, power = np.zeros((n_rows, n_bins), np.float32), np.zeros((n_bins, lanes), np.float32)
    total = np.empty(lanes, np.float32)
    for begin in range(0, n, lanes):
        width = min(lanes, n - begin)
        for top in range(0, width, n_rows):
            for frame in range(min(n_rows, width - top)):
                source, row = bins[begin + top + frame], rows[frame]
                for k in range(n_bins):
                    row[k] = source[k].real ** 2 + source[k].imag ** 2
            for k in range(n_bins):
                for frame in range(n_rows):
                    power[k, top + frame] = rows[frame, k]
        for band in range(len(first)):
            total[:] = 0
            for i in range(starts[band], starts[band + 1]):
                weight, bin_power = weights[i], power[first[band] + i - starts[band]]
                for frame in range(lanes):
                    total[frame] += weight * bin_power[frame]
            _copy(total, out[band, begin : begin + width])


@compiled
def _apply_gains(bins: Any, gains: Any, out: Any) -> None:
    """Multiply each bin by its gain; bins of ``out`` beyond the input are zero."""
    n = min(bins.shape[1], len(gains))
    for frame in range(len(bins)):
        source, to = bins[frame], out[frame]
        for k in range(n):
            to[k] = complex(source[k].real * gains[k], source[k].imag * gains[k])
        to[n:] = 0


@compiled
def _phase_vocode(bins: Any, steps: Any, gains: Any, re: Any, im: Any, out: Any) -> None:
    """Write the frames (len(steps), len(gains)) of a phase vocoder; see `phase_vocode`.

    ``re`` and ``im`` (bins,) are the phase of the first frame, as a complex number of magnitude 1,
    and afterwards that of the frame after the last one.
    """
    n = min(bins.shape[1], len(gains))
    silence = np.zeros(bins.shape[1], np.complex64)
    for t in range(len(steps)):
        frame = int(steps[t])
        fraction = np.float32(steps[t] - frame)
        after = bins[frame + 1] if frame + 1 < len(bins) else silence
        _interpolate_and_turn(bins[frame], after, fraction, gains, re, im, out[t, :n])
        out[t, n:] = 0


@compiled
def _interpolate_and_turn(
    here: Any, after: Any, fraction: np.float32, gains: Any, re: Any, im: Any, out: Any
) -> None:
    """Write one frame between two others, then advance the phase by the angle between the two."""
    for k in range(len(out)):
        a, b = here[k], after[k]
        a_power, b_power = a.real**2 + a.imag**2, b.real**2 + b.imag**2
        # The phase of silence is 0, as that of the number 1.
        a_none, b_none = ONE if a_power < TINY else ZERO, ONE if b_power < TINY else ZERO
        a_size, b_size = np.sqrt(a_power + a_none), np.sqrt(b_power + b_none)
        a_re, b_re = a.real + a_none, b.real + b_none
        x, y, a_magnitude = re[k], im[k], a_size - a_none
        size = (a_magnitude + fraction * (b_size - b_none - a_magnitude)) * gains[k]
        out[k] = complex(x * size, y * size)
        scale = ONE / (a_size * b_size)
        turn_re = (b_re * a_re + b.imag * a.imag) * scale
        turn_im = (b.imag * a_re - b_re * a.imag) * scale
        re[k], im[k] = x * turn_re - y * turn_im, x * turn_im + y * turn_re


@compiled
def _encode_powers(bins: Any, out: Any) -> None:
    """Write the powers of bins as int16 codes that sort in the same order as the powers."""
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
def _apply_mask(bins: Any, target: Any, other: Any, margin: np.float32, out: Any) -> None:
    """Multiply bins by target / (target + margin ** 2 * other), both of them coded powers."""
    n, n_bins = bins.shape
    a, b = np.empty(n_bins, np.float32), np.empty(n_bins, np.float32)
    a_bits, b_bits = a.view(np.int32), b.view(np.int32)
    for frame in range(n):
        row, to, target_row, other_row = bins[frame], out[frame], target[frame], other[frame]
        for k in range(n_bins):
            target_code, other_code = np.int32(target_row[k]), np.int32(other_row[k])
            a_bits[k] = (target_code << SHIFT) + LOWEST if target_code > 0 else 0
            b_bits[k] = (other_code << SHIFT) + LOWEST if other_code > 0 else 0
        for k in range(n_bins):
            gain = a[k] / (a[k] + margin * margin * b[k] + TINY)
            to[k] = complex(row[k].real * gain, row[k].imag * gain)


@compiled
def _add_frames(frames: Any, window: Any, hop: int, first: int, wave: Any) -> None:
    """Add windowed frames (n, n_fft) to a wave, from frame ``first`` on."""
    for frame in range(len(frames)):
        start = (first + frame) * hop
        row, to = frames[frame], wave[start : start + len(window)]
        for i in range(len(to)):
            to[i] += row[i] * window[i]


@compiled
def _run_program(
    x: Any, rows: Any, column: Any, tile: Any, medians: Any, sizes: tuple[int, int], out: Any
) -> None:
    """Run a `median.Program` on ``x`` (n, columns).

    ``rows`` are those of `mirrored_rows`, ``sizes`` the program's ``kept`` and ``rows``.
    """
    n, columns = x.shape
    kept, n_rows = sizes
    values = np.zeros((n_rows, WIDTH), np.int16)
    for left in range(0, columns, WIDTH):
        width = min(WIDTH, columns - left)
        for t in range(len(rows)):
            for i in range(TILE):
                _copy(x[rows[t, i], left : left + width], values[t % 3 * kept + i])
            _run_steps(column[t % 3], values)
            if t < 2:
                continue
            _run_steps(tile[(t - 2) % 3], values)
            top = (t - 2) * TILE
            for i in range(min(TILE, n - top)):
                _copy(values[medians[i]], out[top + i, left : left + width])


@compiled
def _run_steps(steps: Any, values: Any) -> None:
    for step in range(len(steps)):
        to, a, b = values[steps[step, 0]], values[steps[step, 1]], values[steps[step, 2]]
        if steps[step, 3]:
            for c in range(WIDTH):
                to[c] = a[c] if a[c] > b[c] else b[c]
        else:
            for c in range(WIDTH):
                to[c] = a[c] if a[c] < b[c] else b[c]


@compiled
def _copy(source: Any, to: Any) -> None:
    for i in range(min(len(source), len(to))):
        to[i] = source[i]
