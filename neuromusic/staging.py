"""The steps from tracks and clips to stimulus lists and variants on disk; see `pipeline`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic import audio, leaks, stimuli
from neuromusic.datasets import fma, folder, gtzan
from neuromusic.errors import InputError
from neuromusic.orders import read_order
from neuromusic.progress import Say, track
from neuromusic.provenance import (
    hash_inputs,
    is_current,
    kept,
    locked,
    new_directory,
    record,
    sha256,
    write_record,
    write_text,
)
from neuromusic.variants import VARIANTS, variant_file_name

ORIGINS = ("folder", "gtzan", "fma", "tracks")  # where `file_table` looks; tracks goes with fma


def cut_clips(tracks: Path, bids: Path, out: Path, say: Say) -> Path:
    """Cut every clip that the events name out of its track; see `stimuli.cut_clip`."""
    cuts = stimuli.cut_list(bids)
    found = stimuli.find_tracks(tracks)
    absent = sorted(set(cuts["track"]) - set(found))
    if absent:
        raise InputError(
            f"{tracks}: lacks {len(absent)} of {cuts['track'].nunique()} tracks: "
            f"{', '.join(absent)}"
        )
    wanted = {found[name] for name in cuts["track"]}
    made = record("stimuli cut", {"fade_s": stimuli.FADE_S}, hash_inputs(wanted))
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        waves = {}
        for row in track(cuts.itertuples(), "cut", len(cuts)):
            waves[row.clip] = stimuli.cut_clip(found[row.track], row.start_s, row.end_s)
        rms = float(np.mean([np.sqrt(np.mean(wave**2)) for wave in waves.values()]))
        limited = []
        for clip, wave in waves.items():
            scaled, is_limited = stimuli.set_rms(wave, rms)
            if is_limited:
                limited.append(clip)
            folder = part / clip.split(".")[0]
            folder.mkdir(exist_ok=True)
            audio.write(folder / clip, scaled)
    say(f"cut {len(cuts)} clips to the set's mean RMS of {rms:.4f} into {out}")
    if limited:
        say(f"{len(limited)} clips stay softer, or they would clip: {', '.join(limited)}")
    return out


def make_lists(
    train_order: Path, test_order: Path, clips: Path, out: Path, allow_missing: bool,
    link: stimuli.Link, say: Say, drop: leaks.Level | None = None, artists: Path | None = None,
) -> Path:  # fmt: skip
    """Stage the clips of an order pair under their run names and write the lists.

    ``drop``: mark the training clips that share so much with the test, see `leaks.mark_dropped`;
    they are staged like the others, for they were played.
    """
    tables = {
        "train": stimuli.list_order(read_order(train_order, "train")),
        "test": stimuli.list_order(read_order(test_order, "test")),
    }
    found = stimuli.find_clips(clips)
    absent = stimuli.missing_clips(tables.values(), found)
    wanted = sorted({clip for table in tables.values() for clip in table["clip"]})
    if absent:
        say("\n".join(f"missing: {clip}" for clip in absent))
        if not allow_missing:
            raise InputError(
                f"{clips}: lacks {len(absent)} of the {len(wanted)} clips (named above); add them, "
                "or go on without them with --allow-missing"
            )
    here = {clip: found[clip] for clip in wanted if clip in found}
    stimuli.check_clips(here.values())
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
            stimuli.stage(here[clip], part / path, link)
            for path, clip in track(staged.items(), "stage", len(staged))
        }
        stimuli.write_lists(part, tables)
    counts = ", ".join(f"{(t['trial'] > 0).sum()} {split}" for split, t in tables.items())
    say(f"wrote {out}: {counts} presentations of {len(here)} clips ({', '.join(how)})")
    if absent:
        say(f"{len(absent)} of {len(wanted)} clips are missing; their rows have the path n/a")
    if drop:
        _say_dropped(tables, drop, say)
    return out


def _say_dropped(tables: dict[str, pd.DataFrame], level: leaks.Level, say: Say) -> None:
    for split, name in (("train", "training"), ("valid", "validation")):
        if stimuli.DROPPED not in tables.get(split, ()):
            continue
        table = tables[split][tables[split]["trial"].fillna(1) > 0]
        clips = table.drop_duplicates("clip")
        dropped = clips[clips[stimuli.DROPPED].notna()]
        counts = dropped["genre"].value_counts().sort_index().items()
        genres = f" ({', '.join(f'{genre} {n}' for genre, n in counts)})" if len(dropped) else ""
        say(
            f"--drop-leaks {level}: {len(dropped)} of {len(clips)} {name} clips are dropped{genres}"
            f"; {stimuli.LIST_FILES[split]} says why"
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
    link: stimuli.Link, say: Say, origin: Mapping[str, Path] | None = None,
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
        files = stimuli.split_tracks(files, stimuli.proportions(split), seed)
    whole = stimuli.list_files(files)
    tables = {name: whole[whole["split"] == name] for name in stimuli.LIST_FILES}
    if drop:
        tables = leaks.mark_dropped(tables, drop, artists)
        tables = {name: _without_dropped_paths(table) for name, table in tables.items()}
    staged = pd.concat([table[table["path"].notna()] for table in tables.values()])
    sources = [Path(source) for source in staged["source"]]
    stimuli.check_clips(sources, clip_s, "; --clip-s sets the shortest that is taken")
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
            stimuli.stage(Path(row.source), part / row.path, link)
        stimuli.write_lists(part, tables)
    counts = ", ".join(f"{table['path'].count()} {name}" for name, table in tables.items())
    by = "split by track" if split else "split as published"
    how = f"{files['run'].nunique()} folds" if "run" in files else by
    say(f"wrote {out}: {counts} clips in {whole['genre'].nunique()} classes, {how}")
    if drop:
        _say_dropped(tables, drop, say)
    return out


def _without_dropped_paths(table: pd.DataFrame) -> pd.DataFrame:
    if stimuli.DROPPED not in table:
        return table
    return table.assign(path=table["path"].mask(table[stimuli.DROPPED].notna()))


def write_variants(lists: Path, seed: int, workers: int, say: Say) -> Path:
    """Write the nine variants of every training clip as wav beside it, and variants.tsv."""
    from neuromusic.parallel import Machine, run_calls
    from neuromusic.prepare import clip_calls, unique_clips

    table = stimuli.read_lists(lists)
    clips = unique_clips(table[table["path"].notna() & (table["split"] == "train")])
    clips = clips[clips["split"] == "train"]
    if clips.empty:
        raise InputError(f"{lists}: has no training clips to augment")
    rows: list[dict[str, Any]] = []
    calls = clip_calls(clips, lists, seed)
    target = lists / "variants.tsv"
    text = f"{target} is not there before all variants are; the same command writes them anew"
    with locked(target), kept(lists, lists, text):
        target.unlink(missing_ok=True)
        results = run_calls(_write_clip_variants, calls, Machine(workers))
        bar = track(results, "augment", len(clips))
        for row, made in zip(clips.itertuples(), bar, strict=True):
            for variant, parameters in enumerate(made, start=1):
                rows.append(
                    {
                        "path": variant_file_name(row.path, variant),
                        "clip": row.clip,
                        "variant": variant,
                        "name": VARIANTS[variant],
                        "parameters": json.dumps(parameters),
                        "seed": seed,
                    }
                )
        sources = hash_inputs([lists / stimuli.LIST_FILES["train"]])
        listed = pd.DataFrame(rows).to_csv(sep="\t", index=False)
        outputs = {row["path"]: sha256(lists / row["path"]) for row in rows}
        outputs[target.name] = hashlib.sha256(listed.encode()).hexdigest()
        write_record(
            lists,
            record("augment", {"seed": seed}, sources) | {"outputs": outputs},
            "variants.provenance.json",
        )
        write_text(target, listed)  # the last thing: where it is, all is
    say(f"wrote {len(rows)} variants of {len(clips)} clips into {lists}, listed in variants.tsv")
    return lists


def _write_clip_variants(path: Path, clip: str, n_variants: int, seed: int) -> list[dict[str, Any]]:
    from neuromusic.hear import variant_waves

    drawn = []
    for variant, (wave, parameters) in enumerate(variant_waves(path, clip, n_variants, seed)):
        if variant == 0:
            continue
        target = path.with_name(variant_file_name(path.name, variant))
        part = target.with_name(f".{target.stem}.partial.wav")
        part.unlink(missing_ok=True)  # it may be a link to elsewhere
        audio.write(part, wave.numpy())
        part.replace(target)
        drawn.append(parameters)
    return drawn
