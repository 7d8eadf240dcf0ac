"""Any ``class/file`` tree: the folders are the classes, whatever their names."""

import re
from collections.abc import Hashable
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.stimuli import audio
from neuromusic.stimuli.corpora.checks import Problem, examine

TRACK_NAME = re.compile(r"(?P<track>.+?\.\d{5})(?:[_.].*)?")
FOLD_NAME = re.compile(r"(?P<fold>\d+)-.+")
COLUMNS = ["genre", "track", "clip", "source"]


def table(directory: Path, folds: bool = False) -> pd.DataFrame:
    """Return one row per sound file: genre, track, clip, source.

    ``blues.00012_15s.wav`` and ``blues.00012_b.wav`` are two clips of one track; other files are
    one track each. If several classes have a file of the same name, the class is
    prepended (``dog_01.wav``).

    With ``folds``, the number before the first ``-`` of a file name is its fold, as in ESC-50
    (``1-100032-A-0.ogg``; Piczak 2015). It becomes the column ``run``, and ``split`` is "train".

    Raises InputError if there are no files, two clips would have the same name, or a file has no
    fold.
    """
    rows = []
    for folder in _classes(directory):
        for path in audio.sound_files(folder):
            match = TRACK_NAME.fullmatch(path.stem)
            clip = path.relative_to(folder).as_posix().replace("/", "_")
            rows.append((folder.name, match["track"] if match else path.stem, clip, str(path)))
    if not rows:
        raise InputError(
            f"{directory}: has no sound files; expected class/file, such as genres/blues"
        )
    files = pd.DataFrame(rows, columns=COLUMNS)
    _check_names(files)
    is_shared = files.groupby("clip")["genre"].transform("nunique") > 1
    for column in ("track", "clip"):
        files[column] = files[column].mask(is_shared, files["genre"] + "_" + files[column])
    if folds:
        files = files.assign(split="train", run=[_fold(Path(path)) for path in files["source"]])
    return files


def validate(directory: Path, least_s: float) -> list[Problem]:
    """Return the classes without files, and the problems of the files.

    Raises InputError as `table` does.
    """
    files = table(directory)
    empty = [
        Problem("missing", str(folder), "has no sound files")
        for folder in _classes(directory)
        if folder.name not in set(files["genre"])
    ]
    return empty + examine([Path(path) for path in files["source"]], least_s)


def _classes(directory: Path) -> list[Path]:
    if not Path(directory).is_dir():
        raise InputError(
            f"{directory}: no such directory; expected class/file, such as genres/blues"
        )
    folders = [path for path in Path(directory).iterdir() if path.is_dir()]
    return sorted(path for path in folders if not path.name.startswith("."))


def _check_names(files: pd.DataFrame) -> None:
    """Raise InputError if two files of a class would have the same clip name."""
    first_with: dict[Hashable, str] = {}
    for row in files.itertuples():
        first = first_with.setdefault((row.genre, row.clip), row.source)
        if first != row.source:
            raise InputError(f"{row.source}: would have the same name as {first}; rename one")


def _fold(path: Path) -> int:
    match = FOLD_NAME.fullmatch(path.name)
    if match is None:
        raise InputError(
            f"{path}: has no fold; expected a number and '-' before its name, such as "
            "1-100032-A.ogg; rename it or set folds to False"
        )
    return int(match["fold"])
