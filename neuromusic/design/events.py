"""The events and images of a BIDS dataset, compared with an order; orders and cuts from events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_json, readable
from neuromusic.design.bids import RunId, index_bids
from neuromusic.design.event_rows import RunEvents
from neuromusic.design.experiment import Experiment, Split
from neuromusic.design.orders import (
    CLIP_S,
    EXPERIMENT,
    TASK,
    TR_S,
    VOLUMES_PER_CLIP,
    Order,
    presentations,
)
from neuromusic.design.presentations import RunDesign, load_design

ONSET_TOLERANCE_S = 1e-3
DURATION_TOLERANCE_S = 0.05
HEADER_TOLERANCE = 1e-3  # of the TR in s, and of the number of volumes

# How messages describe a header value.
HEADER_TEXTS = {"TR": "a TR of {} s", "volumes": "{} volumes"}


# --- Orders and cuts ------------------------------------------------------------------------------


def orders_from_bids(bids: Path) -> tuple[tuple[Order, Order], list[Path]]:
    """Rebuild the training and the test order from the events of a BIDS dataset.

    Returns both orders, and the events files. Raises InputError if runs are missing or two subjects
    were presented different clips.
    """
    runs = load_design(bids, EXPERIMENT).runs.values()
    train, test = (_rebuild_order(runs, split, bids) for split in get_args(Split))
    return (train, test), [_events_of(run).path for run in runs]


def _events_of(run: RunDesign) -> RunEvents:
    assert run.events is not None  # a design that was loaded from events has them
    return run.events


def _rebuild_order(designs: Iterable[RunDesign], split: Split, bids: Path) -> Order:
    runs: dict[int, tuple[list[str], Path]] = {}
    for run in designs:
        if run.id.task != TASK[split]:
            continue
        path = _events_of(run).path
        clips = run.trials.loc[~run.trials["is_dummy"], "clip"].tolist()
        if not clips:
            raise InputError(f"{path}: has one row; expected the dummy and trials")
        first_clips, first_path = runs.setdefault(run.id.run, (clips, path))
        if clips != first_clips:
            trial = _first_difference(clips, first_clips) + 1
            raise InputError(
                f"{path}: trial {trial} differs from {first_path.name}; an order can only be "
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


def cut_list(bids: Path, experiment: Experiment = EXPERIMENT) -> tuple[pd.DataFrame, list[Path]]:
    """Return where the events start and end each clip: class, track, start_s, end_s, clip.

    One row per clip; the track is the group of the clip. The events files come second. Raises
    InputError if the events do not say where, or cut the same clip at different places.
    """
    runs = load_design(bids, experiment).runs.values()
    events = {each.path: each for each in map(_events_of, runs)}
    cuts = pd.DataFrame(
        [
            (row.class_, row.group, row.start_s, row.end_s, row.clip)
            for each in events.values()
            for row in each.rows
        ],
        columns=["class", "track", "start_s", "end_s", "clip"],
    ).drop_duplicates()
    if cuts["start_s"].isna().any():
        raise InputError(
            f"{bids}: the events of {experiment.name} have no columns start and end in a track; "
            "there is nothing to cut"
        )
    ambiguous = cuts["clip"][cuts["clip"].duplicated()]
    if len(ambiguous):
        raise InputError(f"{bids}: the events cut {ambiguous.iloc[0]} in more than one place")
    return cuts.sort_values("clip").reset_index(drop=True), list(events)


# --- Comparison with an order ---------------------------------------------------------------------


def check_dataset(orders: dict[Split, Order], bids: Path) -> tuple[list[str], list[str]]:
    """Compare the events and images of a BIDS dataset with both orders.

    Returns (agreements, one line per subject; mismatches, one line each). A missing run is a
    mismatch.
    """
    index = index_bids(bids)
    design = load_design(index, EXPERIMENT)
    agreements, mismatches = [], []
    for subject in design.subjects:
        agreement, differences = _check_subject(orders, design.of_subject(subject).runs)
        agreements.append(agreement)
        mismatches += differences
    return agreements, mismatches


def _check_subject(
    orders: dict[Split, Order], runs: Mapping[RunId, RunDesign]
) -> tuple[str, list[str]]:
    """Return the subject's line of agreement and their mismatches."""
    n_agreeing, compared = 0, {"TR": 0, "volumes": 0}
    mismatches: list[str] = []
    split_of = {task: split for split, task in TASK.items()}
    for run, design in runs.items():
        order = orders[split_of[run.task]]
        differences = check_events(order, design)
        image_differences, kinds = check_images(order, design)
        for kind in kinds:
            compared[kind] += 1
        n_agreeing += not (differences or image_differences)
        mismatches += differences + image_differences
    subject = next(iter(runs)).subject
    for split, order in orders.items():
        present = {run.run for run in runs if run.task == TASK[split]}
        for number in sorted(set(range(1, order.n_runs + 1)) - present):
            label = RunId(subject, "", TASK[split], number).label
            mismatches.append(f"{label}: has no events.tsv")
    n_runs = sum(order.n_runs for order in orders.values())
    agreement = (
        f"sub-{subject}: {n_agreeing} of {n_runs} runs agree in every trial (TR compared in "
        f"{compared['TR']}, number of volumes in {compared['volumes']})"
    )
    return agreement, mismatches


def check_events(order: Order, run: RunDesign) -> list[str]:
    """Compare the events of a run with an order; return one line per mismatch."""
    label = run.id.label
    if run.id.run > order.n_runs:
        return [f"{label}: the order file has only {order.n_runs} runs"]
    expected = presentations(order).query("run == @run.id.run").reset_index(drop=True)
    mismatches = []
    if len(run.trials) != len(expected):
        mismatches.append(
            f"{label}: {len(run.trials)} rows; expected {len(expected)} ({order.n_trials} trials "
            "and the dummy)"
        )
    pairs = zip(run.trials.itertuples(), expected.itertuples(), strict=False)
    for trial, (event, planned) in enumerate(pairs):
        where = f"{label} trial {trial}{' (dummy)' if trial == 0 else ''}"
        if event.clip != planned.clip:
            mismatches.append(f"{where}: events {event.clip}; order file {planned.clip}")
        if abs(event.onset_s - planned.onset_s) > ONSET_TOLERANCE_S:
            mismatches.append(f"{where}: onset {event.onset_s:g} s; expected {planned.onset_s:g} s")
        if abs(event.duration_s - CLIP_S) > DURATION_TOLERANCE_S:
            mismatches.append(f"{where}: duration {event.duration_s:g} s; expected {CLIP_S:g} s")
    return mismatches


def check_images(order: Order, run: RunDesign) -> tuple[list[str], list[str]]:
    """Compare the image next to an events file, or its JSON sidecar, with the time grid.

    Returns (mismatches, which of "TR" and "volumes" could be compared, sorted). Raises InputError
    if a file is not readable.
    """
    expected = {"TR": TR_S, "volumes": (order.n_trials + 1) * VOLUMES_PER_CLIP}
    mismatches, compared = [], set()
    for name, kind, value in _header_values(str(_events_of(run).path).removesuffix("_events.tsv")):
        if value is None:
            continue
        compared.add(kind)
        is_number = isinstance(value, int | float)
        if not is_number or abs(value - expected[kind]) > HEADER_TOLERANCE:
            text = HEADER_TEXTS[kind]
            mismatches.append(
                f"{run.id.label}: {name} has {text.format(value)}; "
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
