"""Stimulus lists and sound to a prepared set."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine, run_calls
from neuromusic.core.progress import track
from neuromusic.design.lists import DROPPED, read_lists, unique_clips
from neuromusic.features import prepared
from neuromusic.features.frontends.base import FrontEnd, describe
from neuromusic.features.worker import Wanted, hear_clip
from neuromusic.features.writer import Journal
from neuromusic.stimuli import audio
from neuromusic.stimuli.variants import VARIANTS


def clip_calls(clips: pd.DataFrame, root: Path, *more: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments (path, clip, number of variants, *more) for every clip.

    Training clips have all ten variants; nothing else is ever augmented.
    """
    for row in clips.itertuples():
        yield root / str(row.path), row.clip, _n_variants(str(row.split)), *more


def _n_variants(split: str) -> int:
    return len(VARIANTS) if split == "train" else 1


@contextlib.contextmanager
def same_threads() -> Iterator[None]:
    """Give torch its threads back at the end."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def prepare_audio(
    lists: Path, directory: Path, spec: FrontEnd, with_waves: bool, seed: int,
    checksums: Mapping[Path, int], machine: Machine,
) -> tuple[list[str], dict[str, str]]:  # fmt: skip
    """Write what a front end makes of every clip and variant of stimulus lists into a directory.

    And, ``with_waves``, the samples. One pass over the clips; no sound is written. What an earlier,
    interrupted call has finished there is kept: see `journal`. Rows of clips that the lists lack
    (path n/a, from ``lists --allow-missing``) are left out. ``checksums`` are those of the sounds
    before they were hashed.

    Returns the names of the variants in which nothing sounds, which are kept, but never trained on;
    and the hashes of the arrays. Raises InputError for an unusable sound file.
    """
    table = read_lists(lists)
    clips = unique_clips(table[table["path"].notna()])
    if clips.empty:
        raise InputError(f"{lists}: no clip of the lists is there")
    longest_s = max(audio.duration_s(lists / path) for path in clips["path"])
    longest = int(np.ceil(longest_s * audio.RATE_HZ))
    ends = clips["split"].map(_n_variants).cumsum()
    n_rows = int(ends.iloc[-1])
    shape = (n_rows, spec.n_channels * spec.n_bands, spec.n_frames(longest))
    with Journal(directory, shape, (n_rows, longest) if with_waves else None) as journal:
        wanted = Wanted(spec, with_waves, seed, machine.device, longest, journal.files)
        left = clips.iloc[len(journal.clips) :]
        root = lists.absolute() if machine.dask else lists  # workers may have begun elsewhere
        calls = (
            (*call, checksums[lists / path], end - call[2])
            for call, path, end in zip(
                clip_calls(left, root, wanted), left["path"], ends[left.index], strict=True
            )
        )
        results = run_calls(hear_clip, calls, machine)
        bar = track(results, "prepare", len(clips), len(journal.clips))
        for path, (written, made) in zip(left["path"], bar, strict=True):
            if made[0]["silent"]:
                raise InputError(
                    f"{lists / path}: is too soft to be heard ({spec.name} is {spec.floor:g} "
                    "throughout); make it louder or take it out"
                )
            journal.add(written, made)
        rows = [
            {**clip, **row}
            for clip, made in zip(clips.to_dict("records"), journal.clips, strict=True)
            for row in made
        ]
    on_grid = table["trial"].notna().any()  # folds have a run but no place in it
    prepared.write(
        directory,
        pd.DataFrame(rows).reset_index(names="row"),
        meta_of("audio", spec, sorted(set(clips["genre"]))),
        table.drop(columns=["path", DROPPED]) if on_grid else None,
    )
    silent = [f"{row['clip']} ({row['name']})" for row in rows if row["silent"]]
    return silent, journal.hashes


def meta_of(source: str, spec: FrontEnd, classes: list[str]) -> dict[str, Any]:
    """Return what ``prepared.json`` says of a set made with a front end."""
    return {
        "source": source,
        "front_end": describe(spec),
        "frame_s": spec.frame_s,
        "n_channels": spec.n_channels,
        "n_bands": spec.n_bands,
        "classes": classes,
    }
