"""Any ``class/file`` tree: the folders are the classes, whatever their names."""

import logging
import os
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError, listed
from neuromusic.core.folders import Found, is_system, nfc
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

TRACK_NAME = re.compile(r"(?P<track>.+?\.\d{5})(?:[_.].*)?")
FOLD_NAME = re.compile(r"(?P<fold>\d+)-.+")
COLUMNS = ["genre", "track", "clip", "source"]
EXPECTED = "class/file, such as genres/blues"


def table(directory: Path, folds: bool = False) -> pd.DataFrame:
    """Return one row per sound file: genre, track, clip, source.

    ``blues.00012_15s.wav`` and ``blues.00012_b.wav`` are two clips of one track; other files are
    one track each. If several classes have a file of the same name, the class is
    prepended (``dog_01.wav``). Names are in Unicode's form NFC; ``source`` is as on disk.

    The classes may be one or more folders further down, if the folders above them have nothing
    else with sounds, as in ``Data/genres_original/blues``.

    With ``folds``, the number before the first ``-`` of a file name is its fold, as in ESC-50
    (``1-100032-A-0.ogg``; Piczak 2015). It becomes the column ``run``, and ``split`` is "train".

    Raises InputError if there are no files, or files of one class only; two clips would have the
    same name; two classes are the same folder; a link leads nowhere; or a file has no fold.
    """
    tree = _find(directory)
    files = _clips(tree)
    check_complete(tree.found)
    empty = _without_sounds(tree, files)
    problem = one_class(list(files["genre"]), [path.name for path in empty], tree.found.left_out)
    if problem:
        raise InputError(f"{directory}: {problem}")
    if empty:
        log.warning("%s: no sounds in %s", tree.base, listed(path.name for path in empty))
    _warn_of_similar_classes(directory, sorted(set(files["genre"])))
    if folds:
        files = files.assign(split="train", run=[_fold(Path(path)) for path in files["source"]])
    return files


def validate(directory: Path, least_s: float, channel: Channel = "mix") -> list[Problem]:
    """Return classes without files, links that lead nowhere, and the problems of the files.

    Raises InputError if there are no files, or two clips would have the same name.
    """
    tree = _find(directory)
    files = _clips(tree)
    empty = _without_sounds(tree, files)
    problems = [Problem("missing", str(folder), "has no sound files") for folder in empty]
    single = one_class(list(files["genre"]), [], "")
    if single:
        problems.append(Problem("missing", str(directory), single))
    problems += missing(broken_links(tree.found))
    return problems + examine([Path(path) for path in files["source"]], least_s, channel)


# --- The tree -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tree:
    """Sound files, and the folder whose folders are the classes."""

    found: Found
    base: Path

    def parts(self, path: Path) -> tuple[str, ...]:
        """Return the names of the folders of a file below ``base``, and its own."""
        return path.relative_to(self.base).parts

    def is_in_class(self, path: Path) -> bool:
        """Return whether a path is below the folder of a class."""
        return self.is_class_or_in_it(path.parent)

    def is_class_or_in_it(self, path: Path) -> bool:
        """Return whether a path is the folder of a class, or below one."""
        return path.is_relative_to(self.base) and path != self.base


def _find(directory: Path) -> _Tree:
    directory = Path(directory)
    found = find_sounds(directory, EXPECTED)
    if not found.files:
        rest = f"; left out: {found.left_out}" if found.left_out else ""
        raise InputError(f"{directory}: has no sound files{rest}; expected {EXPECTED}")
    tree = _Tree(found, _class_level(directory, found.files))
    if tree.base != directory:
        log.warning("%s: the classes are the folders in %s", directory, tree.base)
    loose = [path for path in found.files if not tree.is_in_class(path)]
    if len(loose) == len(found.files):
        raise InputError(f"{loose[0]}: is not in the folder of a class; expected {EXPECTED}")
    if loose:
        log.warning(
            "%s: left out, because they are not in the folder of a class: %s",
            directory, listed(path.relative_to(directory) for path in loose),
        )  # fmt: skip
    for link, first in found.same.items():
        _check_same_class(tree, link, first)
    return tree


def _class_level(directory: Path, files: list[Path]) -> Path:
    """Return the folder that contains the classes: ``directory``, or one further down.

    A folder is passed only if all sounds are in one folder of it, and in the end there are several.
    """
    level = directory
    while True:
        parts = [path.relative_to(level).parts for path in files]
        tops = {each[0] for each in parts}
        if any(len(each) == 1 for each in parts):
            return directory
        if len(tops) > 1:
            return level
        level = level / tops.pop()


def _check_same_class(tree: _Tree, link: Path, first: Path) -> None:
    """Raise InputError if a folder belongs to two classes, through a link."""
    if not (tree.is_class_or_in_it(link) and tree.is_class_or_in_it(first)):
        return  # for example a link to a folder above the classes
    if nfc(tree.parts(link)[0]) != nfc(tree.parts(first)[0]):
        raise InputError(
            f"{link}: is the same folder as {first}, through a link; a sound can only be in one "
            "class; remove one of them"
        )


def _clips(tree: _Tree) -> pd.DataFrame:
    """Return the columns COLUMNS for the files of all classes."""
    rows = []
    paths = _without_repeats(tree, [p for p in tree.found.files if tree.is_in_class(p)])
    for path in sorted(paths, key=lambda path: [nfc(part) for part in tree.parts(path)]):
        genre, *names = map(nfc, tree.parts(path))
        match = TRACK_NAME.fullmatch(nfc(path.stem))
        track = match["track"] if match else nfc(path.stem)
        rows.append((genre, track, "_".join(names), str(path)))
    files = pd.DataFrame(rows, columns=COLUMNS)
    _check_names(files)
    is_shared = files.groupby("clip")["genre"].transform("nunique") > 1
    for column in ("track", "clip"):
        files[column] = files[column].mask(is_shared, files["genre"] + "_" + files[column])
    return files


def _without_repeats(tree: _Tree, paths: list[Path]) -> list[Path]:
    """Leave out links to sounds that are in the same class; raise InputError for another class."""
    files = {os.path.realpath(path): path for path in paths if not path.is_symlink()}
    kept, repeats = [], []
    for path in paths:
        first = files.setdefault(os.path.realpath(path), path) if path.is_symlink() else path
        if first is path:
            kept.append(path)
            continue
        if nfc(tree.parts(path)[0]) != nfc(tree.parts(first)[0]):
            raise InputError(
                f"{path}: is the same sound as {first}, through a link; a sound can only be in one "
                "class; remove one of them"
            )
        repeats.append(f"{path} (the same as {first})")
    if repeats:
        log.warning("left out: %s", listed(repeats))
    return kept


def _without_sounds(tree: _Tree, files: pd.DataFrame) -> list[Path]:
    """Return the folders beside the classes in which there is no sound."""
    genres = set(files["genre"])
    folders = [path for path in tree.base.iterdir() if path.is_dir() and not is_system(path.name)]
    return sorted(
        path for path in folders if nfc(path.name) not in genres and path not in tree.found.same
    )


def _check_names(files: pd.DataFrame) -> None:
    """Raise InputError if two files of a class would have the same clip name."""
    first_with: dict[Hashable, str] = {}
    for row in files.itertuples():
        first = first_with.setdefault((row.genre, row.clip), row.source)
        if first != row.source:
            raise InputError(f"{row.source}: would have the same name as {first}; rename one")


def _warn_of_similar_classes(directory: Path, genres: list[str]) -> None:
    first_with: dict[str, str] = {}
    for genre in genres:
        first = first_with.setdefault(genre.casefold(), genre)
        if first != genre:
            log.warning(
                "%s: the classes %s and %s differ only in case; if they are the same, put their "
                "sounds into one folder",
                directory, first, genre,
            )  # fmt: skip


def _fold(path: Path) -> int:
    match = FOLD_NAME.fullmatch(path.name)
    if match is None:
        raise InputError(
            f"{path}: has no fold; expected a number and '-' before its name, such as "
            "1-100032-A.ogg; rename it or set folds to False"
        )
    return int(match["fold"])
