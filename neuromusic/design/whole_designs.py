"""Whole designs: runs that all subjects share, and designs with known durations and volumes."""

from collections.abc import Mapping
from dataclasses import replace

from neuromusic.core.errors import InputError
from neuromusic.design.bids import RunId
from neuromusic.design.presentations import Design, RunDesign, overlaps
from neuromusic.design.timing import ROUND_S, covered, whole_run_volumes


def shared_runs(design: Design) -> dict[RunId, RunDesign]:
    """Return the runs once, without a subject, if all subjects heard the same; otherwise as is."""
    runs_of: dict[str, dict[RunId, RunDesign]] = {}
    for run, each in design.runs.items():
        runs_of.setdefault(run.subject, {})[run._replace(subject="")] = each
    first, *others = runs_of.values()
    if all(_alike(first, other) for other in others):
        return {run: replace(each, id=run) for run, each in first.items()}
    return design.runs


def _alike(first: Mapping[RunId, RunDesign], second: Mapping[RunId, RunDesign]) -> bool:
    return first.keys() == second.keys() and all(
        each.tr_s == second[run].tr_s
        and each.n_volumes == second[run].n_volumes
        and each.trials.equals(second[run].trials)
        for run, each in first.items()
    )


def with_timing(
    design: Design, durations_s: Mapping[str, float], tr_s: float | None = None
) -> Design:
    """Return a design in which every presentation has a duration, and every run a TR.

    Parameters
    ----------
    design : Design
        As loaded.
    durations_s : mapping
        Clip -> length of its sound in s, for presentations whose duration the events do not say.
    tr_s : float, optional
        Repetition time of runs whose TR is not known, such as that of the images.

    Raises
    ------
    InputError
        If a duration or a TR is not known, or two sounds of a run overlap.
    """
    runs = {}
    for run, each in design.runs.items():
        known = each.trials["duration_s"]
        duration_s = known.fillna(each.trials["clip"].map(durations_s))
        if duration_s.isna().any():
            clip = each.trials["clip"][duration_s.isna()].iat[0]
            raise InputError(
                f"{run.label}: the duration of {clip} is not known; give it in the events, as "
                "time.duration_s in the description, or add the sound"
            )
        run_tr_s = each.tr_s or tr_s
        if run_tr_s is None:
            raise InputError(
                f"{run.label}: the TR is not known; give RepetitionTime in the JSON of the images, "
                "or time.tr_s in the description"
            )
        known_run = replace(each, tr_s=run_tr_s, trials=each.trials.assign(duration_s=duration_s))
        if found := overlaps(known_run):
            raise InputError(found[0])
        runs[run] = known_run
    return Design(design.experiment, runs)


def rest_of(design: Design) -> str | None:
    """Return what stands for silence between sounds; None if no run contains a silent volume.

    The runs have a TR and a number of volumes.
    """
    for each in design.runs.values():
        share = covered(each.trials, each.known_tr_s, each.known_volumes)
        if (share < 1 - ROUND_S / each.known_tr_s).any():
            return design.experiment.time.rest
    return None


def contrast_of(design: Design) -> tuple[str, ...]:
    """Return the contrast of the description, or the first two classes; empty without classes."""
    sounds = design.experiment.sounds
    played = sorted({name for each in design.runs.values() for name in each.trials["class"]})
    return sounds.contrast or tuple(name for name in played if name)[:2]


def with_volumes(design: Design) -> Design:
    """Return a design in which every run has a number of volumes.

    Without images, a run of unknown length ends with its last sound. Durations and TRs are known.
    """
    runs = {}
    for run, each in design.runs.items():
        n_volumes = each.n_volumes or whole_run_volumes(each.trials, each.known_tr_s)
        runs[run] = replace(each, n_volumes=n_volumes)
    return Design(design.experiment, runs)
