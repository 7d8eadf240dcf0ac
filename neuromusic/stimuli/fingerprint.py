"""Audio fingerprints: find sounds that hold the same recording despite gain, shifts or coding.

The energies of 33 bands from 300 to 2000 Hz, spaced in log-frequency, are computed in windows of
0.37 s. A bit is set if the difference between two neighbouring bands increases from one window to
the next. Windows advance by 23 ms here, and by 12 ms in the paper.

References
----------
Haitsma and Kalker (2002). A highly robust audio fingerprinting system. ISMIR.
"""

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from neuromusic.stimuli.audio import RATE_HZ

FINGERPRINT_RATE_HZ = RATE_HZ / 4
WINDOW = 2048
HOP = 128
HOP_S = HOP / FINGERPRINT_RATE_HZ
N_BITS = 32
FLOOR_DB = -60.0  # below the loudest window; quieter windows count as silent and have no bits
OVERLAP_S = 5.0  # minimum overlap of two sounds, unless one of them is shorter
LEAST_OVERLAP = 0.8  # of the shorter sound, if that is less than OVERLAP_S
NEAR = 0.35  # proportion of bits that may differ (section 4.2 of the paper)
BLOCK = 32  # sounds that are compared at once

_EDGES_HZ = 300 * (2000 / 300) ** (np.arange(N_BITS + 2) / (N_BITS + 1))
_EDGES = np.round(_EDGES_HZ * WINDOW / FINGERPRINT_RATE_HZ).astype(int)

Bits = NDArray[np.int8]
Matrix = NDArray[np.float64]


def fingerprint(wave: NDArray[np.float32]) -> Bits:
    """Return the fingerprint (n_frames, 32) of a mono wave at audio.RATE_HZ.

    Bits are 1 and -1, or 0 if a window is silent. A sound shorter than 0.4 s has no frames.
    """
    low = soxr.resample(wave, RATE_HZ, FINGERPRINT_RATE_HZ)
    if len(low) < WINDOW + HOP:
        return np.zeros((0, N_BITS), np.int8)
    windows = np.lib.stride_tricks.sliding_window_view(low, WINDOW)[::HOP]
    taper = np.hanning(WINDOW).astype(np.float32)
    spectrum = scipy.fft.rfft(windows * taper, axis=1)[:, : _EDGES[-1]]
    power = spectrum.real**2 + spectrum.imag**2
    energy = np.add.reduceat(power, _EDGES[:-1], axis=1)  # (windows, 33)
    increase = np.diff(energy[:, :-1] - energy[:, 1:], axis=0)
    total = energy.sum(1)
    is_loud = total > total.max() * 10 ** (FLOOR_DB / 10)
    bits = np.where(increase > 0, 1, -1).astype(np.int8)
    bits[~(is_loud[1:] & is_loud[:-1])] = 0
    return bits


def compare(left: list[Bits], right: list[Bits]) -> tuple[Matrix, Matrix]:
    """Compare all fingerprints of one list with all of another, at every shift.

    A shift counts if the overlap of the two contains OVERLAP_S of sound, or LEAST_OVERLAP of the
    shorter one if that is less.

    Parameters
    ----------
    left, right : list of ndarray of int8, shape (n_frames, 32)
        Fingerprints.

    Returns
    -------
    error : ndarray of float64, shape (n_left, n_right)
        Lowest proportion of bits that differ, over all shifts: about 0.5 for unrelated sounds, 1 if
        no shift counts.
    lag_s : ndarray of float64, shape (n_left, n_right)
        How many seconds later ``right`` has the sound of ``left``.
    """
    error = np.ones((len(left), len(right)))
    lag_s = np.zeros_like(error)
    longest = max((len(bits) for bits in [*left, *right]), default=0)
    if longest == 0:
        return error, lag_s
    n = scipy.fft.next_fast_len(2 * longest, real=True)
    n_left, n_right = (
        np.array([(bits != 0).any(1).sum() for bits in sounds], dtype=float)
        for sounds in (left, right)
    )
    shorter = np.minimum(n_left[:, None], n_right[None])
    needed = np.ceil(np.minimum(OVERLAP_S / HOP_S, LEAST_OVERLAP * shorter)).clip(1)
    for i in range(0, len(left), BLOCK):
        left_spectra = np.conj(_spectra(left[i : i + BLOCK], n))
        for j in range(0, len(right), BLOCK):
            block = np.s_[i : i + BLOCK, j : j + BLOCK]
            right_spectra = _spectra(right[j : j + BLOCK], n)
            error[block], lag_s[block] = _best_shifts(left_spectra, right_spectra, n, needed[block])
    return error.clip(0, 1), lag_s


def _best_shifts(
    left: NDArray[np.complex64], right: NDArray[np.complex64], n: int, needed: Matrix
) -> tuple[Matrix, Matrix]:
    """Return error and lag in s at the best shift of each pair, both (n_left, n_right).

    The cross-correlations (shifts, n_left, n_right) of the bits, summed over bits, count the bits
    that agree minus those that differ. The correlation of the last channel, which is 1 for frames
    with sound, counts the frames that overlap.
    """
    agreement = scipy.fft.irfft(left[..., :-1] @ right[..., :-1].swapaxes(1, 2), n, axis=0)
    overlap = scipy.fft.irfft(left[..., -1:] @ right[..., -1:].swapaxes(1, 2), n, axis=0)
    error = np.where(
        overlap > needed - 0.5, 0.5 - agreement / (2 * N_BITS * overlap.clip(1)), 1
    )  # fmt: skip
    best = error.argmin(0)
    return error.min(0), np.where(best > n // 2, best - n, best) * HOP_S


def _spectra(fingerprints: list[Bits], n: int) -> NDArray[np.complex64]:
    """Return the Fourier transforms over time (frequencies, sounds, 33).

    The channels are the 32 bits and whether a frame has sound; time is padded to ``n`` frames.
    """
    padded = np.zeros((n, len(fingerprints), N_BITS + 1), np.float32)
    for index, bits in enumerate(fingerprints):
        padded[: len(bits), index, :-1] = bits
        padded[: len(bits), index, -1] = (bits != 0).any(1)
    spectra: NDArray[np.complex64] = scipy.fft.rfft(padded, axis=0)
    return spectra
