"""The sounds: cut clips from tracks, find them, stage them under run names, write lists."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_file_name, check_links, check_size, reading, whole_rows
from neuromusic.core.records import read_record
from neuromusic.design.orders import Order, presentations
from neuromusic.stimuli.variants import VARIANTS, variant_file_name

LIST_COLUMNS = (
    "split", "run", "trial", "repeat", "onset_s", "volume", "genre", "track", "clip", "path",
)  # fmt: skip
DROPPED = "dropped"  # in train.tsv of lists with --drop-leaks: why a clip is not trained on
MOST_LIST_BYTES = 200_000_000
LIST_FILES = {"train": "train.tsv", "valid": "valid.tsv", "test": "test.tsv"}

Link = Literal["hard", "sym", "copy"]


# --- Cutting ------------------------------------------------------------------------------------


# --- Lists --------------------------------------------------------------------------------------


def staged_name(split: str, run: int, trial: int, clip: str) -> str:
    """Return the staged file name, such as Test_run-06-40_reggae.00013_15s.wav."""
    return f"{split.capitalize()}_run-{run:02d}-{trial:02d}_{clip}"


def list_order(order: Order) -> pd.DataFrame:
    """Return the stimulus list of an order; ``path`` is relative to the list's directory.

    A dummy has the path of the presentation that it repeats.
    """
    table = presentations(order)
    staged = {}
    for row in table[table["trial"] > 0].itertuples():
        name = staged_name(row.split, row.run, row.trial, row.clip)
        staged[row.run, row.trial] = f"{row.genre}/{name}"
    last = order.n_trials
    paths = []
    for row in table.itertuples():
        run = row.run
        if row.trial == 0 and order.split == "train":
            run = row.run - 1 or order.n_runs
        paths.append(staged[run, row.trial or last])
    return table.assign(path=paths)[list(LIST_COLUMNS)]


def missing_clips(tables: Iterable[pd.DataFrame], clips: dict[str, Path]) -> list[str]:
    """Return the names of the clips that the lists want and that are not there, sorted."""
    wanted = {clip for table in tables for clip in table["clip"]}
    return sorted(wanted - set(clips))


def list_files(files: pd.DataFrame) -> pd.DataFrame:
    """Return the stimulus list of files that no scanner run played, with ``source`` for the file.

    ``files`` has split, genre, track, clip, source and, for folds, run; what places a clip in an
    experiment (trial, repeat, onset_s, volume) is missing. Raises InputError for a genre or a clip
    that is no plain name: both become parts of a path.
    """
    for column in ("genre", "clip"):
        for source, name in zip(files["source"], files[column], strict=True):
            check_file_name(name, f"{source}: its {column}")
    table = files.assign(path=files["genre"] + "/" + files["clip"])
    table = table.reindex(columns=[*LIST_COLUMNS, "source"])
    return table.sort_values(["genre", "clip"]).reset_index(drop=True)


def stage(source: Path, target: Path, link: Link) -> Link:
    """Put a clip under its staged name; return how (a hard link across disks becomes a copy)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link == "sym":
        target.symlink_to(source.resolve())
        return "sym"
    if link == "hard":
        try:
            os.link(source.resolve(), target)
            return "hard"
        except OSError:
            pass
    shutil.copyfile(source, target)
    return "copy"


def plain_list(table: pd.DataFrame, with_variants: bool) -> list[str]:
    """Return one path a presentation without the dummies, the missing and the dropped clips.

    With variants, each path is followed by those of its nine variants.
    """
    played = table[(table["trial"].fillna(1) > 0) & table["path"].notna()]
    if DROPPED in played:
        played = played[played[DROPPED].isna()]
    n = len(VARIANTS) if with_variants else 1
    return [variant_file_name(path, variant) for path in played["path"] for variant in range(n)]


def write_lists(directory: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write train.tsv, valid.tsv and test.tsv, and the plain train_list.txt and test_list.txt.

    The plain lists hold paths relative to the directory, as the predecessors' tools read them;
    training clips have a line for each of the ten variants, which 'neuromusic augment' writes.
    """
    for split, table in tables.items():
        columns = [*LIST_COLUMNS, *([DROPPED] if DROPPED in table else [])]
        table[columns].to_csv(directory / LIST_FILES[split], sep="\t", index=False, na_rep="n/a")
        lines = plain_list(table, with_variants=split == "train")
        (directory / f"{split}_list.txt").write_text("".join(f"{x}\n" for x in lines), "utf-8")


def _read_list(path: Path) -> pd.DataFrame:
    check_size(path, MOST_LIST_BYTES, "a stimulus list")
    as_text = dict.fromkeys(("path", "clip", "track", "genre"), str)  # 000002 is a track's name
    try:
        with whole_rows(), reading(path):
            table = pd.read_csv(
                path, sep="\t", na_values="n/a", keep_default_na=False, dtype=as_text,
                index_col=False,
            )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{path}: is no readable list ({error})") from None
    lacking = [column for column in LIST_COLUMNS if column not in table]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}")
    return table


def read_lists(directory: Path) -> pd.DataFrame:
    """Read the lists of a directory as one table; raise InputError where there are none.

    run, trial, repeat and volume are nullable integers. ``path`` is checked to stay inside: links
    that lead out are followed only in lists that were made with ``--link sym``.
    ``dropped`` says why a training clip is not trained on, and is missing (NaN) for all others.
    """
    directory = Path(directory)
    tables = []
    for name in LIST_FILES.values():
        path = directory / name
        if not path.is_file():
            continue
        table = _read_list(path)
        for row, entry in enumerate(table["path"].dropna(), start=1):
            if Path(entry).is_absolute() or ".." in Path(entry).parts:
                raise InputError(f"{path}, row {row}: {entry!r} leaves the directory of the list")
        for column in ("genre", "clip"):
            for row, entry in enumerate(table[column], start=1):
                check_file_name(entry, f"{path}, row {row}, {column}")
        tables.append(table)
    if not tables:
        raise InputError(
            f"{directory}: has no train.tsv or test.tsv; make them with 'neuromusic lists'"
        )
    whole = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    whole = whole.reindex(columns=[*LIST_COLUMNS, DROPPED])
    settings = (read_record(directory) or {}).get("settings")
    if not isinstance(settings, dict) or settings.get("link") != "sym":
        check_links(directory)
    try:
        return whole.astype(dict.fromkeys(("run", "trial", "repeat", "volume"), "Int64"))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{directory}: a run, trial, repeat or volume is no number ({error})"
        ) from None


pass


CLIP_COLUMNS = ["clip", "genre", "track", "split", "run", "trial", "path"]


def unique_clips(lists: pd.DataFrame) -> pd.DataFrame:
    """Return one row a clip of a split, at its first presentation that is no dummy.

    Training clips that were dropped from the training (``lists --drop-leaks``) have the split
    "dropped": they were played, so a network can be asked about them, but they are neither trained
    on nor scored. One that is a test clip too is there as a test clip alone.
    """
    played = lists[lists["trial"].isna() | (lists["trial"] > 0)]
    played = played.assign(split=played["split"].mask(played[DROPPED].notna(), DROPPED))
    clips = played.drop_duplicates(["split", "clip"])[CLIP_COLUMNS]
    clips = clips[~(clips["clip"].duplicated(keep=False) & (clips["split"] == DROPPED))]
    clips = clips.reset_index(drop=True)
    both = clips[clips["clip"].duplicated()]
    if len(both):
        raise InputError(f"{both['clip'].iat[0]}: is on two sides of the split; see the lists")
    return clips


pass


def _files_of(lists: Path) -> list[Path]:
    """Return the lists that are there and the sounds that are listed."""
    table = read_lists(lists)
    paths = {lists / path for path in table["path"].dropna()}
    absent = sorted(path for path in paths if not path.is_file())
    if absent:
        raise InputError(f"{absent[0]}: is listed but not there; make the lists again")
    tsv = [lists / name for name in LIST_FILES.values() if (lists / name).is_file()]
    return [*tsv, *paths]
