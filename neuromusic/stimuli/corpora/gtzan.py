"""GTZAN (Tzanetakis and Cook 2002): 10 genres of 100 tracks of 30 s, wav or au."""

from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.stimuli import audio
from neuromusic.stimuli.corpora.checks import Problem, examine, missing

GENRES = (
    "blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock",
)  # fmt: skip
TRACKS = tuple(f"{genre}.{number:05d}" for genre in GENRES for number in range(100))
SIZE = len(TRACKS)
FAULTS = {"jazz.00054": "is corrupt in the distributed set"}
SUFFIXES = (".wav", ".au")


def table(directory: Path) -> pd.DataFrame:
    """Return one row per track that exists: genre, track, clip, source, fault.

    Files may be at any depth (``blues/blues.00000.wav``). ``fault`` describes the damage of the one
    track that is known to be corrupt, otherwise it is None.

    Raises InputError if there are no tracks or a track exists twice.
    """
    files = _find(directory)
    rows = []
    for track in TRACKS:
        if track in files:
            path = files[track]
            rows.append((track.split(".")[0], track, path.name, str(path), FAULTS.get(track)))
    return pd.DataFrame(rows, columns=["genre", "track", "clip", "source", "fault"])


def validate(directory: Path, least_s: float) -> list[Problem]:
    """Return which of the 1000 tracks are missing, and the problems of the others.

    Raises InputError as `table` does.
    """
    files = _find(directory)
    absent = [Path(directory) / t.split(".")[0] / f"{t}.wav" for t in TRACKS if t not in files]
    return missing(absent) + examine([files[t] for t in TRACKS if t in files], least_s)


def _find(directory: Path) -> dict[str, Path]:
    """Return track -> file."""
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: no such directory; expected GTZAN, such as genres/blues")
    files: dict[str, Path] = {}
    for path in audio.sound_files(directory):
        if path.stem in TRACKS and path.suffix.lower() in SUFFIXES:
            first = files.setdefault(path.stem, path)
            if first != path:
                raise InputError(f"{path}: is the same track as {first}; keep one of them")
    if not files:
        raise InputError(f"{directory}: has no track of GTZAN, such as blues/blues.00000.wav")
    return files
