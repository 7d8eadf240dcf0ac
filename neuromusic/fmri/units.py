"""Units of scoring: stretches of volumes of equal length, each with one sound or a part of one.

A short sound is one unit, from the volume in which it begins to the next sound (of all sounds, the
shortest such stretch). Of a long piece, each segment is a unit. Every presentation of the same unit
is a repeat. Scores, shifts and ceilings are computed over units.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.design.presentations import RunDesign
from neuromusic.design.timing import lead_in_volumes, placements

NO_UNIT = -1  # ``within`` of a volume that is not scored


class _Span(NamedTuple):
    """The volumes from the beginning of a presentation to that of the next, or to the run's end."""

    row: int  # of the trials
    first: int
    n_volumes: int


def unit_rows(runs: Sequence[RunDesign], segment_s: float | None) -> list[pd.DataFrame]:
    """Return a table for each run: one row per volume after the lead-in.

    Parameters
    ----------
    runs : sequence of RunDesign
        The runs of one subject; their TR and number of volumes are known.
    segment_s : float, optional
        Length of the segments into which pieces are divided, in s.

    Returns
    -------
    list of pandas.DataFrame
        volume (from 0), trial, repeat, clip (name of the unit: of the sound, and of its segment if
        there are several; "" in volumes without a unit), sound and group (of the presentation, ""
        without one) and within (volume in the unit, from 0; NO_UNIT without a unit).

    Raises
    ------
    InputError
        If a sound is followed by the next in the same volume, or a segment is longer than a piece.
    """
    spans = [_spans(run) for run in runs]
    length = _unit_length(runs, spans, segment_s)
    n_segments: dict[str, int] = {}  # of each sound, in its shortest presentation
    for run, of_run in zip(runs, spans, strict=True):
        for span in of_run:
            clip, n = run.trials["clip"].iat[span.row], span.n_volumes // length
            n_segments[clip] = min(n, n_segments.get(clip, n))
    if segment_s is None:
        n_segments = dict.fromkeys(n_segments, 1)
    return [_rows(run, of_run, length, n_segments) for run, of_run in zip(runs, spans, strict=True)]


def _spans(run: RunDesign) -> list[_Span]:
    first = [volume for volume, _ in placements(run.trials, run.known_tr_s)]
    ends = [*first[1:], run.known_volumes]
    is_dummy = run.trials["is_dummy"].to_numpy()
    return [
        _Span(row, begin, end - begin)
        for row, (begin, end) in enumerate(zip(first, ends, strict=True))
        if not is_dummy[row]
    ]


def _unit_length(
    runs: Sequence[RunDesign], spans: Sequence[Sequence[_Span]], segment_s: float | None
) -> int:
    """Return the number of volumes of a unit."""
    every = [(run, span) for run, of_run in zip(runs, spans, strict=True) for span in of_run]
    run, span = min(every, key=lambda each: each[1].n_volumes)
    n_volumes = span.n_volumes
    clip = run.trials["clip"].iat[span.row]
    if n_volumes < 1:
        raise InputError(
            f"{run.id.label}: {clip} and the next sound begin in the same volume; a volume can "
            "be scored for one of them only"
        )
    if segment_s is None:
        return n_volumes
    tr_s = run.known_tr_s
    length = max(1, round(segment_s / tr_s))
    if length > n_volumes:
        raise InputError(
            f"encoding.segment_s={segment_s:g}: is longer than {clip} with the silence after it, "
            f"{n_volumes * tr_s:g} s; choose a shorter one"
        )
    return length


def _rows(
    run: RunDesign, spans: Sequence[_Span], length: int, n_segments: Mapping[str, int]
) -> pd.DataFrame:
    first = lead_in_volumes(run.trials, run.known_tr_s)
    n = run.known_volumes - first
    table: dict[str, np.ndarray] = {
        "volume": np.arange(first, run.known_volumes),
        "trial": np.full(n, NO_UNIT),
        "repeat": np.zeros(n, np.int64),
        **{name: np.full(n, "", object) for name in ("clip", "sound", "group")},
        "within": np.full(n, NO_UNIT),
    }
    for span in spans:
        trial = run.trials.iloc[span.row]
        begin = max(0, span.first - first)
        whole = slice(begin, span.first - first + span.n_volumes)
        for name, column in (("trial", "trial"), ("repeat", "repeat"), ("sound", "clip"),
                             ("group", "group")):  # fmt: skip
            table[name][whole] = trial[column]
        several = n_segments[trial["clip"]] > 1
        for segment in range(n_segments[trial["clip"]]):
            at = span.first - first + segment * length
            if at < 0:
                continue  # it began before the first image
            part = slice(at, at + length)
            table["clip"][part] = trial["clip"] + (f"#{segment + 1}" if several else "")
            table["within"][part] = np.arange(length)
    return pd.DataFrame(table)
