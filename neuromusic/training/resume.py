"""Whether a training starts, resumes or is done already, from what its directory contains."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_links, is_unreachable, readable
from neuromusic.core.outputs import PLAN, is_up_to_date
from neuromusic.core.records import RECORD, read_record, why_other
from neuromusic.training.config import load_config
from neuromusic.training.trained import BEST, CONFIG, LAST, METRICS, SECONDS

State = Literal["start", "resume", "done", "outdated"]


def training_state(
    directory: Path, new_record: Mapping[str, Any], resume: bool, overwrite: bool = False
) -> State:
    """Return what is left to do in the directory of a training; nothing is changed.

    "start"
        There is nothing to resume from.
    "resume"
        There is the checkpoint of an unfinished training of ``new_record``.
    "done"
        The same training is finished: command, settings, inputs and version are those of
        ``new_record``.
    "outdated"
        There is another training, finished or not, that may be overwritten: `clear` removes it.

    Raises
    ------
    InputError
        If ``directory`` is a file or contains anything else; if it contains another training and
        ``overwrite`` is False; or an unfinished training and ``resume`` is False too.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is a file; out must name a directory")
    check_links(directory)
    old = read_record(directory)
    if old is not None and old.get("command") == "train":
        return "done" if is_up_to_date(directory, new_record, overwrite=overwrite) else "outdated"
    if old is None and (directory / LAST).is_file():
        return _unfinished_state(directory, new_record, resume, overwrite)
    # What a training writes before its first checkpoint, and what it had not renamed yet.
    expected = {CONFIG, PLAN, BEST, LAST, METRICS, SECONDS}
    expected |= {f".{name}.partial" for name in expected}
    if directory.is_dir() and {path.name for path in directory.iterdir()} - expected:
        raise InputError(
            f"{directory}: contains something else; choose another directory for out, or move that "
            "one away"
        )
    return "start"


def _unfinished_state(
    directory: Path, new_record: Mapping[str, Any], resume: bool, overwrite: bool
) -> State:
    why = why_other(directory, new_record, PLAN)
    if read_record(directory, PLAN) is None:  # an older version, or killed at the very end
        same = load_config(directory / CONFIG).of_training() == new_record["settings"]
        why = "" if same else f"made with other settings (see {directory / CONFIG})"
    if resume and not why:
        return "resume"
    if overwrite:
        return "outdated"
    if resume:
        how = why.replace("made", "started", 1)
        raise InputError(
            f"{directory}: its unfinished training was {how}; resume it as it was started, choose "
            "another out, or replace it with overwrite=True (--overwrite)"
        )
    raise InputError(
        f"{directory}: contains an unfinished training; continue it with resume=True (neuromusic "
        "train --resume), or replace it with overwrite=True (--overwrite)"
    )


def clear(directory: Path) -> None:
    """Remove everything in the directory of a training.

    The record goes last: if this is interrupted, the next call removes the rest.
    """
    for path in sorted(directory.iterdir(), key=lambda path: path.name == RECORD):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


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
