"""TODO: docstring."""

from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import text_table
from neuromusic.stimuli.corpora.gtzan import TRACKS

ARTIST_COLUMNS = ("track", "artist_group", "fault")


def read_artists(path: Path) -> pd.DataFrame:
    """Read an artist table: a row a track; track, artist (str), fault (bool).

    Raises InputError, with the row, for a track or an artist group that is empty and for a track
    that is there twice.
    """
    path = Path(path)
    try:
        table = text_table(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; expected a TSV with the columns {' '.join(ARTIST_COLUMNS)}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: is no readable table ({error})") from None
    lacking = [name for name in ARTIST_COLUMNS if name not in table]
    if lacking:
        raise InputError(
            f"{path}: has no column {', '.join(lacking)}; expected {' '.join(ARTIST_COLUMNS)}, "
            "parted by tabs"
        )
    table = table[list(ARTIST_COLUMNS)].apply(lambda column: column.str.strip())
    for name in ("track", "artist_group"):
        empty = table.index[table[name].isin(["", "n/a"])]
        if len(empty):
            raise InputError(
                f"{path}, row {empty[0] + 2}: has no {name}; a track of an unknown artist gets a "
                "group of its own"
            )
    twice = table.index[table["track"].duplicated()]
    if len(twice):
        name = table["track"][twice[0]]
        first = table.index[table["track"] == name][0]
        raise InputError(f"{path}, row {twice[0] + 2}: {name} is in row {first + 2} already")
    return pd.DataFrame(
        {
            "track": table["track"],
            "artist": table["artist_group"],
            "fault": ~table["fault"].isin(["", "n/a"]),
        }
    )


def with_artists(clips: pd.DataFrame, artists: pd.DataFrame, path: Path | None) -> pd.DataFrame:
    """Return clips (clip, track) with the columns artist and fault of `read_artists`.

    Raises InputError where a track is not in the table (read from ``path``).
    """
    absent = sorted(set(clips["track"]) - set(artists["track"]))
    if absent:
        more = f" and {len(absent) - 1} others" if len(absent) > 1 else ""
        raise InputError(
            f"{path}: lacks the track {absent[0]}{more}; add a row for each, with an artist group "
            "of its own where the artist is unknown"
        )
    return clips.merge(artists, on="track", how="left", validate="many_to_one")


def gtzan_faults() -> frozenset[str]:
    """Return the tracks of GTZAN that torchaudio's fault-filtered split leaves out.

    Where two tracks are one recording it leaves out one of them, not always the one that an artist
    table marks.
    """
    from torchaudio.datasets import gtzan

    kept = {*gtzan.filtered_train, *gtzan.filtered_valid, *gtzan.filtered_test}
    return frozenset(TRACKS) - kept
