"""Which files are the functional images of each run of a subject."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.folders import check_present, is_same_file, why_no_file
from neuromusic.design.bids import BidsIndex, BidsName, RunId, in_order, parse_bids_name
from neuromusic.design.presentations import IMAGES

log = logging.getLogger(__name__)

# Entities by which images can be chosen, in the order of BIDS.
FILTERS = (
    "ses", "task", "acq", "ce", "rec", "dir", "run", "echo", "part", "hemi", "space", "res", "den",
    "desc",
)  # fmt: skip
NUMBERED = ("run", "echo")  # entities whose values are numbers, with or without leading zeros
NONE = "none"  # value of a filter: images without the entity
SIDES = {"L": "left", "R": "right"}


class _Image(NamedTuple):
    """A file, its name and its run."""

    path: Path
    name: BidsName
    run: RunId

    def value(self, key: str) -> str:
        """Return the value of an entity, NONE without the entity."""
        value = self.name.entities.get(key) or NONE
        return str(int(value)) if key in NUMBERED and value.isdecimal() else value


def find_bold(
    index: BidsIndex,
    subject: str,
    tasks: Sequence[str],
    filters: Mapping[str, str] | None = None,
) -> dict[RunId, tuple[Path, ...]]:
    """Return the images of a subject: run -> its file, or those of both hemispheres.

    Parameters
    ----------
    index : BidsIndex
        The dataset or derivative with the images.
    subject : str
        The subject's label, without ``sub-``.
    tasks : sequence of str
        Labels of the tasks, in the order in which their runs are returned.
    filters : mapping, optional
        Entity -> value that the names must have, such as ``{"space": "T1w"}``; "none" for names
        without the entity. The entities are those of FILTERS.

    Returns
    -------
    dict of tuple of Path
        By run, sorted.

    Raises
    ------
    InputError
        If there is no image, one is a link to nothing, or a run has several: the message lists
        them, and the entities that would choose.
    """
    filters = {key: _wanted(key, str(value)) for key, value in (filters or {}).items() if value}
    of_subject = _images_of(index, subject)
    of_tasks = [image for image in of_subject if image.run.task in tasks]
    chosen = [
        image for image in of_tasks if all(image.value(key) == filters[key] for key in filters)
    ]
    if not chosen:
        raise InputError(f"{index.directory}: {_no_images(index, subject, tasks, filters)}")
    runs: dict[RunId, list[_Image]] = {}
    for image in chosen:
        of_run = runs.setdefault(image.run, [])
        if not any(is_same_file(image.path, other.path) for other in of_run):
            of_run.append(image)
    found = {run: _one_image(run, runs[run]) for run in in_order(runs, list(tasks).index)}
    for images in found.values():
        check_present(image.path for image in images)
    if "hemi" not in filters:
        _report_halves(subject, found.values())
    return {run: tuple(image.path for image in images) for run, images in found.items()}


def _wanted(key: str, value: str) -> str:
    """Return the value of a filter in the form of `_Image.value`."""
    if key not in FILTERS:
        raise InputError(
            f"{key}: is not an entity by which images can be chosen; known: {', '.join(FILTERS)}"
            f"{did_you_mean(key, FILTERS)}"
        )
    value = value.removeprefix(f"{key}-")
    return str(int(value)) if key in NUMBERED and value.isdecimal() else value


def _images_of(index: BidsIndex, subject: str) -> list[_Image]:
    """Return all functional images of a subject, sorted by path, also those not fetched."""
    start = f"sub-{subject}_"
    missing = [path for path in index.broken if path.name.startswith(start)]
    images = []
    named = [(file.path, file.name) for file in index.select("bold", IMAGES)]
    for path, name in [*named, *((path, parse_bids_name(path)) for path in missing)]:
        if name is None or name.subject != subject or name.suffix != "bold":
            continue
        if name.extension in IMAGES and (run := name.run_id) is not None:
            images.append(_Image(path, name, run))
    return sorted(images, key=lambda image: image.path)


def _no_images(
    index: BidsIndex, subject: str, tasks: Sequence[str], filters: Mapping[str, str]
) -> str:
    """Return what is missing, and what there is instead."""
    images = _images_of(index, subject)
    of_tasks = [image for image in images if image.run.task in tasks]
    wanted = "".join(f" with {key}-{value}" for key, value in filters.items())
    text = f"contains no images of sub-{subject}{wanted}"
    if of_tasks:
        there = (f"{key}: {', '.join(_values(of_tasks, key))}" for key in filters)
        return f"{text}; it has {'; '.join(there)}"
    text += (
        f"; expected sub-{subject}/func/sub-{subject}_task-{tasks[0]}_run-01_..._bold.nii.gz (or "
        ".nii, .func.gii, .dtseries.nii, .npy)"
    )
    if images:
        text += f"; the tasks with images are {', '.join(_values(images, 'task'))}"
    # A link that leads nowhere may have led to a folder of images.
    broken = [path for path in index.broken if f"sub-{subject}" in path.parts]
    return f"{text}; {broken[0]} {why_no_file(broken[0])}" if broken else text


def _values(images: Iterable[_Image], key: str) -> list[str]:
    """Return the different values of an entity, NONE last."""
    return sorted({image.value(key) for image in images}, key=lambda value: (value == NONE, value))


def _one_image(run: RunId, images: Sequence[_Image]) -> list[_Image]:
    """Return the files of a run, left before right; raise InputError if they are not one image."""
    groups: dict[tuple[object, ...], list[_Image]] = {}
    for image in images:
        entities = {key: value for key, value in image.name.entities.items() if key != "hemi"}
        key = (image.path.parent, image.name.extension, *sorted(entities.items()))
        groups.setdefault(key, []).append(image)
    first, *others = groups.values()
    sides = sorted(image.value("hemi") for image in first)
    if not others and (len(first) == 1 or sides == ["L", "R"]):
        return sorted(first, key=lambda image: image.value("hemi"))
    names = [image.path.name for image in images]
    if len(set(names)) < len(names):  # they differ only in their folders
        names = [str(image.path) for image in images]
    text = f"{run.label} has {len(images)} images ({listed(names)})"
    differing = {key: _values(images, key) for key in FILTERS if key != "hemi"}
    differing = {key: values for key, values in differing.items() if len(values) > 1}
    if not differing:
        raise InputError(f"{text}; move all but one away")
    values = "; ".join(f"{key}: {', '.join(differing[key])}" for key in differing)
    options = " or ".join(f"{key}=... (--{key})" for key in differing)
    raise InputError(f"{text}; {values}; choose one with {options}")


def _report_halves(subject: str, runs: Iterable[Sequence[_Image]]) -> None:
    """Warn about images of one hemisphere only."""
    halves = [images[0] for images in runs if len(images) == 1 and images[0].value("hemi") in SIDES]
    if halves:
        side = SIDES[halves[0].value("hemi")]
        log.warning(
            "sub-%s: %d images are of one hemisphere, and those of the other are missing (%s is "
            "the %s one); only this half of the brain is used",
            subject, len(halves), halves[0].path.name, side,
        )  # fmt: skip
