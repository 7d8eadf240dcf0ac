"""Leaks: what the sides of a split share, such as clips, tracks, artists and copies of recordings.

Artists and known faults come from an artist table (`neuromusic.design.artists`). For GTZAN, a fault
marks a repetition or a distortion of another track, without naming that track. Two tracks of the
same artist are therefore counted as replicas of each other if at least one of them has a fault.

References
----------
Sturm (2013). The GTZAN dataset: its contents, its faults, their effects on evaluation, and its
future use. arXiv 1306.1461.
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
from neuromusic.design.splits import HeldOutRuns
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel
from neuromusic.stimuli.corpora.gtzan import TRACKS
from neuromusic.stimuli.fingerprint import NEAR, fingerprint
from neuromusic.stimuli.fingerprint import compare as compare_fingerprints

KINDS = ("clips", "tracks", "replicas", "artists")
COPIES = ("copies", "near copies")  # of the samples; of the recording
Level = Literal["track", "replica", "artist"]
DROPPED_KINDS: dict[Level, tuple[str, ...]] = {  # each level includes the levels before it
    "track": KINDS[:2],
    "replica": KINDS[:3],
    "artist": KINDS,
}


@dataclass(frozen=True)
class DropLeaks:
    """Which training clips are dropped because they share something with the test clips.

    Parameters
    ----------
    level : {"track", "replica", "artist"}
        What must not be shared. Each level includes those before it.
    artists : str or Path, optional
        Artist table; required by the levels "replica" and "artist".

    Raises
    ------
    InputError
        If ``artists`` is missing.

    Examples
    --------
    >>> import neuromusic as nm
    >>> lists = nm.make_lists(
    ...     train_order="orders/ExpTrnOrder.mat", test_order="orders/ExpValOrder.mat",
    ...     clips="clips", out="lists_without_leaks", link="sym",
    ...     drop_leaks=nm.DropLeaks("track"))
    """

    level: Level
    artists: Path | None = None

    def __post_init__(self) -> None:
        if self.artists is not None:
            object.__setattr__(self, "artists", Path(self.artists))
        elif self.level != "track":
            raise InputError(f"drop_leaks: level {self.level!r} needs artists, an artist table")


# --- Pairs of clips -------------------------------------------------------------------------------


def shared_pairs(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Return all pairs of clips that share something.

    Parameters
    ----------
    left, right : DataFrame
        One row per clip: clip, track and, if artists are known, artist and fault.

    Returns
    -------
    DataFrame
        kind, shared, clip, other: one row per pair and kind, sorted by kind in the order of
        `KINDS`. ``shared`` is the name of the clip, the track or the artist; ``other`` is the clip
        in ``right``.
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


def drop_reasons(left: pd.DataFrame, right: pd.DataFrame, level: Level) -> dict[str, str]:
    """Return clip -> reason for the clips of ``left`` that share something with ``right``.

    The reason is the first in the order of `KINDS`, such as "artist rock-12".
    """
    pairs = shared_pairs(left, right)
    pairs = pairs[pairs["kind"].isin(DROPPED_KINDS[level])].drop_duplicates("clip")
    return {row.clip: f"{row.kind.removesuffix('s')} {row.shared}" for row in pairs.itertuples()}


def mark_dropped(tables: dict[str, pd.DataFrame], drop: DropLeaks) -> dict[str, pd.DataFrame]:
    """Return stimulus lists in which the column ``dropped`` gives the reason for dropping a clip.

    No test clip is dropped. Validation clips are dropped if they share something with the test
    clips, training clips if they share something with the test clips or with the validation clips
    that are kept. ``dropped`` is missing (NaN) for clips that are kept.

    Parameters
    ----------
    tables : dict of DataFrame
        Split -> stimulus list, as for `neuromusic.design.lists.write_lists`.
    drop : DropLeaks
        What must not be shared.

    Raises
    ------
    InputError
        If no training clip is left or the artist table cannot be used.
    """
    known = read_artists(drop.artists) if drop.artists else None
    clips = {}
    for split, table in tables.items():
        played = table[table["trial"].fillna(1) > 0].drop_duplicates("clip")[["clip", "track"]]
        clips[split] = with_artists(played, known, drop.artists) if known is not None else played
    marked = dict(tables)
    kept = [clips["test"]]
    for split in ("valid", "train"):
        if split in clips:
            reasons = drop_reasons(clips[split], pd.concat(kept), drop.level)
            marked[split] = tables[split].assign(dropped=tables[split]["clip"].map(reasons))
            kept.append(clips[split][~clips[split]["clip"].isin(list(reasons))])
    if kept[-1].empty:
        raise InputError(
            f"drop_leaks={drop.level!r} leaves no training clips; choose another level"
        )
    return marked


# --- The sides of a split -------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Two sides of a split, and the pairs of clips that share something.

    Parameters
    ----------
    names : tuple of str
        Names of the two sides, such as ("training", "test").
    left, right : DataFrame
        The clips of each side, one row per clip.
    pairs : DataFrame
        As `shared_pairs` returns them.
    kinds : tuple of str
        The kinds of pairs that were searched for.
    """

    names: tuple[str, str]
    left: pd.DataFrame
    right: pd.DataFrame
    pairs: pd.DataFrame
    kinds: tuple[str, ...]


Side = tuple[str, pd.DataFrame]  # name, clips


def compare_sides(
    lists: pd.DataFrame, held_out: HeldOutRuns, artists: pd.DataFrame | None, path: Path | None
) -> list[Comparison]:
    """Compare the sides of stimulus lists, two at a time.

    Training clips are compared with test clips, and validation clips with both. If the lists have
    no validation clips, the validation runs of ``held_out`` take their place: they are compared
    with the other training runs, and count as training clips in the comparison with the test. Test
    runs of ``held_out`` replace the test clips of the lists.

    Parameters
    ----------
    lists : DataFrame
        Stimulus lists, as `neuromusic.design.lists.read_lists` returns them.
    held_out : HeldOutRuns
        Runs that are not trained on.
    artists : DataFrame or None
        As `read_artists` returns it; without it, artists and replicas are not compared.
    path : Path or None
        Path of the artist table, for error messages.
    """
    clips = _unique_clips(lists)
    if artists is not None:
        clips = with_artists(clips, artists, path)
    elif set(clips["track"]) <= set(TRACKS):
        clips = clips.assign(fault=clips["track"].isin(gtzan_faults()))
    kinds = KINDS if artists is not None else KINDS[:2]
    return [
        Comparison((left[0], right[0]), left[1], right[1], shared_pairs(left[1], right[1]), kinds)
        for left, right in _sides(clips, held_out)
        if len(left[1]) and len(right[1])
    ]


def _unique_clips(lists: pd.DataFrame) -> pd.DataFrame:
    """Return one row per clip and split, without dummies and dropped clips."""
    played = lists[(lists["trial"].fillna(1) > 0) & lists["dropped"].isna()]
    return played.drop_duplicates(["split", "clip"]).reset_index(drop=True)


def _sides(clips: pd.DataFrame, held_out: HeldOutRuns) -> list[tuple[Side, Side]]:
    """Return the pairs of sides to compare; sides may be empty."""
    train, valid, test = (clips[clips["split"] == name] for name in ("train", "valid", "test"))
    runs = sorted(int(run) for run in train["run"].dropna().unique())
    valid_runs = held_out.runs(runs) if runs and valid.empty else []
    test_name = "test"
    if runs and held_out.test:
        test_name = _run_names(held_out.test)
        in_test = train["run"].isin(held_out.test)
        train, test = train[~in_test], train[in_test]
    sides = [(("training", train), (test_name, test))]
    if len(valid):
        sides.append((("validation", valid), (test_name, test)))
        sides.append((("training", train), ("validation", valid)))
    elif valid_runs:
        in_valid = train["run"].isin(valid_runs)
        name = _run_names(valid_runs)
        sides.append((("other runs", train[~in_valid]), (name, train[in_valid])))
    return sides


def _run_names(runs: Sequence[int]) -> str:
    return f"run {', '.join(str(run) for run in runs)}"


def format_counts(comparison: Comparison) -> str:
    """Return a text table with one line per kind: the number of clips involved on each side."""
    left, right = comparison.left, comparison.right
    lines = [("", *comparison.names)]
    for kind in comparison.kinds:
        pairs = comparison.pairs[comparison.pairs["kind"] == kind]
        counts = (pairs["clip"].nunique(), pairs["other"].nunique())
        lines.append((kind, f"{counts[0]} of {len(left)}", f"{counts[1]} of {len(right)}"))
    if "fault" in left:
        lines.append(("(faults)", str(left["fault"].sum()), str(right["fault"].sum())))
    return "\n".join(f"{a:<11}{b:>14}{c:>14}" for a, b, c in lines)


def pairs_table(comparisons: list[Comparison]) -> pd.DataFrame:
    """Return all pairs: kind, shared, side, clip, other_side, other_clip."""
    parts = [
        comparison.pairs.assign(
            side=comparison.names[0], other_side=comparison.names[1]
        ).rename(columns={"other": "other_clip"})
        for comparison in comparisons
    ]  # fmt: skip
    columns = ["kind", "shared", "side", "clip", "other_side", "other_clip"]
    return pd.concat(parts, ignore_index=True)[columns]


# --- Copies of sounds -----------------------------------------------------------------------------


@dataclass(frozen=True)
class SoundIdentity:
    """What identifies a sound: equal samples, or bits that survive gain, shifts and coding.

    Parameters
    ----------
    sha256 : str
        Hash of the samples, mono at audio.RATE_HZ, whatever file they come from.
    bits : ndarray of int8, shape (n_frames, 32)
        Fingerprint.
    """

    sha256: str
    bits: NDArray[np.int8]


def identify_sounds(
    directory: Path, comparisons: list[Comparison], channel: Channel = "mix"
) -> dict[str, SoundIdentity]:
    """Return path -> identity for all clips of the comparisons that are not missing.

    Raises InputError if a sound file cannot be used, or if all clips are missing.
    """
    sides = [side for pair in comparisons for side in (pair.left, pair.right)]
    paths = sorted(set(pd.concat([side["path"] for side in sides]).dropna()))
    if not paths:
        raise InputError(
            f"{directory}: has no sound of any clip (path n/a); sounds cannot be compared"
        )
    identities = {}
    for path in track(paths, "fingerprint", len(paths)):
        wave = audio.read(directory / path, channel=channel)
        identities[path] = SoundIdentity(
            hashlib.sha256(wave.tobytes()).hexdigest(), fingerprint(wave)
        )
    return identities


def with_copies(comparison: Comparison, sounds: dict[str, SoundIdentity]) -> Comparison:
    """Return a comparison with the pairs of clips that are exact or near copies of each other.

    Near copies differ in some samples, but in less than `NEAR` of the bits of their fingerprints at
    some shift.
    """
    left, right = (side[side["path"].notna()] for side in (comparison.left, comparison.right))
    left_sounds, right_sounds = ([sounds[path] for path in side["path"]] for side in (left, right))
    error, lag_s = compare_fingerprints(
        [sound.bits for sound in left_sounds], [sound.bits for sound in right_sounds]
    )
    left_hashes, right_hashes = (
        np.array([sound.sha256 for sound in sounds_of_side])
        for sounds_of_side in (left_sounds, right_sounds)
    )
    is_equal = left_hashes[:, None] == right_hashes[None]
    rows = []
    for i, j in np.argwhere(is_equal | (error < NEAR)):
        if is_equal[i, j]:
            kind, shared = COPIES[0], left_hashes[i]
        else:
            kind = COPIES[1]
            shared = f"{error[i, j]:.2f} of the bits differ, {lag_s[i, j]:+.2f} s"
        rows.append((kind, shared, left["clip"].iloc[i], right["clip"].iloc[j]))
    copies = pd.DataFrame(rows, columns=list(comparison.pairs.columns))
    copies = copies.sort_values(["kind", "clip", "other"])
    pairs = pd.concat([comparison.pairs, copies], ignore_index=True)
    return replace(comparison, pairs=pairs, kinds=(*comparison.kinds, *COPIES))
