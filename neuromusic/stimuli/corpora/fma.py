"""FMA small (Defferrard et al. 2017): 8 genres of 1000 clips of 30 s, with a published split."""

from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import readable
from neuromusic.core.folders import nfc, why_no_file, why_no_folder
from neuromusic.stimuli.channels import Channel
from neuromusic.stimuli.corpora.checks import Problem, examine, missing, one_class

FAULTS = {  # from the list of known errors that is published with the set
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
    """Return one row per clip that exists: genre, track, clip, source, split, fault.

    Parameters
    ----------
    directory : Path
        Contains the clips, such as ``000/000002.mp3``.
    tracks : Path
        ``tracks.csv`` of fma_metadata, with the genres and the published split.

    Returns
    -------
    DataFrame
        ``fault`` describes known damage of a clip, otherwise it is None.

    Raises
    ------
    InputError
        If ``tracks`` has another format, none of its clips exists, or those of one genre only, or
        a clip is a link that leads nowhere.
    """
    files = _listed(directory, tracks)
    exists = []
    for path in map(Path, files["source"]):
        exists.append(path.is_file())
        if path.is_symlink() and not path.exists():
            raise InputError(f"{path}: {why_no_file(path)}")
    existing = files[exists].reset_index(drop=True)
    problem = one_class(list(existing["genre"]), [], "")
    if problem:
        raise InputError(f"{directory}: {problem}")
    return existing


def validate(
    directory: Path, tracks: Path, least_s: float, channel: Channel = "mix"
) -> list[Problem]:
    """Return the clips of tracks.csv that are missing, and the problems of the others.

    Raises InputError as `table` does.
    """
    listed = [Path(path) for path in _listed(directory, tracks)["source"]]
    return missing(listed) + examine([path for path in listed if path.is_file()], least_s, channel)


def _listed(directory: Path, tracks: Path) -> pd.DataFrame:
    if not Path(directory).is_dir():
        raise InputError(
            f"{directory}: {why_no_folder(Path(directory))}; expected fma_small, such as "
            "000/000002.mp3"
        )
    small = _read_tracks(tracks)
    names = [f"{number:06d}" for number in small.index]
    files = pd.DataFrame(
        {
            "genre": [nfc(str(genre)) for genre in small["track", "genre_top"]],
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


def _read_tracks(path: Path) -> pd.DataFrame:
    """Return the rows of the subset "small", by track number; columns have two levels."""
    remedy = "expected tracks.csv of fma_metadata"
    try:
        # The header has three lines: two with the column names, one with the name of the index.
        with readable(path, "table", remedy):
            whole = pd.read_csv(path, header=[0, 1], index_col=0, low_memory=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {remedy}") from None
    absent = [" ".join(column) for column in HEADER if column not in whole]
    if absent:
        raise InputError(f"{path}: has no column {', '.join(absent)}; {remedy}")
    small = whole[whole["set", "subset"] == "small"]
    if small.empty:
        raise InputError(f"{path}: has no clip of the subset 'small'; {remedy}")
    incomplete = small[~small["set", "split"].isin(SPLITS) | small["track", "genre_top"].isna()]
    if len(incomplete):
        raise InputError(
            f"{path}, track {incomplete.index[0]}: has no genre_top or no split; expected one of "
            f"{', '.join(SPLITS)}"
        )
    if not pd.api.types.is_integer_dtype(small.index) or small.index.min() < 0:
        raise InputError(f"{path}: its first column must be track numbers; {remedy}")
    return small
