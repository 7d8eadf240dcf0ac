"""What the sides of a split share: clips, tracks, artists, known repetitions and distortions.

An artist table is a TSV with a row a track: ``track artist_group fault``. A track whose artist is
unknown has a group of its own. For GTZAN (Sturm 2013, "The GTZAN dataset: its contents, its faults,
their effects on evaluation, and its future use") ``fault`` marks a repetition or a distortion of
another track; it does not say of which, so two tracks of one artist of which either is marked are
taken for replicas of each other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, fingerprint
from neuromusic.datasets.gtzan import TRACKS
from neuromusic.errors import InputError
from neuromusic.progress import Say, track
from neuromusic.provenance import write_text
from neuromusic.stimuli import read_lists
from neuromusic.untrusted import text_table

KINDS = ("clips", "tracks", "replicas", "artists")
COPIES = ("copies", "near copies")  # of the samples; of the recording
Level = Literal["track", "replica", "artist"]
DROPPED_FOR: dict[Level, tuple[str, ...]] = {  # each level drops what those before it drop
    "track": KINDS[:2],
    "replica": KINDS[:3],
    "artist": KINDS,
}
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


def shared_pairs(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Return every pair of clips that share something: kind, shared, clip, other.

    ``left`` and ``right`` have a row a clip: clip, track and, where artists are known, artist and
    fault. A pair has a row for each of `KINDS` that it shares; what it shares is the name of the
    clip, the track or the artist.
    """
    parts = []
    for kind, column in (("clips", "clip"), ("tracks", "track"), ("artists", "artist")):
        if column in left and column in right:
            both = left.assign(shared=left[column]).merge(
                right.assign(shared=right[column]), on="shared", suffixes=("", "_other")
            )
            parts.append(both.assign(kind=kind))
            if kind == "artists":
                parts.append(both[both["fault"] | both["fault_other"]].assign(kind="replicas"))
    pairs = pd.concat(parts, ignore_index=True).rename(columns={"clip_other": "other"})
    order = pairs["kind"].map(KINDS.index)
    pairs = pairs.assign(order=order).sort_values(["order", "clip", "other"])
    return pairs[["kind", "shared", "clip", "other"]].reset_index(drop=True)


def reasons(left: pd.DataFrame, right: pd.DataFrame, level: Level) -> dict[str, str]:
    """Return clip -> why, for the clips of ``left`` that are to be dropped beside ``right``.

    The first reason in the order of `KINDS`, such as "artist rock-12".
    """
    pairs = shared_pairs(left, right)
    pairs = pairs[pairs["kind"].isin(DROPPED_FOR[level])].drop_duplicates("clip")
    return {row.clip: f"{row.kind.removesuffix('s')} {row.shared}" for row in pairs.itertuples()}


def mark_dropped(
    tables: dict[str, pd.DataFrame], level: Level, artists: Path | None
) -> dict[str, pd.DataFrame]:
    """Return stimulus lists with the column ``dropped`` where clips go for the sake of others.

    The test stays whole. Validation clips that share with it are dropped, and training clips that
    share with it or with the validation clips that stay; ``dropped`` says why, and is missing for
    the others. ``tables``: split -> list, as `stimuli.write_lists` takes them; ``artists``: the
    artist table, without which only the level "track" is known.

    Raises InputError where no training clip is left or the artist table is not usable.
    """
    known = read_artists(artists) if artists else None
    sides = {}
    for split, table in tables.items():
        side = table[table["trial"].fillna(1) > 0].drop_duplicates("clip")[["clip", "track"]]
        sides[split] = with_artists(side, known, artists) if known is not None else side
    marked = dict(tables)
    others = [sides["test"]]
    for split in ("valid", "train"):
        if split in sides:
            why = reasons(sides[split], pd.concat(others), level)
            marked[split] = tables[split].assign(dropped=tables[split]["clip"].map(why))
            others.append(sides[split][~sides[split]["clip"].isin(list(why))])
    if others[-1].empty:
        raise InputError(f"--drop-leaks {level}: leaves no training clip; choose another level")
    return marked


# --- Lists --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Two sides of a split, a row a clip each, and the pairs that share something.

    ``pairs`` as `shared_pairs` returns them; ``kinds`` are those that were looked for.
    """

    names: tuple[str, str]
    left: pd.DataFrame
    right: pd.DataFrame
    pairs: pd.DataFrame
    kinds: tuple[str, ...]


def unique_rows(lists: pd.DataFrame) -> pd.DataFrame:
    """Return a row a clip and split of stimulus lists, without dummies and dropped clips."""
    played = lists[(lists["trial"].fillna(1) > 0) & lists["dropped"].isna()]
    return played.drop_duplicates(["split", "clip"]).reset_index(drop=True)


@dataclass(frozen=True)
class Held:
    """Which runs of the training order a training leaves out: to validate on, and to be scored."""

    valid: int | list[int] = 1  # runs, or how many at the end
    test: tuple[int, ...] = ()

    def runs(self, runs: list[int]) -> list[int]:
        """Return the validation runs; raise InputError where one is not there or none is left."""
        free = [run for run in runs if run not in self.test]
        valid = free[len(free) - self.valid :] if isinstance(self.valid, int) else self.valid
        for name, wanted, there in (("validation", valid, free), ("test", self.test, runs)):
            absent = [run for run in wanted if run not in there]
            if absent:
                raise InputError(f"{name} run {absent[0]}: is not one of the runs {there}")
        if len(valid) >= len(free):
            raise InputError(f"{len(valid)} validation runs of {len(free)} leave none to train on")
        return valid


def compare_sides(
    lists: pd.DataFrame, held: Held, artists: pd.DataFrame | None, path: Path | None
) -> list[Comparison]:
    """Compare the sides of stimulus lists (`stimuli.read_lists`), two at a time.

    Training with test; the validation clips with both. Where the lists have no validation clips of
    their own, these are the runs of the training order that ``held`` names, which are compared with
    the other training runs (they are training clips in the comparison with the test). Where
    ``held`` has runs to be scored, these are the test instead of the lists' test clips.
    """
    clips = unique_rows(lists)
    if artists is not None:
        clips = with_artists(clips, artists, path)
    elif set(clips["track"]) <= set(TRACKS):
        clips = clips.assign(fault=clips["track"].isin(gtzan_faults()))
    train, valid, test = (clips[clips["split"] == name] for name in ("train", "valid", "test"))
    runs = sorted(int(run) for run in train["run"].dropna().unique())
    chosen = held.runs(runs) if runs and valid.empty else []
    tested = "test"
    if runs and held.test:
        tested = _run_names(held.test)
        is_scored = train["run"].isin(held.test)
        train, test = train[~is_scored], train[is_scored]
    sides = [(("training", tested), train, test)]
    if len(valid):
        sides += [(("validation", tested), valid, test), (("training", "validation"), train, valid)]
    elif chosen:
        is_valid = train["run"].isin(chosen)
        sides.append((("other runs", _run_names(chosen)), train[~is_valid], train[is_valid]))
    kinds = KINDS if artists is not None else KINDS[:2]
    return [
        Comparison(names, left, right, shared_pairs(left, right), kinds)
        for names, left, right in sides
        if len(left) and len(right)
    ]


def _run_names(runs: Sequence[int]) -> str:
    return f"run {', '.join(str(run) for run in runs)}"


def as_text(comparison: Comparison) -> str:
    """Return how many clips of each side share what with the other side, a line a kind."""
    left, right = comparison.left, comparison.right
    lines = [("", *comparison.names)]
    for kind in comparison.kinds:
        pairs = comparison.pairs[comparison.pairs["kind"] == kind]
        counts = (pairs["clip"].nunique(), pairs["other"].nunique())
        lines.append((kind, f"{counts[0]} of {len(left)}", f"{counts[1]} of {len(right)}"))
    if "fault" in left:
        lines.append(("(faults)", str(left["fault"].sum()), str(right["fault"].sum())))
    return "\n".join(f"{a:<11}{b:>14}{c:>14}" for a, b, c in lines)


Sound = tuple[str, NDArray[np.int8]]  # SHA-256 of the samples, fingerprint


def listen(directory: Path, comparisons: list[Comparison]) -> dict[str, Sound]:
    """Return path -> digest and fingerprint of every clip of the sides that is there.

    The digest is that of the samples, mono at audio.RATE_HZ, whatever file they come from. Raises
    InputError for an unusable sound file, and where none is there.
    """
    paths = pd.concat([side["path"] for c in comparisons for side in (c.left, c.right)])
    heard = {}
    there = sorted(set(paths.dropna()))
    if not there:
        raise InputError(f"{directory}: has no sound of any clip (path n/a), which --audio needs")
    for path in track(there, "listen", len(there)):
        wave = audio.read(directory / path)
        digest = hashlib.sha256(wave.tobytes()).hexdigest()
        heard[path] = (digest, fingerprint.fingerprint(wave))
    return heard


def with_copies(comparison: Comparison, heard: dict[str, Sound]) -> Comparison:
    """Return a comparison with the pairs of clips that are exact or near copies of each other.

    Near: less than `fingerprint.NEAR` of the bits differ at some shift, but some samples do too.
    """
    left, right = (side[side["path"].notna()] for side in (comparison.left, comparison.right))
    error, lag_s = fingerprint.compare(
        [heard[path][1] for path in left["path"]], [heard[path][1] for path in right["path"]]
    )
    digests = [np.array([heard[path][0] for path in side["path"]]) for side in (left, right)]
    same = digests[0][:, None] == digests[1][None]
    rows = []
    for i, j in np.argwhere(same | (error < fingerprint.NEAR)):
        kind = COPIES[0] if same[i, j] else COPIES[1]
        what = f"{error[i, j]:.2f} of the bits differ, {lag_s[i, j]:+.2f} s"
        what = digests[0][i] if same[i, j] else what
        rows.append((kind, what, left["clip"].iloc[i], right["clip"].iloc[j]))
    found = pd.DataFrame(rows, columns=list(comparison.pairs.columns))
    found = found.sort_values(["kind", "clip", "other"])
    pairs = pd.concat([comparison.pairs, found], ignore_index=True)
    return replace(comparison, pairs=pairs, kinds=(*comparison.kinds, *COPIES))


def as_table(comparisons: list[Comparison]) -> pd.DataFrame:
    """Return all pairs: kind, shared, side, clip, other_side, other_clip."""
    parts = [
        c.pairs.assign(side=c.names[0], other_side=c.names[1]).rename(
            columns={"other": "other_clip"}
        )
        for c in comparisons
    ]
    columns = ["kind", "shared", "side", "clip", "other_side", "other_clip"]
    return pd.concat(parts, ignore_index=True)[columns]


def report(
    directory: Path, artists: Path | None, held: Held, with_audio: bool,
    out: Path | None, say: Say,
) -> bool:  # fmt: skip
    """Say what the sides of the lists in a directory share; return whether they share anything.

    ``with_audio``: also which clips are copies of each other. With ``out``, write all pairs there,
    as TSV. Raises InputError where there is only one side.
    """
    table = read_artists(artists) if artists else None
    comparisons = compare_sides(read_lists(directory), held, table, artists)
    if not comparisons:
        raise InputError(
            f"{directory}: has one side only, so nothing can be shared; expected train.tsv with "
            "test.tsv or several runs"
        )
    if with_audio:
        heard = listen(Path(directory), comparisons)
        comparisons = [with_copies(comparison, heard) for comparison in comparisons]
        first = comparisons[0]
        silent = sum(int(side["path"].isna().sum()) for side in (first.left, first.right))
        if silent:
            say(f"warning: {silent} clips are missing (path n/a); their sound was not compared")
    for comparison in comparisons:
        say(as_text(comparison) + "\n")
    if artists is None:
        say("artists and replicas are not known; --artists names a table of them")
        if "fault" in comparisons[0].left:
            say("(faults): repetitions and distortions that torchaudio leaves out of GTZAN")
    else:
        say(f"(faults): known repetitions and distortions in {artists}, of whatever track")
    pairs = as_table(comparisons)
    if out is not None:
        write_text(out, pairs.to_csv(sep="\t", index=False))
        say(f"wrote {out}: {len(pairs)} pairs")
    for c in comparisons:
        kinds = [kind for kind in c.kinds if kind in set(c.pairs["kind"])]
        say(f"{c.names[0]} and {c.names[1]} share {', '.join(kinds) or 'nothing that is known'}")
    return len(pairs) > 0
