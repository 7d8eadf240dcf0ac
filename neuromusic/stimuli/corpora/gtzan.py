"""GTZAN (Tzanetakis and Cook 2002): 10 genres of 100 tracks of 30 s."""

import logging
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError, listed
from neuromusic.core.folders import Found, is_same_file
from neuromusic.stimuli.channels import Channel
from neuromusic.stimuli.clips import find_sounds
from neuromusic.stimuli.corpora.checks import (
    Problem,
    broken_links,
    check_complete,
    examine,
    missing,
    one_class,
)

log = logging.getLogger(__name__)

GENRES = (
    "blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock",
)  # fmt: skip
TRACKS = tuple(f"{genre}.{number:05d}" for genre in GENRES for number in range(100))
SIZE = len(TRACKS)
FAULTS = {"jazz.00054": "is corrupt in the distributed set"}
EXPECTED = "GTZAN, such as genres/blues"


def table(directory: Path) -> pd.DataFrame:
    """Return one row per track that exists: genre, track, clip, source, fault.

    Files may be at any depth (``blues/blues.00000.wav``) and of any sound format. ``fault``
    describes the damage of the one track that is known to be corrupt, otherwise it is None.

    Raises InputError if there are no tracks, or tracks of one genre only; a track exists twice; or
    a link leads nowhere.
    """
    files, found = _find(directory)
    check_complete(found)
    problem = one_class([track.split(".")[0] for track in files], [], found.left_out)
    if problem:
        raise InputError(f"{directory}: {problem}")
    rows = []
    for track in TRACKS:
        if track in files:
            path = files[track]
            rows.append((track.split(".")[0], track, path.name, str(path), FAULTS.get(track)))
    return pd.DataFrame(rows, columns=["genre", "track", "clip", "source", "fault"])


def validate(directory: Path, least_s: float, channel: Channel = "mix") -> list[Problem]:
    """Return which of the 1000 tracks are missing, and the problems of the others.

    Raises InputError if there are no tracks, or a track exists twice.
    """
    files, found = _find(directory)
    absent = [Path(directory) / t.split(".")[0] / f"{t}.wav" for t in TRACKS if t not in files]
    problems = missing(absent) + missing(broken_links(found))
    return problems + examine([files[t] for t in TRACKS if t in files], least_s, channel)


def _find(directory: Path) -> tuple[dict[str, Path], Found]:
    """Return track -> file, and all that was found."""
    found = find_sounds(directory, EXPECTED)
    files: dict[str, Path] = {}
    others = []
    for path in found.files:
        track = path.stem.lower()
        if track not in TRACKS:
            others.append(path)
            continue
        first = files.setdefault(track, path)
        if not is_same_file(first, path):
            raise InputError(f"{path}: is the same track as {first}; keep one of them")
    rest = f"; left out: {found.left_out}" if found.left_out else ""
    if not files:
        raise InputError(f"{directory}: has no track of GTZAN, such as blues/blues.00000.wav{rest}")
    if others:
        log.warning(
            "%s: left out %d sounds that are not tracks of GTZAN: %s",
            directory, len(others), listed(path.name for path in others),
        )  # fmt: skip
    return files, found
