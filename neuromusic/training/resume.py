"""Whether a training starts, resumes or is done already, from what its directory contains."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_links, is_unreachable, readable
from neuromusic.core.records import RECORD, is_current, read_record
from neuromusic.training.config import Config, load_config
from neuromusic.training.trained import (
    BEST,
    CONFIG,
    CONFIG_JSON,
    LAST,
    METRICS,
    RESULT_FILES,
    SCORES,
    SCORES_RECORD,
    SECONDS,
    TRACKER_FOLDERS,
)

State = Literal["start", "resume", "done", "outdated"]


def training_state(
    directory: Path, config: Config, new_record: Mapping[str, Any], resume: bool
) -> State:
    """Return what is left to do in the directory of a training; nothing is changed.

    "start"
        There is nothing to resume from.
    "resume"
        There is the checkpoint of an unfinished training with the same settings.
    "done"
        The same training is finished: command, settings, inputs and version are those of
        ``new_record``.
    "outdated"
        There is another finished training; `clear_result` removes it.

    Raises
    ------
    InputError
        If ``directory`` is a file, contains anything else, or contains an unfinished training and
        ``resume`` is False or the settings differ.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is a file; out must name a directory")
    check_links(directory)
    old = read_record(directory)
    if old is not None and old.get("command") == "train":
        return "done" if is_current(directory, new_record) else "outdated"
    if old is None and (directory / LAST).is_file():
        _check_resumable(directory, config, resume)
        return "resume"
    # What a training writes before its first checkpoint, and what it had not renamed yet.
    expected = {CONFIG, BEST, LAST, METRICS, SECONDS}
    expected |= {f".{name}.partial" for name in expected}
    if directory.is_dir() and {path.name for path in directory.iterdir()} - expected:
        raise InputError(
            f"{directory}: contains something else; choose another directory for out, or move that "
            "one away"
        )
    return "start"


def _check_resumable(directory: Path, config: Config, resume: bool) -> None:
    if not resume:
        raise InputError(
            f"{directory}: contains an unfinished training; continue it with resume=True "
            "(neuromusic train --resume), or remove it"
        )
    if load_config(directory / CONFIG).of_training() != config.of_training():
        raise InputError(
            f"{directory / CONFIG}: this training was started with other settings; resume with the "
            f"same settings, or remove {directory}"
        )


def clear_result(directory: Path) -> None:
    """Remove a finished training, and the scores that would seem to be those of the new weights."""
    for name in (*RESULT_FILES, CONFIG_JSON, *SCORES, SCORES_RECORD):
        (directory / name).unlink(missing_ok=True)
    for folder in TRACKER_FOLDERS:
        shutil.rmtree(directory / folder, ignore_errors=True)
    (directory / RECORD).unlink()  # last: if this is interrupted, the next call clears the rest


def check_checkpoint(path: Path) -> None:
    """Raise InputError if a checkpoint is damaged or contains anything but data.

    A checkpoint is a zip archive with a CRC-32 of each file in it. torch does not compare them, so
    it would resume from weights in which a bit has changed.
    """
    with readable(path, "checkpoint", "remove it to train from the beginning"):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} does not match its checksum")
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if is_unreachable(error):
                raise
            # torch's own message advises trusting the file and loading it without a check.
            raise ValueError("it is damaged or contains more than data") from None
