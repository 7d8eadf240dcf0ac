"""What is wrong with sound files: missing, corrupt, short, duplicate."""

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
    """One thing that is wrong with one file of a set."""

    kind: Literal["missing", "corrupt", "short", "duplicate"]
    file: str
    what: str


def missing(files: Sequence[Path]) -> list[Problem]:
    """Return a problem for every file that is not there."""
    return [Problem("missing", str(path), "no such file") for path in files if not path.is_file()]


def examine(files: Sequence[Path], least_s: float) -> list[Problem]:
    """Decode files to the last sample and return what is wrong with them, in their order.

    corrupt: cannot be decoded, or holds no sound; short: lasts less than ``least_s`` (within
    audio.LENGTH_TOLERANCE_S); duplicate: its samples (mono, at audio.RATE_HZ) have the SHA-256 of
    another file before it.
    """
    problems = []
    first: dict[str, Path] = {}
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
        same = first.setdefault(hashlib.sha256(wave.tobytes()).hexdigest(), path)
        if same != path:
            problems.append(Problem("duplicate", str(path), f"holds the same samples as {same}"))
    return problems
