"""FMA small (Defferrard et al. 2017): eight genres of a thousand 30-s clips, with their split."""

from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.stimuli.corpora.checks import Problem, examine, missing

FAULTS = {  # from the set's own list of known errors
    "098565": "lasts 1.6 s in the distributed set",
    "098567": "lasts 0.5 s in the distributed set",
    "098569": "lasts 1.5 s in the distributed set",
    "099134": "is corrupt in the distributed set",
    "108925": "is corrupt in the distributed set",
    "133297": "is corrupt in the distributed set",
}
SIZE = 8000
SPLITS = {"training": "train", "validation": "valid", "test": "test"}
HEADER = (("set", "subset"), ("set", "split"), ("track", "genre_top"))


def table(directory: Path, tracks: Path) -> pd.DataFrame:
    """Return a row a clip that is there: genre, track, clip, source, split, and fault.

    ``directory`` holds ``000/000002.mp3``; ``tracks`` is the ``tracks.csv`` of fma_metadata, which
    has the genre and the published split. ``fault`` says what is wrong with the clips that are
    known to be damaged, else None.

    Raises InputError for a tracks.csv of another form, and where none of its clips is there.
    """
    files = _listed(directory, tracks)
    there = [Path(path).is_file() for path in files["source"]]
    return files[there].reset_index(drop=True)


def validate(directory: Path, tracks: Path, least_s: float) -> list[Problem]:
    """Return which clips of tracks.csv are missing, and what is wrong with the others.

    Raises InputError as `table` does.
    """
    listed = [Path(path) for path in _listed(directory, tracks)["source"]]
    return missing(listed) + examine([path for path in listed if path.is_file()], least_s)


def _listed(directory: Path, tracks: Path) -> pd.DataFrame:
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: no such directory; expected fma_small, as 000/000002.mp3")
    try:
        # Three lines of header: two of column names, one that names the index.
        whole = pd.read_csv(tracks, header=[0, 1], index_col=0, low_memory=False)
    except FileNotFoundError:
        raise InputError(f"{tracks}: no such file; expected tracks.csv of fma_metadata") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{tracks}: is no readable table ({error})") from None
    lacking = [" ".join(column) for column in HEADER if column not in whole]
    if lacking:
        raise InputError(f"{tracks}: has no column {', '.join(lacking)}; expected FMA's tracks.csv")
    small = whole[whole["set", "subset"] == "small"]
    if small.empty:
        raise InputError(f"{tracks}: has no clip of the subset 'small'")
    unknown = small[~small["set", "split"].isin(SPLITS) | small["track", "genre_top"].isna()]
    if len(unknown):
        raise InputError(
            f"{tracks}, track {unknown.index[0]}: lacks its genre_top or its split; expected one "
            f"of {', '.join(SPLITS)}"
        )
    if not pd.api.types.is_integer_dtype(small.index) or small.index.min() < 0:
        raise InputError(f"{tracks}: its first column holds other things than numbers of tracks")
    names = [f"{number:06d}" for number in small.index]
    files = pd.DataFrame(
        {
            "genre": small["track", "genre_top"].to_numpy(),
            "track": names,
            "clip": [f"{name}.mp3" for name in names],
            "source": [str(Path(directory) / name[:3] / f"{name}.mp3") for name in names],
            "split": small["set", "split"].map(SPLITS).to_numpy(),
            "fault": [FAULTS.get(name) for name in names],
        }
    )
    if not any(Path(path).is_file() for path in files["source"]):
        raise InputError(f"{directory}: has no clip of {tracks}, such as {files['source'].iat[0]}")
    return files
