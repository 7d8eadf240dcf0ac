"""Artist tables: which tracks are by the same artist, and which are known to be faulty.

An artist table is a TSV with one row per track and the columns ``track artist_group fault``. A
track whose artist is unknown has a group of its own.
"""

from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.folders import nfc
from neuromusic.core.tables import read_table
from neuromusic.stimuli.corpora.gtzan import TRACKS

ARTIST_COLUMNS = ("track", "artist_group", "fault")
EMPTY = ("", "n/a")


def read_artists(path: Path) -> pd.DataFrame:
    """Read an artist table; return one row per track: track (str), artist (str), fault (bool).

    Raises InputError, with the row, for an empty track or artist group and for a track that occurs
    twice.
    """
    path = Path(path)
    columns = " ".join(ARTIST_COLUMNS)
    try:
        table = read_table(path, columns=ARTIST_COLUMNS, as_text=True)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; expected a TSV with the columns {columns}"
        ) from None
    table = table[list(ARTIST_COLUMNS)].apply(lambda column: column.map(nfc))
    _check_cells(table, path)
    return pd.DataFrame(
        {
            "track": table["track"],
            "artist": table["artist_group"],
            "fault": ~table["fault"].isin(EMPTY),
        }
    )


def _check_cells(table: pd.DataFrame, path: Path) -> None:
    """Raise InputError for empty cells and repeated tracks; row 1 is the header."""
    for name in ("track", "artist_group"):
        empty = table.index[table[name].isin(EMPTY)]
        if len(empty):
            raise InputError(
                f"{path}, row {empty[0] + 2}: has no {name}; give a track of an unknown artist a "
                "group of its own"
            )
    repeated = table.index[table["track"].duplicated()]
    if len(repeated):
        name = table["track"][repeated[0]]
        first = table.index[table["track"] == name][0]
        raise InputError(f"{path}, row {repeated[0] + 2}: {name} is already in row {first + 2}")


def with_artists(clips: pd.DataFrame, artists: pd.DataFrame, path: Path | None) -> pd.DataFrame:
    """Return clips (clip, track, ...) with the columns artist and fault of `read_artists`.

    Raises InputError if a track is missing from the table, which was read from ``path``.
    """
    missing = sorted(set(clips["track"]) - set(artists["track"]))
    if missing:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise InputError(
            f"{path}: has no row for the track {missing[0]}{more}; add one row per track, with an "
            "artist group of its own if the artist is unknown"
        )
    return clips.merge(artists, on="track", how="left", validate="many_to_one")


def gtzan_faults() -> frozenset[str]:
    """Return the tracks of GTZAN that torchaudio's fault-filtered split leaves out.

    Of two tracks with the same recording it leaves out one, which is not always the one marked in
    an artist table.
    """
    from torchaudio.datasets import gtzan

    kept = {*gtzan.filtered_train, *gtzan.filtered_valid, *gtzan.filtered_test}
    return frozenset(TRACKS) - kept
