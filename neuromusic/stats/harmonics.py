"""Noise and response in the spectrum of a run that repeats its clips in a fixed order.

The response has power only at multiples of 1 / cycle; the frequencies between them contain noise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NODES = 3  # frequencies from which the noise at a slow harmonic is interpolated
SLOW_HARMONICS = 2  # harmonics at which the spectrum of the noise may be curved
FASTEST_HZ = 1 / 6  # beyond which there is no haemodynamic response

Floats = NDArray[np.float64]


def run_powers(run: NDArray[np.floating]) -> Floats:
    """Return the power spectrum (frequencies, voxels) of a run in the order measured.

    ``run`` is (repeats, clips, volumes, voxels); frequencies are in cycles per run, one sign each.
    """
    n_volumes = int(np.prod(run.shape[:3]))
    spectrum = np.fft.rfft(run.reshape(n_volumes, -1), axis=0)
    return np.asarray((spectrum.real**2 + spectrum.imag**2) / n_volumes**2)


class Harmonics(NamedTuple):
    """Frequencies of the response, multiples of the number of repeats, and where to find noise.

    ``at`` (harmonics,) are their indices, ``signs`` (harmonics,) is 2 except for the last frequency
    of an even number of volumes. ``noise`` (harmonics, frequencies) are the weights that
    interpolate the power of the noise. ``tested`` (harmonics,) is whether the noise is known well
    enough for a test, and a haemodynamic response may be present.
    """

    at: NDArray[np.int64]
    signs: Floats
    noise: Floats
    tested: NDArray[np.bool_]


def harmonics(
    n_repeats: int, n_volumes: int, drift_cycles: float, fastest: float = np.inf
) -> Harmonics:
    """Return the harmonics of a run that repeats its clips ``n_repeats`` times.

    The noise at each is that of its neighbours up to half the distance to the next one. At the
    first SLOW_HARMONICS, where the spectrum of the noise is steep and the filter may have removed a
    neighbour, it is a parabola through the NODES nearest ones. Harmonics from ``fastest`` cycles
    per volume on are not tested.
    """
    frequencies = np.arange(n_volumes // 2 + 1)
    usable = (frequencies % n_repeats > 0) & (frequencies > drift_cycles)
    at = np.arange(n_repeats, len(frequencies), n_repeats)
    noise = np.zeros((len(at), len(frequencies)))
    for weights, harmonic in zip(noise, at, strict=True):
        distance = np.abs(frequencies - harmonic)
        if harmonic <= SLOW_HARMONICS * n_repeats:
            nodes = np.argsort(np.where(usable, distance, np.inf), kind="stable")[:NODES]
            weights[nodes] = _lagrange(nodes.astype(np.float64), float(harmonic))
        else:
            nodes = np.flatnonzero(usable & (distance <= n_repeats / 2))
            share = np.where(distance[nodes] == n_repeats / 2, 0.5, 1.0)
            weights[nodes] = share / share.sum()
    tested = (at > SLOW_HARMONICS * n_repeats) & (at < fastest * n_volumes)
    return Harmonics(at, np.where(2 * at == n_volumes, 1.0, 2.0), noise, tested)


def _lagrange(nodes: Floats, at: float) -> Floats:
    """Return the weights (nodes,) of the polynomial through values at ``nodes``."""
    others = ~np.eye(len(nodes), dtype=bool)
    factors = (at - nodes[None, :]) / np.where(others, nodes[:, None] - nodes[None, :], 1)
    return np.asarray(np.where(others, factors, 1).prod(1))
