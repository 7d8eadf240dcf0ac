"""The steps from tracks and clips to stimulus lists and variants on disk; see `pipeline`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.outputs import new_directory
from neuromusic.core.progress import Say, track
from neuromusic.core.records import hash_inputs, is_current, record
from neuromusic.design import leaks, lists, splits
from neuromusic.design.grid import CLIP_S
from neuromusic.design.orders import read_order
from neuromusic.stimuli.clips import check_clips, find_clips
from neuromusic.stimuli.corpora import fma, folder, gtzan

ORIGINS = ("folder", "gtzan", "fma", "tracks")  # where `file_table` looks; tracks goes with fma


def make_lists(
    train_order: Path, test_order: Path, clips: Path, out: Path, allow_missing: bool,
    link: lists.Link, say: Say, drop: leaks.Level | None = None, artists: Path | None = None,
) -> Path:  # fmt: skip
    """Stage the clips of an order pair under their run names and write the lists.

    ``drop``: mark the training clips that share so much with the test, see `leaks.mark_dropped`;
    they are staged like the others, for they were played.
    """
    tables = {
        "train": lists.list_order(read_order(train_order, "train")),
        "test": lists.list_order(read_order(test_order, "test")),
    }
    found = find_clips(clips)
    absent = lists.missing_clips(tables.values(), found)
    wanted = sorted({clip for table in tables.values() for clip in table["clip"]})
    if absent:
        say("\n".join(f"missing: {clip}" for clip in absent))
        if not allow_missing:
            raise InputError(
                f"{clips}: lacks {len(absent)} of the {len(wanted)} clips (named above); add them, "
                "or go on without them with --allow-missing"
            )
    here = {clip: found[clip] for clip in wanted if clip in found}
    check_clips(here.values(), CLIP_S)
    settings: dict[str, Any] = {"allow_missing": allow_missing, "link": link}
    described_by = [train_order, test_order]
    if drop:
        tables = leaks.mark_dropped(tables, drop, artists)
        settings["drop_leaks"] = drop
        described_by += [artists] if artists else []
    places = {"train_order": train_order, "test_order": test_order, "clips": clips}
    places |= {"artists": artists} if artists else {}
    hashed = hash_inputs([*described_by, *here.values()])
    made = record("lists", settings, hashed, places=places)
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        staged = {}
        for split, table in tables.items():
            gone = ~table["clip"].isin(here)
            played = table[~gone & (table["trial"] > 0)]
            for row in played.itertuples():
                staged[row.path] = row.clip
            tables[split] = table.assign(path=table["path"].mask(gone))
        how = {
            lists.stage(here[clip], part / path, link)
            for path, clip in track(staged.items(), "stage", len(staged))
        }
        lists.write_lists(part, tables)
    counts = ", ".join(f"{(t['trial'] > 0).sum()} {split}" for split, t in tables.items())
    say(f"wrote {out}: {counts} presentations of {len(here)} clips ({', '.join(how)})")
    if absent:
        say(f"{len(absent)} of {len(wanted)} clips are missing; their rows have the path n/a")
    if drop:
        _say_dropped(tables, drop, say)
    return out


def _say_dropped(tables: dict[str, pd.DataFrame], level: leaks.Level, say: Say) -> None:
    for split, name in (("train", "training"), ("valid", "validation")):
        if lists.DROPPED not in tables.get(split, ()):
            continue
        table = tables[split][tables[split]["trial"].fillna(1) > 0]
        clips = table.drop_duplicates("clip")
        dropped = clips[clips[lists.DROPPED].notna()]
        counts = dropped["genre"].value_counts().sort_index().items()
        genres = f" ({', '.join(f'{genre} {n}' for genre, n in counts)})" if len(dropped) else ""
        say(
            f"--drop-leaks {level}: {len(dropped)} of {len(clips)} {name} clips are dropped{genres}"
            f"; {lists.LIST_FILES[split]} says why"
        )


def file_table(origin: Mapping[str, Path], folds: bool = False) -> pd.DataFrame:
    """Return the files of a set, see `datasets`; ``origin`` names its place: one of `ORIGINS`."""
    if "folder" in origin:
        return folder.table(origin["folder"], folds)
    if "gtzan" in origin:
        return gtzan.table(origin["gtzan"])
    return fma.table(origin["fma"], origin["tracks"])


def make_file_lists(
    files: pd.DataFrame, split: str | None, seed: int, clip_s: float, out: Path,
    link: lists.Link, say: Say, origin: Mapping[str, Path] | None = None,
    drop: leaks.Level | None = None, artists: Path | None = None,
) -> Path:  # fmt: skip
    """Stage the files of a set (see `datasets`) and write their lists.

    ``split`` (70:15:15) by track; None for a set that has its own. ``origin``: where `file_table`
    found them, for the record. A file with a known fault is named and left out. ``drop``: mark
    what shares so much with the test, see `leaks.mark_dropped`, and do not stage it.
    """
    if "fault" in files:
        for row in files[files["fault"].notna()].itertuples():
            say(f"warning: {row.source}: {row.fault}; left out")
        files = files[files["fault"].isna()]
    if split is not None:
        files = splits.split_tracks(files, splits.proportions(split), seed)
    whole = lists.list_files(files)
    tables = {name: whole[whole["split"] == name] for name in lists.LIST_FILES}
    if drop:
        tables = leaks.mark_dropped(tables, drop, artists)
        tables = {name: _without_dropped_paths(table) for name, table in tables.items()}
    staged = pd.concat([table[table["path"].notna()] for table in tables.values()])
    sources = [Path(source) for source in staged["source"]]
    check_clips(sources, clip_s, "; --clip-s sets the shortest that is taken")
    settings = {"split": split, "seed": seed, "clip_s": clip_s, "link": link}
    if "run" in files:
        settings["folds"] = True
    if drop:
        settings["drop_leaks"] = drop
    places = {**(origin or {}), **({"artists": artists} if drop and artists else {})}
    read = [path for path in places.values() if path.is_file()]  # tracks.csv, the artist table
    made = record("lists", settings, hash_inputs([*sources, *read]), places=places)
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        for row in track(staged.itertuples(), "stage", len(staged)):
            lists.stage(Path(row.source), part / row.path, link)
        lists.write_lists(part, tables)
    counts = ", ".join(f"{table['path'].count()} {name}" for name, table in tables.items())
    by = "split by track" if split else "split as published"
    how = f"{files['run'].nunique()} folds" if "run" in files else by
    say(f"wrote {out}: {counts} clips in {whole['genre'].nunique()} classes, {how}")
    if drop:
        _say_dropped(tables, drop, say)
    return out


def _without_dropped_paths(table: pd.DataFrame) -> pd.DataFrame:
    if lists.DROPPED not in table:
        return table
    return table.assign(path=table["path"].mask(table[lists.DROPPED].notna()))
