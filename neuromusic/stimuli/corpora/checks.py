"""Problems of sound files: missing, corrupt, short, duplicate."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuromusic.core.errors import InputError, listed
from neuromusic.core.folders import Found, why_no_file
from neuromusic.core.progress import track
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel
from neuromusic.stimuli.clips import is_sound


@dataclass(frozen=True)
class Problem:
    """One problem of one file in a corpus; ``what`` describes it."""

    kind: Literal["missing", "corrupt", "short", "duplicate"]
    file: str
    what: str


def missing(files: Sequence[Path]) -> list[Problem]:
    """Return a problem for each file that does not exist."""
    absent = [path for path in files if not path.is_file()]
    return [Problem("missing", str(path), why_no_file(path)) for path in absent]


def broken_links(found: Found) -> list[Path]:
    """Return the links that should lead to a sound or to a folder, but lead nowhere."""
    return [path for path in found.broken if is_sound(path.name) or not path.suffix]


def check_complete(found: Found) -> None:
    """Raise InputError if a sound or a folder is a link that leads nowhere."""
    for path in broken_links(found)[:1]:
        raise InputError(f"{path}: {why_no_file(path)}")


def one_class(genres: Sequence[str], without_sounds: Sequence[str], left_out: str) -> str:
    """Return what is wrong if all sounds are of one class, with what may explain it; "" if not."""
    if len(set(genres)) != 1:
        return ""
    empty = f"; folders without sounds: {listed(without_sounds)}" if without_sounds else ""
    rest = f"; left out: {left_out}" if left_out else ""
    return f"has one class only, {genres[0]!r}{empty}{rest}; expected at least two classes"


def examine(files: Sequence[Path], least_s: float, channel: Channel = "mix") -> list[Problem]:
    """Decode files to the last sample and return their problems, in the order of the files.

    corrupt: cannot be decoded or contains no sound; short: lasts less than ``least_s`` (within
    audio.LENGTH_TOLERANCE_S); duplicate: its samples (mono, at audio.RATE_HZ) have the same SHA-256
    as those of an earlier file.
    """
    problems = []
    first_with: dict[str, Path] = {}
    for path in track(files, "validate", len(files)):
        try:
            wave = audio.read(path, channel=channel)
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
