"""Stimulus lists: one row per presentation or file, with the path of its sound.

A directory of lists contains ``train.tsv``, ``test.tsv`` and, for corpora, ``valid.tsv``, plain
lists of paths for older tools, and the clips themselves, linked or copied.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_file_name, check_links
from neuromusic.core.folders import actual_path, nfc
from neuromusic.core.records import read_record
from neuromusic.core.tables import read_table
from neuromusic.design.orders import Order, presentations
from neuromusic.design.presentations import Design
from neuromusic.design.timing import placements
from neuromusic.design.whole_designs import shared_runs
from neuromusic.stimuli.variants import VARIANTS, variant_file_name

LIST_COLUMNS = (
    "split", "run", "trial", "repeat", "onset_s", "volume", "genre", "track", "clip", "path",
)  # fmt: skip
RUN_COLUMNS = ("subject", "session", "task", "run")
# Columns, of lists that were made from events, before and after LIST_COLUMNS.
OF_EVENTS = ("subject", "session", "task", "duration_s")
DROPPED = "dropped"  # optional column: why a clip is not trained on
MOST_LIST_BYTES = 200_000_000
LIST_FILES = {"train": "train.tsv", "valid": "valid.tsv", "test": "test.tsv"}
CLIP_COLUMNS = ["clip", "genre", "track", "split", "run", "trial", "path"]

Link = Literal["hard", "sym", "copy"]


# --- Making lists ---------------------------------------------------------------------------------


def presentation_name(split: str, run: int, trial: int, clip: str) -> str:
    """Return the file name of a presentation, such as Test_run-06-40_reggae.00013_15s.wav."""
    return f"{split.capitalize()}_run-{run:02d}-{trial:02d}_{clip}"


def list_order(order: Order) -> pd.DataFrame:
    """Return the stimulus list of an order; ``path`` is relative to the directory of the list.

    A dummy has the path of the presentation that it repeats.
    """
    table = presentations(order)
    path_of = {}
    for row in table[table["trial"] > 0].itertuples():
        name = presentation_name(row.split, row.run, row.trial, row.clip)
        path_of[row.run, row.trial] = f"{row.genre}/{name}"
    paths = []
    for row in table.itertuples():
        run = row.run
        if row.trial == 0 and order.split == "train":  # see `dummy_clip`
            run = row.run - 1 or order.n_runs
        paths.append(path_of[run, row.trial or order.n_trials])
    return table.assign(path=paths)[list(LIST_COLUMNS)]


def list_design(design: Design) -> dict[str, pd.DataFrame]:
    """Return the stimulus lists of an experiment: split -> one row per presentation.

    Runs that folds divide into training and test are listed as "test", because no network is
    trained on them. ``path`` is the class (or "sounds") and the name of the clip. If all subjects
    heard the same, the runs are listed once, without a subject.
    """
    runs = shared_runs(design)
    parts: dict[str, list[pd.DataFrame]] = {}
    for run, each in runs.items():
        trials = each.trials
        volume = [first for first, _ in placements(trials, each.known_tr_s)]
        ids = {"subject": run.subject or None, "session": run.session or None, "task": run.task}
        has_class = trials["class"] != ""
        table = trials.rename(columns={"class": "genre", "group": "track"}).assign(
            **ids, run=run.run, volume=volume, split=each.split or "test",
            path=trials["class"].where(has_class, "sounds") + "/" + trials["clip"],
            genre=trials["class"].where(has_class),
        )  # fmt: skip
        parts.setdefault(each.split or "test", []).append(table)
    columns = [*OF_EVENTS, *LIST_COLUMNS]
    return {
        split: pd.concat(parts[split], ignore_index=True)[columns]
        for split in LIST_FILES
        if split in parts
    }


def missing_clips(tables: Iterable[pd.DataFrame], clips: dict[str, Path]) -> list[str]:
    """Return the names of the clips that are in the lists but not in ``clips``, sorted."""
    listed = {clip for table in tables for clip in table["clip"]}
    return sorted(listed - set(clips))


def list_files(files: pd.DataFrame) -> pd.DataFrame:
    """Return the stimulus list of files that were not presented in a scanner run.

    Parameters
    ----------
    files : DataFrame
        split, genre, track, clip, source (the file) and, for folds, run.

    Returns
    -------
    DataFrame
        LIST_COLUMNS and source, sorted by genre and clip. trial, repeat, onset_s and volume are
        missing (NaN).

    Raises
    ------
    InputError
        If a genre or a clip, which become parts of a path, is not a plain name.
    """
    for column in ("genre", "clip"):
        for source, name in zip(files["source"], files[column], strict=True):
            check_file_name(name, f"{source}: its {column}")
    table = files.assign(path=files["genre"] + "/" + files["clip"])
    table = table.reindex(columns=[*LIST_COLUMNS, "source"])
    return table.sort_values(["genre", "clip"]).reset_index(drop=True)


def link_or_copy(source: Path, target: Path, link: Link) -> Link:
    """Link or copy a clip to its listed path; return the method that was used.

    If the file system refuses a hard link, for example across disks, the clip is copied.

    Raises InputError if the listed path exists, because the file system of ``target`` takes two
    names for the same: their upper and lower case, or their Unicode normalisation, differ.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        raise InputError(
            f"{source}: has the same name, {target.name}, as another clip of its class on the disk "
            "of out, which does not distinguish upper and lower case; rename it"
        )
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


def write_lists(directory: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write ``train.tsv``, ``valid.tsv`` and ``test.tsv``, and plain lists such as train_list.txt.

    The plain lists contain paths relative to the directory, as older tools read them; each training
    clip has one line for each of its ten variants, which 'neuromusic augment' writes.
    """
    for split, table in tables.items():
        before = [name for name in OF_EVENTS if name in table]
        columns = [*before, *LIST_COLUMNS, *([DROPPED] if DROPPED in table else [])]
        table[columns].to_csv(
            directory / LIST_FILES[split], sep="\t", index=False, na_rep="n/a", lineterminator="\n"
        )
        lines = plain_list(table, with_variants=split == "train")
        text = "".join(f"{line}\n" for line in lines)
        (directory / f"{split}_list.txt").write_text(text, "utf-8", newline="\n")


def plain_list(table: pd.DataFrame, with_variants: bool) -> list[str]:
    """Return one path per presentation, without dummies, missing clips and dropped clips.

    With variants, each path is followed by those of its nine variants.
    """
    played = table[(table["trial"].fillna(1) > 0) & table["path"].notna()]
    if DROPPED in played:
        played = played[played[DROPPED].isna()]
    n_variants = len(VARIANTS) if with_variants else 1
    return [
        variant_file_name(path, variant)
        for path in played["path"]
        for variant in range(n_variants)
    ]  # fmt: skip


# --- Reading lists --------------------------------------------------------------------------------


def read_lists(directory: Path) -> pd.DataFrame:
    """Read the lists of a directory as one table with LIST_COLUMNS, OF_EVENTS and DROPPED.

    run, trial, repeat and volume are nullable integers. ``dropped`` gives the reason why a training
    clip is not trained on, and is missing (NaN) for all others.

    Raises InputError if there are no lists, a list is damaged, or a path points outside the
    directory. Symbolic links that point outside it are followed only if the record has link="sym".
    """
    directory = Path(directory)
    files = [directory / name for name in LIST_FILES.values() if (directory / name).is_file()]
    if not files:
        raise InputError(
            f"{directory}: has no train.tsv or test.tsv; make them with 'neuromusic lists'"
        )
    tables = [_read_list(path) for path in files]
    whole = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    whole = whole.reindex(columns=[*LIST_COLUMNS, *OF_EVENTS, DROPPED])
    settings = (read_record(directory) or {}).get("settings")
    if not isinstance(settings, dict) or settings.get("link") != "sym":
        check_links(directory)
    try:
        return whole.astype(dict.fromkeys(("run", "trial", "repeat", "volume"), "Int64"))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{directory}: a run, trial, repeat or volume is not a whole number ({error}); make "
            "the lists again"
        ) from None


def _read_list(path: Path) -> pd.DataFrame:
    # A track may be called 000002, and a subject 01.
    texts = ("path", "clip", "track", "genre", "subject", "session", "task")
    as_text = dict.fromkeys(texts, str)
    table = read_table(
        path, columns=LIST_COLUMNS, most_bytes=MOST_LIST_BYTES, remedy="make the lists again",
        na_values="n/a", keep_default_na=False, dtype=as_text,
    )  # fmt: skip
    names = ["genre", "track", "clip"]
    table[names] = table[names].map(nfc, na_action="ignore")
    for row, entry in enumerate(table["path"], start=1):
        if isinstance(entry, str) and (Path(entry).is_absolute() or ".." in Path(entry).parts):
            raise InputError(f"{path}, row {row}: {entry!r} points outside the list's directory")
    for column in ("genre", "clip"):
        if column == "genre" and table[column].isna().all():
            continue  # an experiment without classes
        for row, entry in enumerate(table[column], start=1):
            check_file_name(entry, f"{path}, row {row}, {column}")
    paths = table["path"].map(lambda entry: actual_path(path.parent, entry), na_action="ignore")
    return table.assign(path=paths)


def unique_clips(lists: pd.DataFrame) -> pd.DataFrame:
    """Return one row per clip and split: its first presentation that is not a dummy.

    Training clips that were dropped have the split "dropped": they were presented, so a network can
    be given them, but they are neither trained on nor scored. A dropped clip that is also a test
    clip is only listed as a test clip.

    Raises InputError if a clip is in two splits.
    """
    played = lists[lists["trial"].isna() | (lists["trial"] > 0)]
    played = played.assign(split=played["split"].mask(played[DROPPED].notna(), DROPPED))
    clips = played.drop_duplicates(["split", "clip"])[CLIP_COLUMNS]
    clips = clips[~(clips["clip"].duplicated(keep=False) & (clips["split"] == DROPPED))]
    clips = clips.reset_index(drop=True)
    repeated = clips["clip"][clips["clip"].duplicated()]
    if len(repeated):
        raise InputError(
            f"{repeated.iat[0]}: is in two splits of the lists; a clip may only be in one"
        )
    return clips


def listed_files(lists: Path) -> list[Path]:
    """Return the lists of a directory and the sounds that they name.

    Raises InputError if a sound does not exist.
    """
    table = read_lists(lists)
    paths = {lists / path for path in table["path"].dropna()}
    missing = sorted(path for path in paths if not path.is_file())
    if missing:
        raise InputError(f"{missing[0]}: is listed but does not exist; make the lists again")
    tables = [lists / name for name in LIST_FILES.values() if (lists / name).is_file()]
    return [*tables, *paths]
