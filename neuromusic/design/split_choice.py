"""Choose from the events which part of an experiment is fitted, and which is scored."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromusic.core.errors import listed
from neuromusic.design.bids import RunId
from neuromusic.design.event_rows import RunEvents
from neuromusic.design.experiment import Sounds

LONG_S, SEGMENT_S = 60.0, 30.0  # sounds as long as LONG_S are divided into segments


def choose_encoding(
    tasks: Sequence[str],
    sounds: Sounds,
    events: Mapping[RunId, RunEvents],
    comments: list[str],
    tr_s: float | None = None,
) -> dict[str, Any]:
    """Return the section ``encoding`` of a description; add to ``comments`` what was decided."""
    encoding: dict[str, Any] = {"split": "runs"}
    durations = [row.duration_s for each in events.values() for row in each.rows]
    longest, shortest = np.nanmax([0, *durations]), np.nanmin([math.inf, *durations])
    train = [task for task in tasks if "train" in task.lower() and "test" not in task.lower()]
    test = [task for task in tasks if "test" in task.lower() and "train" not in task.lower()]
    if train and test and len(train) + len(test) == len(tasks):
        encoding |= {"split": "tasks", "train": train, "test": test}
        comments.extend(_only_tested(sounds, events, set(train)))
    else:
        encoding["split"] = _folds(sounds, events, comments)
        if len(tasks) > 1:
            comments.append(
                "The names of the tasks do not say which are for training and which for testing; "
                'if they differ, write split = "tasks", train = [...] and test = [...].'
            )
    if longest >= LONG_S:
        volume_s = tr_s or 1.0  # a segment has whole volumes, and no sound has fewer
        whole_s = round(math.floor(shortest / volume_s + 1e-6) * volume_s, 6)
        encoding["segment_s"] = float(min(SEGMENT_S, max(volume_s, whole_s)))
        comments.append(
            f"Sounds are up to {longest:g} s long, so they are divided into segments of segment_s."
        )
    return encoding


def _folds(sounds: Sounds, events: Mapping[RunId, RunEvents], comments: list[str]) -> str:
    """Return what is left out in each fold."""
    of_subject: dict[str, list[frozenset[str]]] = {}
    for run, each in events.items():
        of_subject.setdefault(run.subject, []).append(frozenset(row.clip for row in each.rows))
    plays_same = all(len(set(runs)) == 1 for runs in of_subject.values())
    if plays_same and max(map(len, of_subject.values())) > 1:
        comments.append(
            "Every run plays the same sounds, so one run is left out in each fold. This scores "
            'sounds that were heard in training; for new sounds, write split = "sounds".'
        )
        return "runs"
    split = "groups" if sounds.group else "sounds"
    reason = "Runs play different sounds" if not plays_same else "Each subject has one run"
    comments.append(f"{reason}, so {split} are left out: no sound is both fitted and scored.")
    return split


def _only_tested(sounds: Sounds, events: Mapping[RunId, RunEvents], train: set[str]) -> list[str]:
    if not sounds.class_:
        return []
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for run, each in events.items():
        seen[run.task in train].update(row.class_ for row in each.rows)
    if only := sorted(seen[False] - seen[True]):
        return [f"Only the test runs have the classes {listed(only)}; no network can learn them."]
    return []
