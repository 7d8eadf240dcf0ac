"""Stimulus lists and sound to a prepared set."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, store
from neuromusic.errors import InputError
from neuromusic.features import FrontEnd, describe, rows_of_tensor
from neuromusic.journal import Journal
from neuromusic.parallel import Machine, run_calls
from neuromusic.progress import track
from neuromusic.provenance import sha256
from neuromusic.stimuli import DROPPED, read_lists
from neuromusic.variants import VARIANTS

if TYPE_CHECKING:  # a process that has workers does without torch
    from torch import Tensor

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


def clip_calls(clips: pd.DataFrame, root: Path, *more: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments (path, clip, number of variants, *more) for every clip.

    Training clips have all ten variants; nothing else is ever augmented.
    """
    for row in clips.itertuples():
        yield root / str(row.path), row.clip, _n_variants(str(row.split)), *more


def _n_variants(split: str) -> int:
    return len(VARIANTS) if split == "train" else 1


def variant_waves(
    path: Path, clip: str, n_variants: int, seed: int, device: str = "cpu"
) -> Iterator[tuple["Tensor", dict[str, Any]]]:
    """Yield (wave, parameters) of the variants of a clip, on a device.

    Where torch has several threads it keeps to one from here on: the work is spread over clips.
    """
    import torch

    from neuromusic import augment

    torch.set_num_threads(1)
    source = augment.Source(audio.read(path), device)
    for variant in range(n_variants):
        parameters = augment.draw(seed, clip, variant)
        yield augment.apply(source, variant, parameters), parameters


@contextlib.contextmanager
def same_threads() -> Iterator[None]:
    """Give torch its threads back at the end."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Wanted:
    """What is to be made of every clip."""

    spec: FrontEnd
    with_waves: bool
    seed: int
    device: str
    n_samples: int  # of the longest clip


@dataclass(frozen=True)
class Heard:
    """The rows of one clip; what lies beyond the end of a variant is 0."""

    features: NDArray[np.float16]  # (variants, channels x bands, frames)
    waves: NDArray[np.int16]  # (variants, samples); (variants, 0) if they are not wanted
    rows: list[dict[str, Any]]  # of rows.tsv, for each variant


def hear_clip(path: Path, clip: str, n_variants: int, wanted: Wanted, digest: str) -> Heard:
    """Return what a front end makes of the variants of a clip.

    ``digest`` is the SHA-256 that was recorded for the file: raises InputError if it has changed.
    """
    import torch

    spec = wanted.spec
    n_frames = spec.n_frames(wanted.n_samples)
    features = np.zeros((n_variants, spec.n_channels * spec.n_bands, n_frames), np.float16)
    waves = np.zeros((n_variants, wanted.n_samples if wanted.with_waves else 0), np.int16)
    rows: list[dict[str, Any]] = []
    made = variant_waves(path, clip, n_variants, wanted.seed, wanted.device)
    original = torch.empty(0)
    for variant, (wave, parameters) in enumerate(made):
        if VARIANTS[variant] == "gain" and spec.has_bands_db:  # softer: nothing leaves the floor
            heard = (original + parameters["gain_db"]).clamp_min_(spec.floor)
        else:
            heard = rows_of_tensor(spec, wave)
        if variant == 0:
            original = heard
        heard = heard[:, :n_frames].half()  # a length may have been rounded up
        silent = all(float(end) == spec.floor for end in heard.aminmax())
        heard = heard.cpu()
        features[variant, :, : heard.shape[1]] = heard
        samples = min(len(wave), waves.shape[1])
        if samples:
            pcm = (wave[:samples] * 2**15).round().clamp(-(2**15), 2**15 - 1)
            waves[variant, :samples] = pcm.to(torch.int16).cpu()
        rows.append(
            {
                "variant": variant,
                "name": VARIANTS[variant],
                "parameters": json.dumps(parameters),
                "frames": heard.shape[1],
                "samples": samples if wanted.with_waves else None,
                "silent": silent,
            }
        )
    if sha256(path) != digest:
        raise InputError(f"{path}: has changed since the work began; type the same again")
    return Heard(features, waves, rows)


def prepare_audio(
    lists: Path, directory: Path, spec: FrontEnd, with_waves: bool, seed: int,
    hashes: Mapping[str, str], machine: Machine,
) -> list[str]:  # fmt: skip
    """Write what a front end makes of every clip and variant of stimulus lists into a directory.

    And, ``with_waves``, the samples. One pass over the clips; no sound is written. What an earlier,
    interrupted call has finished there is kept: see `journal`. Rows of clips that the lists lack
    (path n/a, from ``lists --allow-missing``) are left out. ``hashes`` (path -> SHA-256) are those
    that will be recorded. Returns the names of the variants in which nothing sounds; they are kept,
    but never trained on. Raises InputError for an unusable sound file.
    """
    table = read_lists(lists)
    clips = unique_clips(table[table["path"].notna()])
    if clips.empty:
        raise InputError(f"{lists}: no clip of the lists is there")
    longest_s = max(audio.duration_s(lists / path) for path in clips["path"])
    longest = int(np.ceil(longest_s * audio.RATE_HZ))
    wanted = Wanted(spec, with_waves, seed, machine.device, longest)
    n_rows = int(clips["split"].map(_n_variants).sum())
    shape = (n_rows, spec.n_channels * spec.n_bands, spec.n_frames(longest))
    with Journal(directory, shape, (n_rows, longest) if with_waves else None) as journal:
        left = clips.iloc[len(journal.clips) :]
        calls = ((*call, hashes[str(call[0])]) for call in clip_calls(left, lists, wanted))
        results = run_calls(hear_clip, calls, machine)
        bar = track(results, "prepare", len(clips), len(journal.clips))
        for path, heard in zip(left["path"], bar, strict=True):
            if heard.rows[0]["silent"]:
                raise InputError(
                    f"{lists / path}: is too soft to be heard ({spec.name} is {spec.floor:g} "
                    "throughout); make it louder or take it out"
                )
            journal.add(heard.features, heard.waves, heard.rows)
        rows = [
            {**clip, **row}
            for clip, made in zip(clips.to_dict("records"), journal.clips, strict=True)
            for row in made
        ]
    on_grid = table["trial"].notna().any()  # folds have a run but no place in it
    store.write(
        directory,
        pd.DataFrame(rows).reset_index(names="row"),
        meta_of("audio", spec, sorted(set(clips["genre"]))),
        table.drop(columns=["path", DROPPED]) if on_grid else None,
    )
    return [f"{row['clip']} ({row['name']})" for row in rows if row["silent"]]


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
