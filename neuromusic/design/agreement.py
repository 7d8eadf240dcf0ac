"""Compare the description of an experiment with its events, sounds and images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neuromusic.core.errors import InputError, counted, listed
from neuromusic.design.bids import BidsIndex, RunId
from neuromusic.design.event_rows import read_run_events
from neuromusic.design.experiment import Experiment
from neuromusic.design.presentations import (
    Design,
    RunDesign,
    events_paths,
    load_design,
    overlaps,
)

TR_TOLERANCE_S = 1e-3
DURATION_TOLERANCE_S = 0.1  # between a sound file and the events


@dataclass(frozen=True)
class RunFacts:
    """What the image of a run and its JSON files say.

    Parameters
    ----------
    tr_s : float or None
        Repetition time in s, from the JSON files before the header; None if neither has one.
    n_volumes : int or None
        Number of volumes; None if there is no image, or it is not fetched.
    source : Path or None
        The image; None if only JSON files are known.
    reason : str
        Why the image was not read; "" if it was, or if there is none.
    is_missing : bool
        Whether the image is a link to content that has not been fetched.
    tr_source : Path or None
        The JSON file with the TR; None if it is from the header of the image.
    """

    tr_s: float | None = None
    n_volumes: int | None = None
    source: Path | None = None
    reason: str = ""
    is_missing: bool = False
    tr_source: Path | None = None


@dataclass(frozen=True)
class Agreement:
    """Result of a check.

    Parameters
    ----------
    agreements : list of str
        One line per subject, and one for the sounds if they were compared.
    information : list of str
        What to know, although it does not contradict the description.
    mismatches : list of str
        One line per difference; empty if there is none.
    n_runs : int
        Number of runs that were compared.
    """

    agreements: list[str] = field(default_factory=list)
    information: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    n_runs: int = 0


def read_as_far_as_possible(index: BidsIndex, experiment: Experiment) -> tuple[Design, list[str]]:
    """Return the design of all subjects whose events can be read, and one line per bad file.

    Raises InputError if there are no events, or if none can be read.
    """
    try:
        return load_design(index, experiment), []
    except InputError as error:
        first = error
    errors: dict[Path, str] = {}
    bad_subjects, good_subjects = set(), []
    paths = events_paths(index, experiment)
    read: set[Path] = set()
    for run, path in paths.items():
        try:
            if path not in errors and path not in read:
                read_run_events(path, experiment.sounds)
                read.add(path)
        except InputError as error:
            errors[path] = str(error)
        if path in errors:
            bad_subjects.add(run.subject)
    good_subjects = [subject for subject in dict.fromkeys(run.subject for run in paths)
                     if subject not in bad_subjects]  # fmt: skip
    if not errors:  # the fault is not in a single file
        raise first
    lines = list(errors.values())
    if not good_subjects:
        return Design(experiment, {}), lines
    return load_design(index, experiment, good_subjects), lines


def compare(
    design: Design,
    facts: Mapping[RunId, Sequence[RunFacts]],
    durations_s: Mapping[str, float | str] | None = None,
) -> Agreement:
    """Compare all runs of a design with their images, and its sounds with the sound files.

    Parameters
    ----------
    design : Design
        As loaded.
    facts : mapping
        Run -> what is known of each of its images; also of runs without events.
    durations_s : mapping, optional
        Clip -> length of its file in s, or why it cannot be used; without it, sounds are not
        compared.
    """
    result = Agreement(n_runs=len(design.runs))
    _compare_sets(design, result)
    missing_events = [run for run in facts if run not in design.runs]
    without_tr: list[RunId] = []
    for subject in design.subjects:
        of_subject = design.of_subject(subject)
        lines = [
            f"{run.label}: has images but no events; add its events.tsv beside {source.name}"
            for run in missing_events
            if run.subject == subject and (source := facts[run][0].source)
        ]  # fmt: skip
        has_images = any(each.source for run in of_subject.runs for each in facts.get(run, ()))
        for run, each in of_subject.runs.items():
            of_run = facts.get(run, ())
            lines += _events_lines(each, design.experiment)
            lines += _image_lines(each, of_run, design.experiment, result.information)
            if has_images and not any(image.source for image in of_run):
                lines.append(f"{run.label}: has events but no image; add it, or remove the events")
        lines += _tr_lines(of_subject, facts)
        unknown = [run for run, each in of_subject.runs.items() if not _knows_tr(each, facts)]
        without_tr += unknown
        _report_missing_images(subject, of_subject, facts, result.information)
        _report_repeats(subject, of_subject, result.information)
        result.mismatches.extend(lines)
        result.agreements.append(_summary(subject, of_subject, facts, len(lines) + len(unknown)))
    if without_tr:
        others = f" and {len(without_tr) - 1} other runs" if len(without_tr) > 1 else ""
        result.mismatches.append(
            f"{without_tr[0].label}{others}: the TR is not known; give RepetitionTime in the JSON "
            "of the images, or time.tr_s in the description"
        )
    if not any(each.source for images in facts.values() for each in images):
        result.information.append("there are no images, so volumes were not compared")
    if durations_s is None:
        result.information.append("sounds were not compared; give their folder with --sounds")
    elif design.runs:
        _compare_sounds(design, durations_s, result)
    return result


def _summary(
    subject: str, design: Design, facts: Mapping[RunId, Sequence[RunFacts]], n_lines: int
) -> str:
    clips = [clip for each in design.runs.values() for clip in each.trials["clip"]]
    n_images = sum(
        any(image.n_volumes for image in facts.get(run, ()) if image.source) for run in design.runs
    )
    texts = [
        counted(len(design.runs), "run"),
        f"{counted(len(clips), 'presentation')} of {counted(len(set(clips)), 'sound')}",
    ]
    if trs := sorted({each.tr_s for each in design.runs.values() if each.tr_s}):
        texts.append(f"TR {listed(f'{tr_s:g}' for tr_s in trs)} s")
    if counts := sorted({each.n_volumes for each in design.runs.values() if each.n_volumes}):
        texts.append(f"{listed(counts)} volumes")
    if n_images:
        texts.append(counted(n_images, "image"))
    result = f"{n_lines} mismatch{'es' * (n_lines != 1)}" if n_lines else "as described"
    return f"sub-{subject}: {', '.join(texts)}: {result}"


# --- Events ---------------------------------------------------------------------------------------


def _events_lines(run: RunDesign, experiment: Experiment) -> list[str]:
    """Return one line for each difference between the events of a run and the description."""
    time, trials = experiment.time, run.trials
    lines = overlaps(run)
    name = run.events.path.name if run.events else run.id.label
    n_trials = int((~trials["is_dummy"]).sum())
    if time.trials and n_trials != time.trials:
        lines.append(f"{name}: has {n_trials} trials; time.trials is {time.trials}")
    if time.duration_s and run.events:
        for row in run.events.rows:
            if abs(row.duration_s - time.duration_s) > DURATION_TOLERANCE_S:
                lines.append(
                    f"{name}, row {row.row}: {row.clip} is played for {row.duration_s:g} s; "
                    f"time.duration_s is {time.duration_s:g}"
                )
    return lines


def _compare_sets(design: Design, result: Agreement) -> None:
    """Compare runs between subjects, and classes between training and test runs."""
    runs_of: dict[str, set[RunId]] = {}
    for run in design.runs:
        runs_of.setdefault(run.subject, set()).add(run._replace(subject=""))
    every = set().union(*runs_of.values()) if runs_of else set()
    for subject, runs in runs_of.items():
        if absent := sorted(every - runs):
            names = listed((run.label for run in absent), most=4)
            result.information.append(
                f"sub-{subject}: has {len(runs)} of {len(every)} runs; without {names}"
            )
    for run, each in design.runs.items():
        onsets_s = each.trials["onset_s"]
        if n_before := int((onsets_s < 0).sum()):
            result.information.append(
                f"{run.label}: {n_before} sound{'s' * (n_before > 1)} before the first image"
            )
        if each.events and not each.events.was_sorted:
            result.information.append(f"{each.events.path.name}: was sorted by onset")
    classes: dict[str, set[str]] = {"train": set(), "test": set()}
    for each in design.runs.values():
        if each.split:
            classes[each.split].update(each.trials["class"])
    if only := sorted(classes["test"] - classes["train"] - {""}):  # a run has a split with tasks
        result.mismatches.append(
            f"only the test runs have the classes {listed(only)}; no network can learn them from "
            "the training runs"
        )
    played = {name for each in design.runs.values() for name in each.trials["class"]}
    if unheard := [name for name in design.experiment.sounds.classes if name not in played]:
        result.information.append(f"classes that no run plays: {listed(unheard)}")


# --- Images ---------------------------------------------------------------------------------------


def _image_lines(
    run: RunDesign, images: Sequence[RunFacts], experiment: Experiment, information: list[str]
) -> list[str]:
    """Return one line for each difference between a run and its images."""
    lines = []
    tr_s = run.tr_s
    for image in images:
        name = image.source.name if image.source else f"{run.id.stem}_bold.json"
        if image.reason and not image.is_missing:
            lines.append(image.reason)
        if tr_s and image.tr_s and abs(image.tr_s - tr_s) > TR_TOLERANCE_S:
            tr_name = image.tr_source.name if image.tr_source else name
            lines.append(f"{tr_name}: has a TR of {image.tr_s:g} s; {_origin(experiment, tr_s)}")
        if image.n_volumes is None or not (run_tr_s := tr_s or image.tr_s):
            continue
        expected = experiment.time.n_volumes
        if expected and image.n_volumes > expected:
            information.append(
                f"{name}: has {image.n_volumes - expected} surplus volumes, which are dropped"
            )
        if expected and image.n_volumes < expected:
            lines.append(f"{name}: has {image.n_volumes} volumes; expected {expected}")
        lines += _beyond(run, image.n_volumes * run_tr_s, name, run_tr_s)
    n_volumes = run.n_volumes
    if n_volumes and tr_s and not any(image.n_volumes for image in images):
        lines += _beyond(run, n_volumes * tr_s, "the run", tr_s)
    return lines


def _origin(experiment: Experiment, tr_s: float) -> str:
    """Return what another TR of the run comes from."""
    if experiment.time.tr_s is None:
        return f"expected {tr_s:g} s, as the JSON files of the events say"
    return f"expected {tr_s:g} s, which is time.tr_s of the description; correct the wrong one"


def _beyond(run: RunDesign, end_s: float, image: str, tr_s: float) -> list[str]:
    """Return one line for each sound that goes on for over a volume after the last image."""
    if run.events is None:
        return []
    lines = []
    durations_s = np.nan_to_num(run.trials["duration_s"].to_numpy(float))
    for row, duration_s in zip(run.events.rows, durations_s, strict=True):
        if row.onset_s + duration_s > end_s + tr_s:
            lines.append(
                f"{run.events.path.name}, row {row.row}: {row.clip} ends at "
                f"{row.onset_s + duration_s:g} s; {image} ends at {end_s:g} s"
            )
    return lines


def _knows_tr(run: RunDesign, facts: Mapping[RunId, Sequence[RunFacts]]) -> bool:
    return bool(run.tr_s or any(image.tr_s for image in facts.get(run.id, ())))


def _tr_lines(design: Design, facts: Mapping[RunId, Sequence[RunFacts]]) -> list[str]:
    """Return a line if the runs of a subject differ in their TR and the description has none."""
    if design.experiment.time.tr_s is not None:
        return []
    found: dict[float, list[RunId]] = {}
    for run, each in design.runs.items():
        tr_s = each.tr_s or next((fact.tr_s for fact in facts.get(run, ()) if fact.tr_s), None)
        if tr_s:
            found.setdefault(tr_s, []).append(run)
    if len(found) < 2:
        return []
    _, *others = sorted(found.items(), key=lambda each: -len(each[1]))
    usual = max(found, key=lambda tr_s: len(found[tr_s]))
    return [
        f"{run.label}: has a TR of {tr_s:g} s; the other runs of the subject have {usual:g} s"
        for tr_s, runs in others for run in runs
    ]  # fmt: skip


def _report_missing_images(
    subject: str,
    design: Design,
    facts: Mapping[RunId, Sequence[RunFacts]],
    information: list[str],
) -> None:
    missing = [fact for run in design.runs for fact in facts.get(run, ()) if fact.is_missing]
    if missing:
        information.append(
            f"sub-{subject}: {len(missing)} image{'s were' if len(missing) > 1 else ' was'} not "
            f"read, so volumes were not compared; {missing[0].reason}"
        )


def _report_repeats(subject: str, design: Design, information: list[str]) -> None:
    """Say if the sounds that are scored were not all played equally often."""
    scored = [each.trials for each in design.runs.values() if each.split == "test"]
    counts: dict[str, int] = {}
    for trials in scored:
        for clip in trials["clip"][~trials["is_dummy"]]:
            counts[clip] = counts.get(clip, 0) + 1
    if len(found := sorted(set(counts.values()))) > 1:
        information.append(
            f"sub-{subject}: sounds of the test runs are played {listed(found)} times; encode "
            "needs equal numbers. If the first sounds of a run are dummies, give time.lead_in_s in "
            "the description"
        )


# --- Sounds ---------------------------------------------------------------------------------------


def _compare_sounds(
    design: Design, durations_s: Mapping[str, float | str], result: Agreement
) -> None:
    """Compare the length of each sound file with the events or the description."""
    played: dict[str, set[float]] = {}
    first: dict[str, str] = {}
    for run, each in design.runs.items():
        rows = each.events.rows if each.events else [None] * len(each.trials)
        trials = zip(each.trials["clip"], each.trials["duration_s"], rows, strict=True)
        for clip, duration_s, row in trials:
            where = f"{each.events.path.name}, row {row.row}" if each.events and row else run.label
            first.setdefault(clip, where)
            known = played.setdefault(clip, set())
            if not math.isnan(duration_s):
                known.add(float(duration_s))
    n_agree = 0
    for clip, known in played.items():
        found = durations_s.get(clip)
        if found is None:
            result.mismatches.append(
                f"{clip}: has no sound file (first played in {first[clip]}); add it to the folder "
                "of the sounds, or correct its name in the events"
            )
        elif isinstance(found, str):
            result.mismatches.append(found)
        elif differing := [each for each in sorted(known)
                           if abs(each - found) > DURATION_TOLERANCE_S]:  # fmt: skip
            result.mismatches.append(
                f"{clip}: the file is {found:.3f} s long; played for "
                f"{listed(f'{each:g}' for each in differing)} s (first in {first[clip]})"
            )
        else:
            n_agree += 1
    result.agreements.append(f"sounds: {n_agree} of {len(played)} found, as long as played")
    if unused := sorted(set(durations_s) - set(played)):
        are = "sounds are" if len(unused) > 1 else "sound is"
        result.information.append(f"{len(unused)} {are} not played: {listed(unused)}")
