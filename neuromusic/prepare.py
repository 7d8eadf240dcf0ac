"""Stimulus lists and sound to a prepared set."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, store
from neuromusic.errors import InputError
from neuromusic.features import FrontEnd, describe, sounding
from neuromusic.progress import track
from neuromusic.stimuli import DROPPED, read_lists

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


def map_variants(
    clips: pd.DataFrame, root: Path, seed: int, function: Callable[..., Any], workers: int
) -> Iterator[Any]:
    """Call ``function(path, clip, variants, seed)`` for every clip, in order, in ``workers``.

    Training clips have all ten variants; nothing else is ever augmented.
    """
    from joblib import Parallel, delayed

    from neuromusic.augment import VARIANTS

    calls = (
        delayed(function)(
            root / row.path, row.clip, range(len(VARIANTS) if row.split == "train" else 1), seed
        )
        for row in clips.itertuples()
    )
    return Parallel(n_jobs=workers, return_as="generator", batch_size=1)(calls)


def variant_waves(
    path: Path, clip: str, variants: range, seed: int
) -> Iterator[tuple[NDArray[np.float32], dict[str, Any]]]:
    """Yield (wave, parameters) of the variants of a clip; torch keeps to one thread meanwhile."""
    import torch

    from neuromusic import augment

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the sums must not depend on the number of threads
    try:
        source = augment.Source(audio.read(path))
        for variant in variants:
            parameters = augment.draw(seed, clip, variant)
            yield augment.apply(source, variant, parameters).numpy(), parameters
    finally:
        torch.set_num_threads(threads)


Heard = tuple[NDArray[np.float16], NDArray[np.int16], dict[str, Any]]  # rows, samples, parameters


def _hear_variants(
    path: Path, clip: str, variants: range, seed: int, spec: FrontEnd, with_waves: bool
) -> list[Heard]:
    heard = []
    for wave, parameters in variant_waves(path, clip, variants, seed):
        samples = (
            np.clip(np.round(wave * 2**15), -(2**15), 2**15 - 1) if with_waves else np.empty(0)
        )
        heard.append((spec.rows_of(wave).astype(np.float16), samples.astype(np.int16), parameters))
    return heard


def prepare_audio(
    lists: Path, directory: Path, spec: FrontEnd, with_waves: bool, seed: int, workers: int
) -> list[str]:
    """Write what a front end makes of every clip and variant of stimulus lists into a directory.

    And, ``with_waves``, the samples. One pass over the clips; no sound is written. Rows of clips
    that the lists lack (path n/a, from ``lists --allow-missing``) are left out. Returns the names
    of the variants in which nothing sounds; they are kept, but never trained on. Raises InputError
    for an unusable sound file.
    """
    from neuromusic.augment import VARIANTS

    table = read_lists(lists)
    clips = unique_clips(table[table["path"].notna()])
    if clips.empty:
        raise InputError(f"{lists}: no clip of the lists is there")
    n_variants = np.where(clips["split"] == "train", len(VARIANTS), 1)
    longest_s = max(audio.duration_s(lists / path) for path in clips["path"])
    longest = int(np.ceil(longest_s * audio.RATE_HZ))
    shape = (int(n_variants.sum()), spec.n_channels * spec.n_bands, spec.n_frames(longest))
    features = store.new_array(directory / "features.npy", np.float16, shape)
    waves = None
    if with_waves:
        waves = store.new_array(directory / "waves.npy", np.int16, (shape[0], longest))
    rows: list[dict[str, Any]] = []
    silent: list[str] = []
    hear = partial(_hear_variants, spec=spec, with_waves=with_waves)
    results = map_variants(clips, lists, seed, hear, workers)
    for clip, made in zip(
        clips.to_dict("records"), track(results, "prepare", len(clips)), strict=True
    ):
        for variant, (heard, samples, parameters) in enumerate(made):
            # Resampling may round a length up by one sample.
            heard, samples = heard[:, : shape[2]], samples[:longest]
            if not sounding(heard, spec.floor).any():
                if variant == 0:
                    raise InputError(
                        f"{lists / clip['path']}: is too soft to be heard ({spec.name} is "
                        f"{spec.floor:g} throughout); make it louder or take it out"
                    )
                silent.append(f"{clip['clip']} ({VARIANTS[variant]})")
            features[len(rows), :, : heard.shape[1]] = heard
            if waves is not None:
                waves[len(rows), : len(samples)] = samples
            rows.append(
                {
                    **clip,
                    "row": len(rows),
                    "variant": variant,
                    "name": VARIANTS[variant],
                    "parameters": json.dumps(parameters),
                    "frames": heard.shape[1],
                    "samples": len(samples) if with_waves else None,
                }
            )
    meta = meta_of("audio", spec, sorted(set(clips["genre"])))
    on_grid = table["trial"].notna().any()  # folds have a run but no place in it
    store.write(
        directory,
        pd.DataFrame(rows),
        meta,
        table.drop(columns=["path", DROPPED]) if on_grid else None,
    )
    return silent


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
