"""Problems of sound files: missing, corrupt, short, duplicate."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.stimuli import audio


@dataclass(frozen=True)
class Problem:
    """One problem of one file in a corpus; ``what`` describes it."""

    kind: Literal["missing", "corrupt", "short", "duplicate"]
    file: str
    what: str


def missing(files: Sequence[Path]) -> list[Problem]:
    """Return a problem for each file that does not exist."""
    return [Problem("missing", str(path), "no such file") for path in files if not path.is_file()]


def examine(files: Sequence[Path], least_s: float) -> list[Problem]:
    """Decode files to the last sample and return their problems, in the order of the files.

    corrupt: cannot be decoded or contains no sound; short: lasts less than ``least_s`` (within
    audio.LENGTH_TOLERANCE_S); duplicate: its samples (mono, at audio.RATE_HZ) have the same SHA-256
    as those of an earlier file.
    """
    problems = []
    first_with: dict[str, Path] = {}
    for path in track(files, "validate", len(files)):
        try:
            wave = audio.read(path)
        except InputError as error:
            what = str(error).removeprefix(f"{path}: ")
            problems.append(Problem("corrupt", str(path), what))
            continue
        length_s = len(wave) / audio.RATE_HZ
        if length_s < least_s - audio.LENGTH_TOLERANCE_S:
            what = f"lasts {length_s:.2f} s; expected at least {least_s:g} s"
            problems.append(Problem("short", str(path), what))
        first = first_with.setdefault(hashlib.sha256(wave.tobytes()).hexdigest(), path)
        if first != path:
            problems.append(Problem("duplicate", str(path), f"has the same samples as {first}"))
    return problems
