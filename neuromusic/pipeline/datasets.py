"""Open the dataset of a command: its design, with durations, and where its sounds are."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuromusic.core.errors import MOST_NAMES, InputError, listed
from neuromusic.core.files import as_path
from neuromusic.core.records import arguments
from neuromusic.design.dataset import Dataset
from neuromusic.design.orders import EXPERIMENT
from neuromusic.design.presentations import Design
from neuromusic.design.whole_designs import with_timing
from neuromusic.stimuli import audio
from neuromusic.stimuli.clips import find_clips

log = logging.getLogger(__name__)


def find_sounds(design: Design, directory: str | Path, allow_missing: bool) -> dict[str, Path]:
    """Return clip -> its file, at any depth of a folder; the format of the file may be another.

    Raises InputError if some are missing, unless that is allowed, or all are.
    """
    directory = as_path(directory)
    available = find_clips(directory)
    found = {
        clip: available[key]
        for clip in design.clips
        if (key := f"{Path(clip).stem}.wav") in available
    }
    missing = [clip for clip in design.clips if clip not in found]
    if missing and (not allow_missing or not found):
        raise InputError(
            f"{directory}: {len(missing)} of the {len(design.clips)} sounds are missing: "
            f"{listed(missing[:MOST_NAMES])}; add them, or continue without them with allow_missing"
        )
    if missing:
        log.warning("%d sounds are missing: %s", len(missing), listed(missing))
    return found


def dataset_arguments(
    dataset: Dataset | None, network: Path | str, **others: Any
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the settings and places of a command with a dataset, as `core.records.arguments`.

    A dataset is recorded as its folder if it is one of ds003720 without sounds; otherwise with the
    content of its description and the folder of its sounds.
    """
    source: Dataset | Path | None = None
    if dataset is not None:
        experiment, sounds = dataset.described(), dataset.sounds
        source = dataset.directory
        if experiment != EXPERIMENT or sounds is not None:
            source = Dataset(source, sounds=None if sounds is None else as_path(sounds))
    settings, places = arguments(network=network, bids=source, **others)
    if isinstance(source, Dataset):
        settings["bids"]["experiment"] = experiment.model_dump(mode="json", by_alias=True)
    return settings, places


def with_durations(design: Design, files: Mapping[str, Path], tr_s: float | None = None) -> Design:
    """Return a design with the durations of its sounds; compare the files with what was played.

    ``files`` maps clips to their sounds; ``tr_s`` is that of runs of unknown TR.

    Raises InputError for a sound that is shorter than it was played, and if a duration or a TR is
    not known.
    """
    length_s = {clip: audio.duration_s(path) for clip, path in files.items()}
    design = with_timing(design, length_s, tr_s)
    played = design.table().groupby("clip")["duration_s"].max()
    longer = []
    for clip, path in files.items():
        more_s = length_s[clip] - float(played[clip])
        if more_s < -audio.LENGTH_TOLERANCE_S:
            raise InputError(
                f"{path}: lasts {length_s[clip]:.2f} s, but was played for {played[clip]:g} s; "
                "correct the events, or time.duration_s in the description"
            )
        if more_s > audio.LENGTH_TOLERANCE_S:
            longer.append(path.name)
    if longer:
        log.warning(
            "%d sounds are longer than they were played, and are cut off: %s", len(longer),
            listed(longer),
        )  # fmt: skip
    return design
