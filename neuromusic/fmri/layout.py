"""Responses to sounds laid on the volumes of a run, and which sound each volume contains."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.design.timing import (
    REST,
    ROUND_S,
    Placement,
    covered,
    placements,
    volume_of_each,
)

NO_SOUND = "n/a"  # class and clip of a volume without a sound

Array = NDArray[np.float32]
PlacedClip = tuple[str, Placement]  # a sound, and how it lies on the volumes


def volume_table(trials: pd.DataFrame, tr_s: float, n_volumes: int) -> pd.DataFrame:
    """Return volume, onset_s, trial, repeat, dummy, genre and clip of each volume of a run.

    A volume belongs to the presentation that fills half of it or more. Without one it has trial
    REST, repeat and dummy 0, and n/a as genre and clip; the second of several dummies also has the
    number REST, but dummy 1. ``trials`` are those of `RunDesign`.
    """
    row = volume_of_each(trials, tr_s, n_volumes)
    is_rest = row == REST
    of_volume = trials.iloc[np.where(is_rest, 0, row)].reset_index(drop=True)
    volume = np.arange(n_volumes)
    return pd.DataFrame(
        {
            "volume": volume,
            "onset_s": volume * tr_s,
            "trial": of_volume["trial"].mask(is_rest, REST),
            "repeat": of_volume["repeat"].mask(is_rest, 0),
            "dummy": (of_volume["is_dummy"] & ~is_rest).astype(int),
            "genre": of_volume["class"].mask(is_rest | (of_volume["class"] == ""), NO_SOUND),
            "clip": of_volume["clip"].mask(is_rest, NO_SOUND),
        }
    )


def on_grid(
    trials: pd.DataFrame,
    responses: Mapping[str, NDArray[np.floating]],
    n_volumes: int,
    fill: float = np.nan,
) -> Array:
    """Lay responses to clips on the volumes of one scanner run.

    For sounds that begin and end with a volume; an export also lays others (`lay_on_volumes`).

    Parameters
    ----------
    trials : pandas.DataFrame
        One row per presentation, the dummy included, with ``clip`` and ``volume``: the first
        volume of the presentation, from 0.
    responses : mapping
        Clip -> (volumes of the clip, units), for all clips that have a response; at least one.
    n_volumes : int
        Number of volumes of the run. A presentation that the run's end cuts off is cut off here.
    fill : float
        Value of the volumes in which no clip is played.

    Returns
    -------
    array (n_volumes, units) float32
        NaN in the volumes of clips that are not in ``responses``.

    Raises
    ------
    ValueError
        If ``responses`` is empty.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import neuromusic as nm
    >>> trials = pd.DataFrame({"volume": [0, 2, 4], "clip": ["a.wav", "missing.wav", "a.wav"]})
    >>> response = np.array([[0.5, 0.1], [0.7, 0.2]])  # two volumes, two units
    >>> nm.on_grid(trials, {"a.wav": response}, 7, fill=0.0)[:, 0]
    array([0.5, 0.7, nan, nan, 0.5, 0.7, 0. ], dtype=float32)
    """
    if not responses:
        raise ValueError("responses: is empty, so the number of units is unknown")
    length, units = next(iter(responses.values())).shape
    volumes = np.full((n_volumes, units), fill, np.float32)
    for row in trials.itertuples():
        span = volumes[row.volume : row.volume + length]
        span[:] = responses[row.clip][: len(span)] if row.clip in responses else np.nan
    return volumes


def lay_on_volumes(
    trials: pd.DataFrame,
    responses: Mapping[PlacedClip, NDArray[np.floating]],
    tr_s: float,
    n_volumes: int,
    rest: NDArray[np.floating],
) -> Array:
    """Lay responses to clips on the volumes of one run, with any onset and duration.

    A volume is the mean of what sounds in it and of rest, weighted by the time that each takes up.

    Parameters
    ----------
    trials : pandas.DataFrame
        One row per presentation, the dummies included, with clip, onset_s and duration_s. The parts
        before the first and after the last volume are left out.
    responses : mapping of arrays (at least the volumes of the placement, units)
        (clip, placement) -> response to the sound itself; at least one.
    tr_s : float
        Repetition time in s.
    n_volumes : int
        Number of volumes of the run.
    rest : array (units,)
        Response to no sound.

    Returns
    -------
    array (n_volumes, units) float32
        NaN in the volumes of clips that are not in ``responses``.
    """
    return lay(spans_of(trials, tr_s, n_volumes), responses, rest)


class Spans(NamedTuple):
    """Where the presentations of a run lie on its volumes, which all stages have in common.

    ``of`` are (sound, volumes of the run, volumes of the sound, shares) of the presentations that
    overlap the run; ``silent`` (n_volumes,) is the share of each volume without a sound.
    """

    of: list[tuple[PlacedClip, slice, slice, Array]]
    silent: Array


def spans_of(trials: pd.DataFrame, tr_s: float, n_volumes: int) -> Spans:
    """Return where the presentations of a run lie on its volumes."""
    spans = []
    for clip, (volume, placement) in zip(trials["clip"], placements(trials, tr_s), strict=True):
        first, end = max(0, volume), min(n_volumes, volume + placement.n_volumes)
        if end > first:
            part = slice(first - volume, end - volume)
            share = placement.shares()[part, None].astype(np.float32)
            spans.append(((clip, placement), slice(first, end), part, share))
    silent = (1 - covered(trials, tr_s, n_volumes)).clip(0)
    silent[silent * tr_s < ROUND_S] = 0
    return Spans(spans, silent.astype(np.float32))


def lay(
    spans: Spans,
    responses: Mapping[PlacedClip, NDArray[np.floating]],
    rest: NDArray[np.floating],
) -> Array:
    """Return what `lay_on_volumes` does, for presentations whose place is known."""
    out = np.full((len(spans.silent), len(rest)), -0.0, np.float32)  # -0.0 + x has the bytes of x
    for sound, of_run, part, share in spans.of:
        block = responses.get(sound)
        out[of_run] += np.nan if block is None else share * block[part]
    silent = spans.silent > 0
    out[silent] += spans.silent[silent, None] * rest
    return out
