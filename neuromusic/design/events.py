"""The events and images of a BIDS dataset, and whether they agree with an order."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import read_json, readable
from neuromusic.core.folders import check_present, find_files
from neuromusic.core.tables import NO_VALUE, expected_number, read_table
from neuromusic.design import grid
from neuromusic.design.bids import parse_bids_name
from neuromusic.design.orders import GENRES, TASK, Order, Split, presentations

log = logging.getLogger(__name__)

COLUMNS_IN_FILE = ("onset", "duration", "genre", "track", "start", "end")
EVENTS_COLUMNS = ("onset_s", "duration_s", "genre", "track", "start_s", "end_s", "clip")
MISSING = frozenset(NO_VALUE) - {""}
MOST_BYTES = 32_000_000
MOST_ROWS = 100_000  # a scanner run has a few dozen
MOST_TRACK_S = 86_400.0
REST_ROWS = "rest_rows"  # attribute of a table of events: the number of rows left out
ONSET_TOLERANCE_S = 1e-3
DURATION_TOLERANCE_S = 0.05
HEADER_TOLERANCE = 1e-3  # of the TR in s, and of the number of volumes

# How messages describe a header value.
HEADER_TEXTS = {"TR": "a TR of {} s", "volumes": "{} volumes"}


@dataclass(frozen=True)
class EventsFile:
    """The events of one subject in one run."""

    subject: str
    split: Split
    run: int
    path: Path

    @property
    def label(self) -> str:
        """Subject, task and run for messages, such as "sub-001 task-Test run-02"."""
        return run_label(self.subject, self.split, self.run)


def run_label(subject: str, split: Split, run: int) -> str:
    """Return subject, task and run for messages, such as "sub-001 task-Test run-02"."""
    return f"sub-{subject} task-{TASK[split]} run-{run:02d}"


def find_events(bids: Path) -> list[EventsFile]:
    """Return the events files of a BIDS dataset, by subject, training before test, and run.

    Raises InputError if there are none.
    """
    bids = Path(bids)
    files = []
    for path in _events_paths(bids):
        name = parse_bids_name(path)
        if name is None or list(name.entities) != ["sub", "task", "run"] or not name.scanner_run:
            continue
        files.append(EventsFile(name.subject, *name.scanner_run, path))
    if not files:
        raise InputError(
            f"{bids}: has no events; expected sub-X/func/sub-X_task-Training_run-NN_events.tsv"
        )
    return sorted(
        files, key=lambda file: (file.subject, file.split != "train", file.run, file.path)
    )


def _events_paths(bids: Path) -> list[Path]:
    """Return sub-*/**/func/*_events.tsv, through links; raise InputError for a broken link."""

    def is_events(name: str) -> bool:
        return name.endswith("_events.tsv")

    found = find_files(bids, is_events, "a BIDS dataset", top="sub-*")
    # A link without a suffix may have led to the folder of a subject.
    check_present(path for path in found.broken if is_events(path.name) or not path.suffix)
    return [path for path in found.files if path.parent.name == "func"]


# --- Reading --------------------------------------------------------------------------------------


def read_events(path: Path) -> pd.DataFrame:
    """Read the events of a run in the format of ds003720.

    Returns one row per presentation, including the dummy in the first row: onset_s, duration_s
    (NaN if the file has n/a), genre, track, start_s, end_s (seconds in the track), clip. Rows whose
    genre and track are n/a are rest: they are left out, and ``attrs["rest_rows"]`` is their number.

    Raises InputError with the row, counted from 1 without the header.
    """
    path = Path(path)
    table = read_table(
        path, columns=COLUMNS_IN_FILE, as_text=True, most_bytes=MOST_BYTES, most_rows=MOST_ROWS,
        remedy="expected the events of a run, separated by tabs",
    )  # fmt: skip
    if table.empty:
        raise InputError(f"{path}: has no rows; expected one row per presentation")
    numbered = [
        (f"{path}, row {number}", row)
        for number, row in enumerate(
            table[list(COLUMNS_IN_FILE)].itertuples(index=False, name=None), start=1
        )
        if not _is_rest(row)
    ]
    if not numbered:
        raise InputError(f"{path}: has only rest rows (n/a); expected one row per presentation")
    rows = [_parse_event(row, where) for where, row in numbered]
    events = pd.DataFrame(rows, columns=list(EVENTS_COLUMNS))
    events.attrs[REST_ROWS] = len(table) - len(events)
    return events


def _is_rest(cells: tuple[str, ...]) -> bool:
    """Return whether a row with COLUMNS_IN_FILE presents nothing."""
    _, _, genre, track, _, _ = cells
    return genre.strip("'") in MISSING and track in MISSING


def _read_all(files: Iterable[EventsFile]) -> dict[Path, pd.DataFrame]:
    """Return the events of each file; report how many rest rows were left out."""
    events = {file.path: read_events(file.path) for file in files}
    for path, table in events.items():
        if (table["onset_s"].diff() <= 0).any():
            raise InputError(f"{path}: its rows are not in the order of their onsets; sort them")
    n_rest = sum(table.attrs[REST_ROWS] for table in events.values())
    if n_rest:
        log.info("left out %d rest rows (genre and track n/a) of the events", n_rest)
    return events


def _parse_event(cells: tuple[str, ...], where: str) -> tuple[float | str, ...]:
    """Return a row with the columns EVENTS_COLUMNS from one with COLUMNS_IN_FILE."""
    onset, duration, genre, track, start, end = cells
    genre = genre.strip("'\"").strip()
    if genre not in GENRES:
        raise InputError(
            f"{where}: unknown genre {genre!r}; expected one of {', '.join(GENRES)}"
            f"{did_you_mean(genre, GENRES)}"
        )
    onset_s, start_s, end_s = (
        _seconds(text, f"{where}: expected numbers ({name}")
        for name, text in (("onset", onset), ("start", start), ("end", end))
    )
    duration_s = np.nan
    if duration not in MISSING:
        duration_s = _seconds(duration, f"{where}: expected numbers (duration")
        if not np.isfinite(duration_s):
            raise InputError(f"{where}: expected numbers (duration {duration!r})")
    if not re.fullmatch(r"[0-9]{1,5}(\.0+)?", track):
        raise InputError(f"{where}: expected numbers (track {track!r}, from 0 to 99999)")
    track = track.split(".")[0]
    is_in_track = 0 <= start_s < end_s <= MOST_TRACK_S
    if not (np.isfinite([onset_s, start_s, end_s]).all() and is_in_track):
        raise InputError(
            f"{where}: start {start_s} and end {end_s} are not within a track; expected seconds "
            f"with 0 <= start < end <= {MOST_TRACK_S:g}"
        )
    name = f"{genre}.{track:0>5}"
    clip = f"{name}_{round(end_s - start_s)}s.wav"
    return onset_s, duration_s, genre, name, start_s, end_s, clip


def _seconds(text: str, where: str) -> float:
    try:
        if "_" in text:  # Python reads 1_5 as 15
            raise ValueError
        seconds = float(text)
    except ValueError:
        raise InputError(f"{where} {text!r}; write {expected_number(text)})") from None
    return seconds


# --- Orders and cuts ------------------------------------------------------------------------------


def orders_from_bids(bids: Path) -> tuple[Order, Order]:
    """Rebuild the training and the test order from the events of a BIDS dataset.

    Raises InputError if runs are missing or two subjects were presented different clips.
    """
    files = find_events(bids)
    events = _read_all(files)
    train, test = (_rebuild_order(files, events, split, bids) for split in get_args(Split))
    return train, test


def _rebuild_order(
    files: Iterable[EventsFile], events: Mapping[Path, pd.DataFrame], split: Split, bids: Path
) -> Order:
    runs: dict[int, tuple[list[str], Path]] = {}
    for file in files:
        if file.split != split:
            continue
        clips = events[file.path]["clip"].tolist()[1:]
        if not clips:
            raise InputError(f"{file.path}: has one row; expected the dummy and trials")
        first_clips, first_path = runs.setdefault(file.run, (clips, file.path))
        if clips != first_clips:
            trial = _first_difference(clips, first_clips) + 1
            raise InputError(
                f"{file.path}: trial {trial} differs from {first_path.name}; an order can only be "
                "rebuilt if all subjects were presented the same clips"
            )
    if not runs or sorted(runs) != list(range(1, len(runs) + 1)):
        raise InputError(
            f"{bids}: has the {TASK[split]} runs {sorted(runs)}; expected 1, 2, ... without gaps"
        )
    if len({len(clips) for clips, _ in runs.values()}) > 1:
        raise InputError(f"{bids}: {TASK[split]} runs differ in their number of trials")
    return Order(split, np.array([runs[run][0] for run in sorted(runs)]))


def _first_difference(left: Sequence[str], right: Sequence[str]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))


def cut_list(bids: Path) -> pd.DataFrame:
    """Return where the events start and end each clip: genre, track, start_s, end_s, clip.

    One row per clip. Raises InputError if events cut the same clip at different places.
    """
    rows = pd.concat(_read_all(find_events(bids)).values())
    cuts = rows[["genre", "track", "start_s", "end_s", "clip"]].drop_duplicates()
    ambiguous = cuts["clip"][cuts["clip"].duplicated()]
    if len(ambiguous):
        raise InputError(f"{bids}: the events cut {ambiguous.iloc[0]} in more than one place")
    return cuts.sort_values("clip").reset_index(drop=True)


# --- Comparison with an order ---------------------------------------------------------------------


def check_dataset(orders: dict[Split, Order], bids: Path) -> tuple[list[str], list[str]]:
    """Compare the events and images of a BIDS dataset with both orders.

    Returns (agreements, one line per subject; mismatches, one line each). A missing run is a
    mismatch.
    """
    files = find_events(bids)
    events = _read_all(files)
    agreements, mismatches = [], []
    for subject in sorted({file.subject for file in files}):
        subject_files = [file for file in files if file.subject == subject]
        agreement, differences = _check_subject(orders, subject, subject_files, events)
        agreements.append(agreement)
        mismatches += differences
    return agreements, mismatches


def _check_subject(
    orders: dict[Split, Order],
    subject: str,
    files: Sequence[EventsFile],
    events: Mapping[Path, pd.DataFrame],
) -> tuple[str, list[str]]:
    """Return the subject's line of agreement and their mismatches."""
    n_agreeing, compared = 0, {"TR": 0, "volumes": 0}
    mismatches: list[str] = []
    for file in files:
        differences = check_events(orders[file.split], file, events[file.path])
        image_differences, kinds = check_images(orders[file.split], file)
        for kind in kinds:
            compared[kind] += 1
        n_agreeing += not (differences or image_differences)
        mismatches += differences + image_differences
    for split, order in orders.items():
        present = {file.run for file in files if file.split == split}
        for run in sorted(set(range(1, order.n_runs + 1)) - present):
            mismatches.append(f"{run_label(subject, split, run)}: has no events.tsv")
    n_runs = sum(order.n_runs for order in orders.values())
    agreement = (
        f"sub-{subject}: {n_agreeing} of {n_runs} runs agree in every trial (TR compared in "
        f"{compared['TR']}, number of volumes in {compared['volumes']})"
    )
    return agreement, mismatches


def check_events(order: Order, file: EventsFile, events: pd.DataFrame) -> list[str]:
    """Compare the events of a run with an order; return one line per mismatch."""
    if file.run > order.n_runs:
        return [f"{file.label}: the order file has only {order.n_runs} runs"]
    expected = presentations(order).query("run == @file.run").reset_index(drop=True)
    mismatches = []
    if len(events) != len(expected):
        mismatches.append(
            f"{file.label}: {len(events)} rows; expected {len(expected)} ({order.n_trials} trials "
            "and the dummy)"
        )
    pairs = zip(events.itertuples(), expected.itertuples(), strict=False)
    for trial, (event, planned) in enumerate(pairs):
        label = f"{file.label} trial {trial}{' (dummy)' if trial == 0 else ''}"
        if event.clip != planned.clip:
            mismatches.append(f"{label}: events {event.clip}; order file {planned.clip}")
        if abs(event.onset_s - planned.onset_s) > ONSET_TOLERANCE_S:
            mismatches.append(f"{label}: onset {event.onset_s:g} s; expected {planned.onset_s:g} s")
        if abs(event.duration_s - grid.CLIP_S) > DURATION_TOLERANCE_S:
            mismatches.append(
                f"{label}: duration {event.duration_s:g} s; expected {grid.CLIP_S:g} s"
            )
    return mismatches


def check_images(order: Order, file: EventsFile) -> tuple[list[str], list[str]]:
    """Compare the image next to an events file, or its JSON sidecar, with the time grid.

    Returns (mismatches, which of "TR" and "volumes" could be compared, sorted). Raises InputError
    if a file is not readable.
    """
    expected = {"TR": grid.TR_S, "volumes": grid.n_volumes(order.n_trials)}
    mismatches, compared = [], set()
    for name, kind, value in _header_values(str(file.path).removesuffix("_events.tsv")):
        if value is None:
            continue
        compared.add(kind)
        is_number = isinstance(value, int | float)
        if not is_number or abs(value - expected[kind]) > HEADER_TOLERANCE:
            text = HEADER_TEXTS[kind]
            mismatches.append(
                f"{file.label}: {name} has {text.format(value)}; "
                f"expected {text.format(expected[kind])}"
            )
    return mismatches, sorted(compared)


def _header_values(stem: str) -> Iterator[tuple[str, str, Any]]:
    """Yield (file name, "TR" or "volumes", value) from the sidecar and the images of a run.

    A value from a sidecar may be anything, and is None if the sidecar does not give it.
    """
    import nibabel

    sidecar = Path(f"{stem}_bold.json")
    if sidecar.is_file():
        header = read_json(sidecar, "expected the sidecar of an image")
        if not isinstance(header, dict):
            raise InputError(f"{sidecar}: is not a JSON object; expected the sidecar of an image")
        yield sidecar.name, "TR", header.get("RepetitionTime")
        yield sidecar.name, "volumes", header.get("NumberOfVolumes")
    for path in (Path(f"{stem}_bold.nii.gz"), Path(f"{stem}_bold.nii")):
        if path.is_file():
            with readable(path, "4-D image"):
                image = nibabel.load(path)
                tr_s, n_volumes = float(image.header.get_zooms()[3]), image.shape[3]
            yield path.name, "TR", tr_s
            yield path.name, "volumes", n_volumes
