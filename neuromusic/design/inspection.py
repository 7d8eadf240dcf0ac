"""Write the description of an experiment from what a BIDS dataset contains."""

import logging
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tomli_w

from neuromusic.core.errors import InputError, counted, listed
from neuromusic.design.agreement import RunFacts
from neuromusic.design.bids import BidsIndex, RunId, check_events_present
from neuromusic.design.event_columns import Columns, RunCells, choose_columns, read_columns
from neuromusic.design.event_rows import RunEvents, read_run_events
from neuromusic.design.experiment import (
    PRESETS,
    Experiment,
    Files,
    Sounds,
    load_experiment,
    preset_names,
)
from neuromusic.design.presentations import IMAGES, OVERLAP_S, events_paths, trial_table
from neuromusic.design.split_choice import choose_encoding

log = logging.getLogger(__name__)

TAIL_S = 10.0  # images go on for about so long after the last sound if there is silence in a run
GRID_S = 1e-3


class Comments(NamedTuple):
    """Sentences for the sections of the file."""

    files: list[str]
    sounds: list[str]
    time: list[str]
    encoding: list[str]


@dataclass(frozen=True)
class Inspection:
    """A description, and how it was found.

    Parameters
    ----------
    experiment : Experiment
        The description.
    text : str
        The same as TOML, with comments.
    notes : list of str
        The comments, one sentence each: what was found, and what could not be decided.
    """

    experiment: Experiment
    text: str
    notes: list[str] = field(default_factory=list)


def inspect_dataset(index: BidsIndex, name: str, facts: Mapping[RunId, RunFacts]) -> Inspection:
    """Return the description of the experiment in a dataset.

    ``facts`` are the TR and the number of volumes of the runs whose images or JSON files are known.

    Raises InputError if there are no events, or no column of them names a sound.
    """
    paths = every_run(index)
    tables = {path: read_columns(run, path) for run, path in paths.items()}
    of_task: dict[str, list[RunCells]] = {}
    for run, path in paths.items():
        of_task.setdefault(run.task, []).append(tables[path]._replace(run=run))
    if (preset := _matching_preset(of_task)) is not None:
        return preset
    chosen = {task: choose_columns(each) for task, each in of_task.items()}
    with_sounds = [task for task, each in chosen.items() if each is not None]
    if not with_sounds:
        first = next(iter(paths.values()))
        raise InputError(
            f"{index.directory}: no column of the events names a sound (the columns of {first} are "
            f"{listed(tables[first].columns)}); add stim_file, the BIDS column for it"
        )
    tasks, doubts = _alike_tasks(with_sounds, chosen)
    columns = choose_columns([each for task in tasks for each in of_task[task]])
    assert columns is not None
    left_out = [task for task in of_task if task not in tasks]
    if left_out:
        doubts.append(f"Left out, because their events name no such sounds: {listed(left_out)}.")
    runs = [each.run for task in tasks for each in of_task[task]]
    events = {run: paths[run] for run in runs}
    read: dict[Path, RunEvents] = {}
    for path in events.values():
        if path not in read:
            read[path] = read_run_events(path, columns.sounds)
    of_run = {run: read[path] for run, path in events.items()}
    return _described(name, tasks, columns, doubts, of_run, facts)


def every_run(index: BidsIndex) -> dict[RunId, Path]:
    """Return the events file of each run of all tasks."""
    check_events_present(index)
    files = [*index.select("events", (".tsv",)), *index.select("bold", (*IMAGES, ".json"))]
    tasks = sorted({file.run_id.task for file in files if file.run_id})
    if not tasks:
        raise InputError(
            f"{index.directory}: has no events; expected sub-X/func/sub-X_task-Y_run-NN_events.tsv"
        )
    every = Experiment(name="all", files=Files(tasks=tuple(tasks)), sounds=_any_sounds())
    return events_paths(index, every)


def _any_sounds() -> Sounds:
    return Sounds.model_validate({"sound": "onset"})


def _alike_tasks(
    tasks: Sequence[str], chosen: Mapping[str, Columns | None]
) -> tuple[list[str], list[str]]:
    """Return the tasks whose sounds are in the same columns as those of the largest group."""
    by_columns: dict[str, list[str]] = {}
    for task in tasks:
        columns = chosen[task]
        assert columns is not None
        by_columns.setdefault(columns.sounds.sound, []).append(task)
    best, *others = sorted(by_columns.values(), key=len, reverse=True)
    if not others:
        return best, []
    rest = [task for each in others for task in each]
    return best, [
        f"The sounds of {listed(rest)} are in other columns; describe these tasks in a file of "
        "their own."
    ]


def _matching_preset(of_task: Mapping[str, Sequence[RunCells]]) -> Inspection | None:
    """Return the preset whose tasks, columns, durations and trials all events have."""
    for name in preset_names():
        preset = load_experiment(name)
        if set(preset.files.tasks) != set(of_task):
            continue
        try:
            for table in (each for tables in of_task.values() for each in tables):
                _check_preset(preset, table)
        except InputError as error:
            log.info("the tasks are those of %s, but its preset does not fit: %s", name, error)
            continue
        note = f"The events fit the preset {name!r} completely, so this is its description."
        text = (resources.files(PRESETS) / f"{name}.toml").read_text("utf-8")
        return Inspection(preset, f"# {note}\n{text}", [note])
    return None


def _check_preset(preset: Experiment, table: RunCells) -> None:
    if missing := [name for name in preset.sounds.columns if name not in table.columns]:
        raise InputError(f"{table.path}: has no column {listed(missing)}")
    events = read_run_events(table.path, preset.sounds)
    trials = trial_table(events, preset)
    time = preset.time
    n_trials = int((~trials["is_dummy"]).sum())
    if time.trials and n_trials != time.trials:
        raise InputError(f"{table.path}: has {n_trials} trials, not {time.trials}")
    differing = (trials["duration_s"] - time.duration_s).abs() if time.duration_s else pd.Series()
    if (differing > OVERLAP_S).any():
        raise InputError(f"{table.path}: has sounds that are not {time.duration_s:g} s long")


# --- Decisions ------------------------------------------------------------------------------------


def _described(
    name: str,
    tasks: Sequence[str],
    columns: Columns,
    doubts: Sequence[str],
    events: Mapping[RunId, RunEvents],
    facts: Mapping[RunId, RunFacts],
) -> Inspection:
    comments = Comments(list(doubts), list(columns.doubts), [], [])
    sessions = sorted({run.session for run in events if run.session})
    files = {"tasks": list(tasks)} | ({"sessions": sessions} if sessions else {})
    subjects = {run.subject for run in events}
    comments.files.append(f"{counted(len(subjects), 'subject')}, {counted(len(events), 'run')}.")
    if any(run.session for run in events) and not all(run.session for run in events):
        files.pop("sessions")
        comments.files.append("Some runs have no session, so all are read.")
    sounds: dict[str, Any] = {"sound": columns.sounds.sound, "class": columns.sounds.class_}
    if columns.sounds.group:
        sounds["group"] = columns.sounds.group
    comments.sounds.extend(_counts(events, columns.sounds))
    time = _time(events, facts, comments.time)
    encoding = choose_encoding(
        tasks, columns.sounds, events, comments.encoding, time.get("tr_s")
    )  # fmt: skip
    tree: dict[str, Any] = {
        "name": name,
        "files": files,
        "sounds": sounds,
        "time": time,
        "encoding": encoding,
    }
    text = [
        "# Written by 'neuromusic experiment inspect'. Lines that begin with # are comments: what",
        "# was found, and what to check. 'neuromusic experiment check' compares it with the data.",
        tomli_w.dumps({"name": name}),
    ]
    for section in ("files", "sounds", "time", "encoding"):
        text.append(f"[{section}]")
        for line in getattr(comments, section):
            text.append(textwrap.fill(line, 98, initial_indent="# ", subsequent_indent="#   "))
        text.append(tomli_w.dumps(tree[section]))
    notes = [line for section in comments for line in section]
    experiment = Experiment.model_validate(tree)
    return Inspection(experiment, "\n".join(text).rstrip("\n") + "\n", notes)


def _counts(events: Mapping[RunId, RunEvents], sounds: Sounds) -> list[str]:
    rows = [row for each in events.values() for row in each.rows]
    clips = {row.clip for row in rows}
    lines = [f"{len(clips)} different sounds."]
    classes = {row.class_ for row in rows}
    if sounds.class_:
        lines.append(f"{len(classes)} classes: {listed(sorted(classes))}.")
    else:
        lines.append("No column has one value for each sound and few values: there is no class.")
    repeats: dict[tuple[str, str], int] = {}
    for run, each in events.items():
        for row in each.rows:
            key = (run.subject, row.clip)
            repeats[key] = repeats.get(key, 0) + 1
    lines.append(f"Each subject hears a sound {_span(list(repeats.values()))} times.")
    if n_rest := sum(each.n_rest for each in events.values()):
        lines.append(f"{n_rest} rows name no sound; they are rest.")
    return lines


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if math.isclose(low, high) else f"{low:g} to {high:g}"


def _time(
    events: Mapping[RunId, RunEvents], facts: Mapping[RunId, RunFacts], comments: list[str]
) -> dict[str, Any]:
    time: dict[str, Any] = {}
    tr_s = _common_tr_s(events, facts, comments)
    if tr_s is not None:
        time["tr_s"] = tr_s
    durations = [row.duration_s for each in events.values() for row in each.rows]
    if np.isnan(durations).all():
        comments.append("The events give no durations: those of the sound files are used.")
    elif np.isnan(durations).any():
        comments.append("Some rows give no duration: that of the sound file is used for them.")
    gaps = _gaps(events)
    is_back_to_back = not len(gaps) or gaps.max() <= max(OVERLAP_S, tr_s or 0)
    if len(gaps):
        text = f"Silence after a sound: {_span(np.round(gaps, 3).tolist())} s."
        comments.append("The sounds follow each other." if is_back_to_back else text)
    if n_overlaps := int((gaps < -OVERLAP_S).sum()):
        comments.append(f"{n_overlaps} sounds begin before the one before has ended.")
    _volumes(events, facts, tr_s, is_back_to_back, time, comments)
    _lead_in(events, time, comments)
    _grid(events, tr_s, comments)
    if not is_back_to_back:
        time["rest"] = "zero"
        comments.append('rest = "silence" would stand for a network\'s response to silence.')
    n_unsorted = sum(not each.was_sorted for each in events.values())
    if n_unsorted:
        comments.append(f"The rows of {n_unsorted} runs are not in the order of their onsets.")
    return time


def _common_tr_s(
    events: Mapping[RunId, RunEvents], facts: Mapping[RunId, RunFacts], comments: list[str]
) -> float | None:
    found = {run: facts[run].tr_s for run in events if run in facts and facts[run].tr_s}
    values = sorted({tr_s for tr_s in found.values() if tr_s})
    if not values:
        comments.append(
            "The TR is not known: neither JSON files nor images give it. Add tr_s = ... (seconds)."
        )
        return None
    if len(values) > 1:
        counts = [f"{each:g} s ({list(found.values()).count(each)} runs)" for each in values]
        comments.append(f"Runs differ in their TR, so it is read for each: {listed(counts)}.")
        return None
    if n_unknown := len(events) - len(found):
        comments.append(f"{n_unknown} runs do not say their TR; that of the others is used.")
    return values[0]


def _volumes(
    events: Mapping[RunId, RunEvents],
    facts: Mapping[RunId, RunFacts],
    tr_s: float | None,
    is_back_to_back: bool,
    time: dict[str, Any],
    comments: list[str],
) -> None:
    """Add n_volumes if all runs have it, or if it can be assumed."""
    known = [facts[run].n_volumes for run in events if run in facts]
    counts = sorted({n for n in known if n})
    if len(counts) == 1:
        time["n_volumes"] = counts[0]
        if n_unknown := len(events) - sum(n is not None for n in known):
            comments.append(f"n_volumes is not known for {n_unknown} runs; taken from the others.")
        return
    if counts:
        span = _span(counts)
        comments.append(f"Runs have {span} volumes, so the number is read from each image.")
        return
    ends = {run: max(row.onset_s + row.duration_s for row in each.rows)
            for run, each in events.items()}  # fmt: skip
    latest = np.nanmax(list(ends.values())) if not np.isnan(list(ends.values())).all() else None
    if is_back_to_back or tr_s is None or latest is None:
        comments.append(
            "The number of volumes is not known; without images, a run ends with its last sound."
        )
        return
    if latest - np.nanmin(list(ends.values())) > TAIL_S:
        comments.append(
            "The number of volumes is not known, and runs differ in length; without images, a run "
            "ends with its last sound."
        )
        return
    time["n_volumes"] = math.floor((latest + TAIL_S) / tr_s + 0.5)
    comments.append(
        f"n_volumes is assumed, not read: neither images nor JSON files give it. It is the latest "
        f"end of a sound, {latest:g} s, and {TAIL_S:g} s. Correct it if it is wrong."
    )


def _gaps(events: Mapping[RunId, RunEvents]) -> np.ndarray:
    """Return the time from the end of each sound to the next one in its run, in s."""
    gaps = [
        second.onset_s - first.onset_s - first.duration_s
        for each in events.values()
        for first, second in zip(each.rows[:-1], each.rows[1:], strict=True)
    ]
    known = np.array(gaps, float)
    return known[~np.isnan(known)]


def _lead_in(events: Mapping[RunId, RunEvents], time: dict[str, Any], comments: list[str]) -> None:
    """Say what precedes the first image, and whether each run begins with its own last sound."""
    if n_negative := sum(row.onset_s < 0 for each in events.values() for row in each.rows):
        comments.append(f"{n_negative} sounds have a negative onset: they precede the first image.")
        return
    rows = [each.rows for each in events.values()]
    repeats_last = all(
        len(each) > 3 and each[0].clip == each[-1].clip and each[0].clip != each[1].clip
        for each in rows
    )
    seconds = {round(each[1].onset_s, 3) for each in rows if len(each) > 1}
    if repeats_last and len(rows) > 1 and len({each[0].clip for each in rows}) > 1:
        time["lead_in_s"] = min(seconds)
        comments.append(
            "Each run begins with its own last sound, which is therefore taken for a lead-in that "
            "is not scored. If it is not, remove lead_in_s."
        )
        return
    comments.append("No lead-in is evident; if the first sounds are dummies, add lead_in_s.")


def _grid(events: Mapping[RunId, RunEvents], tr_s: float | None, comments: list[str]) -> None:
    if tr_s is None:
        return
    onsets_s = np.array([row.onset_s for each in events.values() for row in each.rows])
    off_s = np.abs(onsets_s - np.round(onsets_s / tr_s) * tr_s)
    if n_off := int((off_s > GRID_S).sum()):
        comments.append(
            f"{n_off} of {len(onsets_s)} sounds do not begin with a volume, by up to "
            f"{off_s.max():.3g} s; a sound counts for the part of a volume that it fills."
        )
