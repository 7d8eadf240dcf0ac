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

from neuromusic.core.errors import InputError
from neuromusic.core.progress import track
from neuromusic.design.artists import gtzan_faults, read_artists, with_artists
from neuromusic.design.splits import Held
from neuromusic.stimuli import audio, fingerprint
from neuromusic.stimuli.corpora.gtzan import TRACKS

KINDS = ("clips", "tracks", "replicas", "artists")
COPIES = ("copies", "near copies")  # of the samples; of the recording
Level = Literal["track", "replica", "artist"]
DROPPED_FOR: dict[Level, tuple[str, ...]] = {  # each level drops what those before it drop
    "track": KINDS[:2],
    "replica": KINDS[:3],
    "artist": KINDS,
}


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
