"""GTZAN (Tzanetakis and Cook 2002): ten genres of a hundred 30-s tracks, wav or au."""

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
    """Return a row a track that is there: genre, track, clip, source, and fault.

    ``fault`` says what is wrong with the one track that is known to be damaged, else None. Files
    lie anywhere below the directory (``blues/blues.00000.wav``).

    Raises InputError where there is no track, and where one is there twice.
    """
    rows = []
    found = _find(directory)
    for track in TRACKS:
        if track in found:
            genre = track.split(".")[0]
            rows.append((genre, track, found[track].name, str(found[track]), FAULTS.get(track)))
    return pd.DataFrame(rows, columns=["genre", "track", "clip", "source", "fault"])


def validate(directory: Path, least_s: float) -> list[Problem]:
    """Return which of the thousand tracks are missing, and what is wrong with the others.

    Raises InputError as `table` does.
    """
    found = _find(directory)
    absent = [Path(directory) / t.split(".")[0] / f"{t}.wav" for t in TRACKS if t not in found]
    return missing(absent) + examine([found[t] for t in TRACKS if t in found], least_s)


def _find(directory: Path) -> dict[str, Path]:
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: no such directory; expected GTZAN, as genres/blues")
    found: dict[str, Path] = {}
    for path in audio.sound_files(directory):
        if path.stem in TRACKS and path.suffix.lower() in SUFFIXES:
            other = found.setdefault(path.stem, path)
            if other != path:
                raise InputError(f"{path}: {other} is the same track; keep one of them")
    if not found:
        raise InputError(f"{directory}: has no track of GTZAN, such as blues/blues.00000.wav")
    return found
