"""Join the encodings of several subjects: tests over subjects, without encoding them again."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError, counted, listed
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path, read_json, write_json
from neuromusic.core.folders import why_no_folder
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.records import arguments, changed_settings, hash_inputs, read_record
from neuromusic.pipeline.encode import COMMAND
from neuromusic.pipeline.encode_participant import FUNCTION, RESULTS
from neuromusic.pipeline.encode_work import SUMMARY, log_scores

log = logging.getLogger(__name__)


def encode_group(
    encodings: str | Path,
    *,
    out: str | Path,
    participants: str | Sequence[str] = "all",
    seed: int = 0,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
    overwrite: bool = False,
) -> Path:
    """Join the encodings of several subjects into the tables and figures of a group.

    The tests over subjects are those of `encode` for several subjects; they are computed from what
    `encode_participant` has stored. If all subjects were played the same, the tables are the same
    as well.

    Parameters
    ----------
    encodings : str or Path
        Folder with the directories ``sub-X`` of `encode_participant`.
    out : str or Path
        Output directory: tables and figures. It may be in ``encodings``.
    participants : "all" or sequence of str
        Labels of the subjects to join, with or without ``sub-``; "all" are those in ``encodings``.
    seed : int
        Seed of the shifts that similarities are tested with.
    figures : FigureStyle
        Formats and width of the figures.
    overwrite : bool
        Replace an earlier result for other subjects, or from other encodings.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If the encoding of a subject is missing or not finished, if encodings were made with
        different settings or networks, or if ``out`` contains something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> out = nm.encode_group("encodings", out="encodings/group")
    >>> sorted(path.name for path in out.glob("*.tsv"))
    ['areas.tsv', 'contrasts.tsv', 'group.tsv', 'similarity.tsv', 'unique.tsv']
    """
    encodings, out = as_path(encodings), as_path(out)
    check_target(out, COMMAND)
    if not encodings.is_dir():
        raise InputError(f"{encodings}: {why_no_folder(encodings)}; expected encodings of subjects")
    labels = _labels(encodings, participants)
    check_complete(encodings, labels)
    _check_alike(encodings, labels)
    settings, places = arguments(
        encodings=encodings, participants=labels, seed=seed, figures=figures
    )  # fmt: skip
    files = [
        encodings / f"sub-{label}" / name
        for label in labels
        for name in (RESULTS.format(label), SUMMARY)
    ]
    inputs = hash_inputs(files)
    step = Step(
        COMMAND, out, settings, inputs, places, function="encode_group", overwrite=overwrite
    )  # fmt: skip
    if step.is_done():
        return out
    from neuromusic.encoding.area_results import StoredSubject
    from neuromusic.encoding.group_files import write_group

    with step.directory() as directory:
        stored = {label: StoredSubject.load(_results(encodings, label)) for label in labels}
        first = stored[labels[0]]
        results = {label: each.results for label, each in stored.items()}
        areas = write_group(directory, results, first.stages, first.stage_rdms, seed, figures)
        write_json(directory / SUMMARY, _joint_summary(encodings, labels))
    log_scores(areas, len(labels))
    log.info(
        "wrote %s: areas.tsv, contrasts.tsv, group.tsv, similarity.tsv, unique.tsv and figures of "
        "%s", out, counted(len(labels), "subject"),
    )  # fmt: skip
    return out


def record_of(encodings: Path, label: str) -> dict[str, Any] | None:
    """Return the record of a subject's encoding, or None if there is none that is finished."""
    record = read_record(encodings / f"sub-{label}")
    is_participant = record is not None and record.get("function") == FUNCTION
    return record if is_participant and _results(encodings, label).is_file() else None


def check_complete(encodings: Path, labels: Sequence[str]) -> None:
    """Raise InputError that names all subjects without a finished encoding."""
    missing = [label for label in labels if record_of(encodings, label) is None]
    if missing:
        begun = [label for label in missing if (encodings / f".sub-{label}.partial").is_dir()]
        texts = [f"sub-{label}{' (not finished)' * (label in begun)}" for label in missing]
        raise InputError(
            f"{encodings}: has no encoding of {len(missing)} of the {len(labels)} participants: "
            f"{listed(texts, len(texts))}; encode them first, or choose participants without them"
        )


def _results(encodings: Path, label: str) -> Path:
    return encodings / f"sub-{label}" / RESULTS.format(label)


def _labels(encodings: Path, participants: str | Sequence[str]) -> list[str]:
    if participants == "all" or list(participants) == ["all"]:
        every = (path.name.removeprefix("sub-") for path in sorted(encodings.glob("sub-*")))
        labels = [label for label in every if record_of(encodings, label) is not None]
        if not labels:
            raise InputError(f"{encodings}: has no encodings of participants; encode them first")
        return labels
    names = [participants] if isinstance(participants, str) else participants
    return list(dict.fromkeys(name.removeprefix("sub-") for name in names))


def _check_alike(encodings: Path, labels: Sequence[str]) -> None:
    """Raise InputError if subjects were encoded with different settings, networks or versions."""
    first = record_of(encodings, labels[0]) or {}
    for label in labels[1:]:
        other = record_of(encodings, label) or {}
        old, new = (
            {**each["settings"], "participant": None, "version": each["code_version"]}
            for each in (first, other)
        )
        changes = changed_settings(old, new)
        shared = first["inputs"].keys() & other["inputs"].keys()
        changes += [
            f"{name} differs"
            for name in sorted(shared)
            if first["inputs"][name] != other["inputs"][name]
        ]
        if changes:
            raise InputError(
                f"{encodings / f'sub-{label}'}: was encoded in another way than sub-{labels[0]} "
                f"({listed(changes)}); encode one of them again, or choose participants that match"
            )


def _joint_summary(encodings: Path, labels: Sequence[str]) -> dict[str, Any]:
    """Return what the ``encoding.json`` of all subjects have in common, and what differs."""
    contents: Mapping[str, dict[str, Any]] = {
        label: read_json(encodings / f"sub-{label}" / SUMMARY) for label in labels
    }
    first = contents[labels[0]]
    joint: dict[str, Any] = {"Participants": list(labels)}
    differing: dict[str, Any] = {}
    for key in dict.fromkeys(key for each in contents.values() for key in each):
        values = {label: each.get(key) for label, each in contents.items()}
        if all(value == first.get(key) for value in values.values()):
            joint[key] = first[key]
        else:
            differing[key] = {f"sub-{label}": value for label, value in values.items()}
    return joint | ({"OfEachParticipant": differing} if differing else {})
