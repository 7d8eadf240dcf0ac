"""Audio fingerprints: which sounds hold the same recording, though gain, start or coding differ.

After Haitsma and Kalker 2002, "A highly robust audio fingerprinting system" (ISMIR): the energies
of 33 bands from 300 to 2000 Hz, spaced in log-frequency, in windows of 0.37 s; a bit says whether
the difference of two neighbouring bands rises from one window to the next. Ours hops by 23 ms,
theirs by 12.
"""

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from neuromusic.stimuli.audio import RATE_HZ

FINGER_RATE_HZ = RATE_HZ / 4
WINDOW = 2048
HOP = 128
HOP_S = HOP / FINGER_RATE_HZ
N_BITS = 32
FLOOR_DB = -60.0  # below the loudest window: silence, whose bits mean nothing
OVERLAP_S = 5.0  # that two sounds need at least, or most of the shorter one
NEAR = 0.35  # bits that may differ (section 4.2 of the paper)
BLOCK = 32

_EDGES_HZ = 300 * (2000 / 300) ** (np.arange(N_BITS + 2) / (N_BITS + 1))
_EDGES = np.round(_EDGES_HZ * WINDOW / FINGER_RATE_HZ).astype(int)


def fingerprint(wave: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return the fingerprint (frames, 32) of a mono wave at audio.RATE_HZ.

    1 and -1 for a bit, 0 where a window is silent; a sound under 0.4 s has no frame.
    """
    low = soxr.resample(wave, RATE_HZ, FINGER_RATE_HZ)
    if len(low) < WINDOW + HOP:
        return np.zeros((0, N_BITS), np.int8)
    windows = np.lib.stride_tricks.sliding_window_view(low, WINDOW)[::HOP]
    taper = np.hanning(WINDOW).astype(np.float32)
    spectrum = scipy.fft.rfft(windows * taper, axis=1)[:, : _EDGES[-1]]
    power = spectrum.real**2 + spectrum.imag**2
    energy = np.add.reduceat(power, _EDGES[:-1], axis=1)  # (windows, 33)
    rise = np.diff(energy[:, :-1] - energy[:, 1:], axis=0)
    total = energy.sum(1)
    loud = total > total.max() * 10 ** (FLOOR_DB / 10)
    bits = np.where(rise > 0, 1, -1).astype(np.int8)
    bits[~(loud[1:] & loud[:-1])] = 0
    return bits


def compare(
    left: list[NDArray[np.int8]], right: list[NDArray[np.int8]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare every fingerprint of one list with every one of the other, at every shift.

    Returns (the least share of bits that differ, how many seconds later the sound of ``right`` has
    what ``left`` has), both (n_left, n_right). Near 0.5 for unlike sounds; 1 where nothing can be
    compared. A shift counts if the two then overlap by `OVERLAP_S` of sound, or by four fifths of
    the shorter one where that is less.
    """
    error = np.ones((len(left), len(right)))
    lag_s = np.zeros_like(error)
    longest = max((len(bits) for bits in [*left, *right]), default=0)
    if longest == 0:
        return error, lag_s
    n = scipy.fft.next_fast_len(2 * longest, real=True)
    sounding = [
        np.array([(bits != 0).any(1).sum() for bits in part], dtype=float) for part in (left, right)
    ]
    shorter = np.minimum(sounding[0][:, None], sounding[1][None])
    need = np.ceil(np.minimum(OVERLAP_S / HOP_S, 0.8 * shorter)).clip(1)
    for i in range(0, len(left), BLOCK):
        a = np.conj(_spectra(left[i : i + BLOCK], n))
        for j in range(0, len(right), BLOCK):
            b = _spectra(right[j : j + BLOCK], n)
            # Sum over bits of the cross-correlations, (frequencies, left, right) -> shifts; the
            # last channel is which frames sound, so its correlation counts what overlaps.
            agree = scipy.fft.irfft(a[..., :-1] @ b[..., :-1].swapaxes(1, 2), n, axis=0)
            overlap = scipy.fft.irfft(a[..., -1:] @ b[..., -1:].swapaxes(1, 2), n, axis=0)
            enough = overlap > need[i : i + BLOCK, j : j + BLOCK] - 0.5
            share = np.where(enough, 0.5 - agree / (2 * N_BITS * overlap.clip(1)), 1)
            best = share.argmin(0)
            error[i : i + BLOCK, j : j + BLOCK] = share.min(0)
            lag_s[i : i + BLOCK, j : j + BLOCK] = np.where(best > n // 2, best - n, best) * HOP_S
    return error.clip(0, 1), lag_s


def _spectra(fingerprints: list[NDArray[np.int8]], n: int) -> NDArray[np.complex64]:
    """Return the transforms (frequencies, sounds, 32 bits and whether the frame sounds)."""
    padded = np.zeros((n, len(fingerprints), N_BITS + 1), np.float32)
    for index, bits in enumerate(fingerprints):
        padded[: len(bits), index, :-1] = bits
        padded[: len(bits), index, -1] = (bits != 0).any(1)
    spectra: NDArray[np.complex64] = scipy.fft.rfft(padded, axis=0)
    return spectra
