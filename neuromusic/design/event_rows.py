"""Read the events of one run: which sound was played when."""

import functools
import math
import re
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import check_file_name
from neuromusic.core.folders import nfc
from neuromusic.core.tables import NO_VALUE, expected_number, read_cells
from neuromusic.design.experiment import LENGTH, Sounds, pattern_columns

MISSING = frozenset(NO_VALUE)
MOST_BYTES = 32_000_000
MOST_ROWS = 100_000  # a run has a few dozen sounds
MOST_TRACK_S = 86_400.0
WHOLE_NUMBER = re.compile(r"([0-9]{1,9})\.0+")


@dataclass(frozen=True)
class EventRow:
    """One sound that was played. ``row`` counts from 1, without the header.

    ``source`` is the sound as the file names it, perhaps with a folder; ``clip`` is its file name.
    """

    row: int
    onset_s: float
    duration_s: float  # NaN: the events do not say
    source: str
    clip: str
    class_: str  # "": no class
    group: str
    start_s: float  # of the clip in its track; NaN: the events do not say
    end_s: float


@dataclass(frozen=True)
class RunEvents:
    """The sounds of one run in the order of their onsets, and what is remarkable about the file.

    Parameters
    ----------
    path : Path
        The events file.
    rows : list of EventRow
        At least one.
    n_rest : int
        Rows that play nothing.
    was_sorted : bool
        Whether the file has its rows in the order of their onsets, as BIDS recommends.
    """

    path: Path
    rows: list[EventRow] = field(default_factory=list)
    n_rest: int = 0
    was_sorted: bool = True


def read_run_events(path: Path, sounds: Sounds) -> RunEvents:
    """Read the sounds that the events of a run name.

    Raises InputError, with the row, for a missing column, a number that is none, or an
    unknown class.
    """
    path = Path(path)
    columns = ("onset", "duration", *sounds.columns)
    header, cells = read_events_cells(path, columns)
    if not cells:
        raise InputError(f"{path}: has no rows; expected one row per presentation")
    rows = []
    places = {name: header.index(name) for name in columns}
    for number, values in enumerate(cells, start=1):
        row = {name: values[place] for name, place in places.items()}
        if not _is_rest(row, sounds):
            rows.append(_parse(row, number, f"{path}, row {number}", sounds))
    if not rows:
        raise InputError(f"{path}: has only rest rows (n/a); expected one row per presentation")
    in_order = sorted(rows, key=lambda row: row.onset_s)
    return RunEvents(path, in_order, len(cells) - len(rows), in_order == rows)


def read_events_cells(path: Path, columns: Collection[str]) -> tuple[list[str], list[list[str]]]:
    """Return the header of an events file, and the cells of each row."""
    return read_cells(
        path, columns=columns, most_bytes=MOST_BYTES, most_rows=MOST_ROWS,
        remedy="expected the events of a run, separated by tabs",
    )  # fmt: skip


def _is_rest(row: dict[str, str], sounds: Sounds) -> bool:
    """Return whether a row plays nothing: all columns that name the sound are n/a."""
    return all(
        _unquoted(row[name]) in MISSING
        for name in pattern_columns(sounds.sound)
        if name not in ("start", "end")
    )


def _parse(row: dict[str, str], number: int, where: str, sounds: Sounds) -> EventRow:
    onset_s = _seconds(row["onset"], "onset", where)
    duration_s = _length(row["duration"], where)
    start_s, end_s = _within_track(row, where)
    class_ = _unquoted(row[sounds.class_]) if sounds.class_ else ""
    if sounds.class_ and class_ in MISSING:
        raise InputError(f"{where}: has no {sounds.class_}; expected the class of its sound")
    if sounds.classes and class_ not in sounds.classes:
        raise InputError(
            f"{where}: unknown {sounds.class_} {class_!r}; expected one of "
            f"{', '.join(sounds.classes)}{did_you_mean(class_, sounds.classes)}"
        )
    source = _filled(sounds.sound, row, where, start_s, end_s)
    clip = clip_of_source(source)
    if not _is_file_name(clip):
        check_file_name(clip, where)  # raises the message
    group = _filled(sounds.group, row, where, start_s, end_s) if sounds.group else clip
    return EventRow(number, onset_s, duration_s, source, clip, class_, group, start_s, end_s)


def clip_of_source(source: str) -> str:
    """Return the file name at the end of a path, which may have been written on any system."""
    return source.replace("\\", "/").rpartition("/")[2]


@functools.lru_cache(maxsize=4096)  # the same sounds occur in many runs
def _is_file_name(name: str) -> bool:
    try:
        check_file_name(name, "")
    except InputError:
        return False
    return True


def _filled(pattern: str, row: dict[str, str], where: str, start_s: float, end_s: float) -> str:
    """Return a pattern with the values of a row; the name of a column is replaced by its value."""
    if "{" not in pattern:
        return nfc(_unquoted(row[pattern]))
    values: dict[str, object] = {}
    for _, name, form, _ in string.Formatter().parse(pattern):
        if name == LENGTH:
            values[name] = round(end_s - start_s)
        elif name:
            value = _unquoted(row[name])
            whole = WHOLE_NUMBER.fullmatch(value)
            value = whole[1] if whole else value
            width = re.fullmatch(r"0>([0-9]+)", form or "")
            is_number = value.isdecimal() and value.isascii()
            if width and not (is_number and len(value) <= int(width[1])):
                most = 10 ** int(width[1]) - 1
                raise InputError(f"{where}: expected numbers ({name} {value!r}, from 0 to {most})")
            values[name] = nfc(value)
    return pattern.format(**values)


def _within_track(row: dict[str, str], where: str) -> tuple[float, float]:
    """Return start and end of a clip in its track; NaN if the events have no such columns."""
    if "start" not in row or "end" not in row:
        return math.nan, math.nan
    start_s, end_s = (_seconds(row[name], name, where) for name in ("start", "end"))
    if not 0 <= start_s < end_s <= MOST_TRACK_S:
        raise InputError(
            f"{where}: start {start_s} and end {end_s} are not within a track; expected seconds "
            f"with 0 <= start < end <= {MOST_TRACK_S:g}"
        )
    return start_s, end_s


def _length(text: str, where: str) -> float:
    """Return a duration; NaN for n/a and 0, with which BIDS files say that they do not know it."""
    if text in MISSING:
        return math.nan
    duration_s = _seconds(text, "duration", where)
    if duration_s < 0:
        raise InputError(f"{where}: duration {duration_s:g} s; expected seconds from 0, or n/a")
    return duration_s or math.nan


def _seconds(text: str, name: str, where: str) -> float:
    try:
        if "_" in text:  # Python reads 1_5 as 15
            raise ValueError
        seconds = float(text)
    except ValueError:
        raise InputError(
            f"{where}: expected numbers ({name} {text!r}; write {expected_number(text)})"
        ) from None
    if not math.isfinite(seconds):
        raise InputError(f"{where}: expected finite numbers ({name} {seconds:g})")
    return seconds


def _unquoted(text: str) -> str:
    return text.strip("'\"").strip()
