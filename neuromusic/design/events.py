"""The events and images of a BIDS dataset, and whether they agree with an order."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import check_reachable, check_size, read_json, text_table
from neuromusic.design import grid
from neuromusic.design.orders import GENRES, TASK, Order, Split, presentations

EVENTS_NAME = re.compile(
    r"sub-(?P<subject>[A-Za-z0-9]+)_task-(?P<task>Training|Test)_run-(?P<run>\d+)_events\.tsv"
)
EVENTS_COLUMNS = ("onset_s", "duration_s", "genre", "track", "start_s", "end_s", "clip")
MOST_BYTES = 32_000_000
MOST_ROWS = 100_000  # a scanner run has some tens
MOST_TRACK_S = 86_400.0


@dataclass(frozen=True)
class EventsFile:
    """Where the events of one subject and run lie."""

    subject: str
    split: Split
    run: int
    path: Path


def find_events(bids: Path) -> list[EventsFile]:
    """Return the events.tsv files of a BIDS dataset, sorted; raise InputError if there is none."""
    bids = Path(bids)
    found = []
    for path in sorted(bids.glob("sub-*/**/func/*_events.tsv")):
        match = EVENTS_NAME.fullmatch(path.name)
        if match:
            split: Split = "train" if match["task"] == TASK["train"] else "test"
            found.append(EventsFile(match["subject"], split, int(match["run"]), path))
    if not found:
        raise InputError(
            f"{bids}: has no events; expected sub-X/func/sub-X_task-Training_run-NN_events.tsv"
        )
    return sorted(found, key=lambda e: (e.subject, TASK[e.split] != "Training", e.run))


def read_events(path: Path) -> pd.DataFrame:
    """Read an events.tsv as ds003720 has it, the dummy row included.

    Columns out: onset_s, duration_s, genre, track, start_s, end_s (seconds in the track), clip.
    Raises InputError with the row (from 1, the header not counted).
    """
    path = Path(path)
    wanted = ("onset", "duration", "genre", "track", "start", "end")
    try:
        check_size(path, MOST_BYTES, "the events of a run")
        table = text_table(path, quoting=3, nrows=MOST_ROWS + 1)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        check_reachable(path)
        raise InputError(f"{path}: cannot be read as a tab-separated table ({error})") from None
    if len(table) > MOST_ROWS:
        raise InputError(f"{path}: has over {MOST_ROWS} rows; expected one a presentation of a run")
    lacking = [column for column in wanted if column not in table]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; expected {' '.join(wanted)}")
    if table.empty:
        raise InputError(f"{path}: has no rows; expected one a presentation")
    rows = []
    for number, row in enumerate(table[list(wanted)].itertuples(index=False), start=1):
        where = f"{path}, row {number}"
        genre = row.genre.strip().strip("'\"")
        if genre not in GENRES:
            raise InputError(
                f"{where}: unknown genre {genre!r}; expected one of {', '.join(GENRES)}"
                f"{did_you_mean(genre, GENRES)}"
            )
        try:
            onset_s, duration_s, start_s, end_s = (
                float(row[wanted.index(c)]) for c in ("onset", "duration", "start", "end")
            )
            if "_" in "".join(row):  # which Python takes for a part of a number
                raise ValueError("'_' is no digit")
        except ValueError as error:
            raise InputError(f"{where}: expected numbers ({error})") from None
        track = row.track.strip()
        if not re.fullmatch("[0-9]{1,5}", track):
            raise InputError(f"{where}: expected numbers (track {track!r}, from 0 to 99999)")
        in_track = 0 <= start_s < end_s <= MOST_TRACK_S
        if not (np.isfinite([onset_s, duration_s, start_s, end_s]).all() and in_track):
            raise InputError(f"{where}: start {start_s} and end {end_s} name no part of a track")
        length_s = round(end_s - start_s)
        rows.append(
            {
                "onset_s": onset_s,
                "duration_s": duration_s,
                "genre": genre,
                "track": f"{genre}.{track:0>5}",
                "start_s": start_s,
                "end_s": end_s,
                "clip": f"{genre}.{track:0>5}_{length_s}s.wav",
            }
        )
    return pd.DataFrame(rows, columns=list(EVENTS_COLUMNS))


def orders_from_bids(bids: Path) -> tuple[Order, Order]:
    """Rebuild the training and the test order from the events of a BIDS dataset.

    Raises InputError where runs are missing or two subjects heard different clips.
    """
    files = find_events(bids)
    orders = []
    for split in ("train", "test"):
        runs: dict[int, tuple[list[str], Path]] = {}
        for file in files:
            if file.split != split:
                continue
            clips = read_events(file.path)["clip"].tolist()[1:]
            if not clips:
                raise InputError(f"{file.path}: has one row; expected the dummy and trials")
            first = runs.setdefault(file.run, (clips, file.path))
            if clips != first[0]:
                trial = next(
                    (i for i, (a, b) in enumerate(zip(clips, first[0], strict=False), 1) if a != b),
                    min(len(clips), len(first[0])) + 1,
                )
                raise InputError(
                    f"{file.path}: trial {trial} differs from {first[1].name}; "
                    "an order can only be rebuilt if all subjects heard the same"
                )
        if sorted(runs) != list(range(1, len(runs) + 1)) or not runs:
            raise InputError(
                f"{bids}: {TASK[split]} runs found: {sorted(runs)}; expected 1, 2, ... without gaps"
            )
        if len({len(clips) for clips, _ in runs.values()}) > 1:
            raise InputError(f"{bids}: {TASK[split]} runs differ in their number of trials")
        orders.append(Order(split, np.array([runs[run][0] for run in sorted(runs)])))
    return orders[0], orders[1]


def check_events(order: Order, file: EventsFile) -> list[str]:
    """Compare one events.tsv with an order; return one line a mismatch, empty if they agree."""
    where = f"sub-{file.subject} task-{TASK[file.split]} run-{file.run:02d}"
    if file.run > order.n_runs:
        return [f"{where}: the order file has {order.n_runs} runs only"]
    events = read_events(file.path)
    expected = presentations(order).query("run == @file.run").reset_index(drop=True)
    faults = []
    if len(events) != len(expected):
        faults.append(
            f"{where}: {len(events)} rows; expected {len(expected)} ({order.n_trials} trials "
            "and the dummy)"
        )
    pairs = zip(events.itertuples(), expected.itertuples(), strict=False)
    for trial, (got, want) in enumerate(pairs):
        label = f"{where} trial {trial}{' (dummy)' if trial == 0 else ''}"
        if got.clip != want.clip:
            faults.append(f"{label}: events {got.clip}; order file {want.clip}")
        if abs(got.onset_s - want.onset_s) > 1e-3:
            faults.append(f"{label}: onset {got.onset_s:g} s; expected {want.onset_s:g} s")
        if abs(got.duration_s - grid.CLIP_S) > 0.05:
            faults.append(f"{label}: duration {got.duration_s:g} s; expected {grid.CLIP_S:g} s")
    return faults


def check_images(order: Order, file: EventsFile) -> tuple[list[str], list[str]]:
    """Compare the image or the JSON beside an events.tsv with the grid.

    Returns (mismatches, what was compared: "TR" and "volumes" as far as files are there).
    """
    import nibabel

    where = f"sub-{file.subject} task-{TASK[file.split]} run-{file.run:02d}"
    stem = str(file.path).removesuffix("_events.tsv")
    want_vol = grid.n_volumes(order.n_trials)
    found: list[tuple[str, str, Any]] = []
    sidecar = Path(f"{stem}_bold.json")
    if sidecar.is_file():
        header = read_json(sidecar, "expected the JSON of an image")
        if not isinstance(header, dict):
            raise InputError(f"{sidecar}: is no JSON object; expected the JSON of an image")
        found += [(sidecar.name, "TR", header.get("RepetitionTime"))]
        found += [(sidecar.name, "volumes", header.get("NumberOfVolumes"))]
    for image in (Path(f"{stem}_bold.nii.gz"), Path(f"{stem}_bold.nii")):
        if image.is_file():
            try:
                shape = nibabel.load(image).shape
                tr_s = float(nibabel.load(image).header.get_zooms()[3])
            except Exception as error:  # nibabel raises several kinds for a broken header
                raise InputError(f"{image}: is no readable 4-D image ({error})") from None
            found += [(image.name, "TR", tr_s), (image.name, "volumes", shape[3])]
    faults, compared = [], set()
    for name, what, value in found:
        if value is None:
            continue
        compared.add(what)
        want = grid.TR_S if what == "TR" else want_vol
        if not isinstance(value, int | float) or abs(value - want) > 1e-3:
            faults.append(f"{where}: {name} has {what} {value}; expected {want}")
    return faults, sorted(compared)


def check_dataset(orders: dict[Split, Order], bids: Path) -> tuple[list[str], list[str]]:
    """Compare every subject and run of a BIDS dataset with the orders.

    Returns (a line for each subject, saying how much agrees; the mismatches). A run that is
    missing is a mismatch.
    """
    files = find_events(bids)
    agreeing, faults = [], []
    for subject in sorted({file.subject for file in files}):
        own = [file for file in files if file.subject == subject]
        good, compared = 0, {"TR": 0, "volumes": 0}
        for file in own:
            found = check_events(orders[file.split], file)
            image_faults, what = check_images(orders[file.split], file)
            for name in what:
                compared[name] += 1
            good += not (found or image_faults)
            faults += found + image_faults
        expected = 0
        for split, order in orders.items():
            there = {file.run for file in own if file.split == split}
            expected += order.n_runs
            for run in sorted(set(range(1, order.n_runs + 1)) - there):
                faults.append(f"sub-{subject} task-{TASK[split]} run-{run:02d}: has no events.tsv")
        agreeing.append(
            f"sub-{subject}: {good} of {expected} runs agree in every trial (TR compared in "
            f"{compared['TR']}, number of volumes in {compared['volumes']})"
        )
    return agreeing, faults


pass
pass


def cut_list(bids: Path) -> pd.DataFrame:
    """Return what the events say to cut: a row a clip; genre, track, start_s, end_s, clip.

    Raises InputError where two events files cut the same clip at different places.
    """
    rows = pd.concat([read_events(file.path) for file in find_events(bids)])
    cuts = rows[["genre", "track", "start_s", "end_s", "clip"]].drop_duplicates()
    twice = cuts[cuts["clip"].duplicated()]["clip"]
    if len(twice):
        raise InputError(f"{bids}: the events cut {twice.iloc[0]} at more than one place")
    return cuts.sort_values("clip").reset_index(drop=True)
