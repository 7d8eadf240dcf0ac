"""Where sounds lie on the volumes of a run: any onset, any duration, any repetition time."""

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HIGH_PASS_HZ = 1 / 256  # a test run of ds003720 repeats after 150 s: 1/128 Hz would remove signal
ROUND_S = 1e-3  # onsets are rounded to this; presentations that then agree share their responses
REST = -1  # trial of a volume in which nothing is played


class Placement(NamedTuple):
    """How a sound lies on volumes: what its response on the volumes depends on, besides the sound.

    Attributes
    ----------
    tr_s : float
        Repetition time in s.
    phase_s : float
        From the beginning of the volume in which the sound begins to its onset, in s.
    duration_s : float
        How long it is played, in s.
    """

    tr_s: float
    phase_s: float
    duration_s: float

    @property
    def n_volumes(self) -> int:
        """Number of volumes in which it is played, at least in part."""
        return max(1, math.ceil((self.phase_s + self.duration_s - ROUND_S) / self.tr_s))

    def shares(self) -> NDArray[np.float64]:
        """Return the share of each volume (n_volumes,) that it fills, not to be written to."""
        return _shares(self)


@functools.lru_cache(maxsize=4096)  # the same presentations occur in many runs
def _shares(placement: Placement) -> NDArray[np.float64]:
    tr_s = placement.tr_s
    begin_s = np.arange(placement.n_volumes) * tr_s
    end_s = np.minimum(begin_s + tr_s, placement.phase_s + placement.duration_s)
    shares = (end_s - np.maximum(begin_s, placement.phase_s)) / tr_s
    shares = np.where(np.abs(shares - 1) * tr_s < ROUND_S, 1.0, shares.clip(0, 1))
    shares.flags.writeable = False
    return shares


def placements(trials: pd.DataFrame, tr_s: float) -> list[tuple[int, Placement]]:
    """Return the first volume of each presentation of a run, and how it lies on the volumes.

    ``trials`` has onset_s and duration_s. A volume before the first image has a negative number.
    """
    placed = []
    for onset_s, duration_s in zip(trials["onset_s"], trials["duration_s"], strict=True):
        onset_s = round(float(onset_s) / ROUND_S) * ROUND_S
        volume = math.floor(onset_s / tr_s + ROUND_S / 2 / tr_s)
        phase_s = round(max(0.0, onset_s - volume * tr_s), 3)
        placed.append((volume, Placement(tr_s, phase_s, round(float(duration_s), 3))))
    return placed


def whole_run_volumes(trials: pd.DataFrame, tr_s: float) -> int:
    """Return the number of volumes until the last sound of a run has ended."""
    ends = [volume + placement.n_volumes for volume, placement in placements(trials, tr_s)]
    return max(ends)


def covered(trials: pd.DataFrame, tr_s: float, n_volumes: int) -> NDArray[np.float64]:
    """Return the share of each volume (n_volumes,) in which a sound is played."""
    share = np.zeros(n_volumes)
    for volume, placement in placements(trials, tr_s):
        for index, part in enumerate(placement.shares(), start=volume):
            if 0 <= index < n_volumes:
                share[index] += part
    return share


def volume_of_each(trials: pd.DataFrame, tr_s: float, n_volumes: int) -> NDArray[np.int64]:
    """Return the row of the presentation that fills at least half of each volume, or REST.

    Shape (n_volumes,). Of two presentations, the one that fills more.
    """
    row_of = np.full(n_volumes, REST, np.int64)
    most = np.full(n_volumes, 0.5 - 1e-9)
    for row, (volume, placement) in enumerate(placements(trials, tr_s)):
        for index, share in enumerate(placement.shares(), start=volume):
            if 0 <= index < n_volumes and share > most[index]:
                row_of[index], most[index] = row, share
    return row_of


def all_placements(
    runs: Iterable[tuple[pd.DataFrame, float]],
) -> dict[str, list[Placement]]:
    """Return clip -> its different placements, in the order of first use.

    ``runs`` are the trials and the TR of each run.
    """
    found: dict[str, dict[Placement, None]] = {}
    for trials, tr_s in runs:
        for clip, (_, placement) in zip(trials["clip"], placements(trials, tr_s), strict=True):
            found.setdefault(clip, {})[placement] = None
    return {clip: list(each) for clip, each in found.items()}


def lead_in_volumes(trials: pd.DataFrame, tr_s: float) -> int:
    """Return the number of volumes before the first sound that is not part of the lead-in.

    0 without a lead-in: what precedes the first sound is then rest.
    """
    if not trials["is_dummy"].any():
        return 0
    placed = placements(trials[~trials["is_dummy"]], tr_s)
    return max(0, min(volume for volume, _ in placed)) if placed else 0
