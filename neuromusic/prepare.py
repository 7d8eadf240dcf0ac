"""Stimulus lists and audio, or ready-made log-mel, to a prepared set."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, store
from neuromusic.auditory import ModulationSpec
from neuromusic.errors import InputError
from neuromusic.features import FrontEnd, MelSpec, describe, sounding
from neuromusic.orders import Order, presentations
from neuromusic.progress import track
from neuromusic.stimuli import DROPPED, read_lists
from neuromusic.untrusted import check_file_name, check_zip

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
        wave = audio.read(path)
        for variant in variants:
            parameters = augment.draw(seed, clip, variant)
            yield augment.apply(wave, variant, parameters), parameters
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
    features = _new_array(directory / "features.npy", np.float16, shape)
    waves = None
    if with_waves:
        waves = _new_array(directory / "waves.npy", np.int16, (shape[0], longest))
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
    meta = _meta("audio", spec, sorted(set(clips["genre"])))
    on_grid = table["trial"].notna().any()  # folds have a run but no place in it
    store.write(
        directory,
        pd.DataFrame(rows),
        meta,
        table.drop(columns=["path", DROPPED]) if on_grid else None,
    )
    return silent


def _new_array(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


def _meta(source: str, spec: FrontEnd, classes: list[str]) -> dict[str, Any]:
    return {
        "source": source,
        "front_end": describe(spec),
        "frame_s": spec.frame_s,
        "n_channels": spec.n_channels,
        "n_bands": spec.n_bands,
        "classes": classes,
    }


def prepare_features(train: Path, test: Path | None, directory: Path, name: str = "logmel") -> None:
    """Write ready-made log-mel from .npz files into a directory; there are no variants.

    As it is, or with the front end ``name`` "modulation" its modulation; it gives no other.

    Each file holds ``features`` (clips, n_mels, frames) in dB, ``clip`` and ``genre`` (clips,),
    ``frame_s`` (), and for clips with a place in the experiment ``run`` and ``trial``.
    Raises InputError for anything else.
    """
    parts = [(path, _read_npz(path)) for path in (train, test) if path is not None]
    first = parts[0][1]
    shape = first["features"].shape
    for path, part in parts[1:]:
        if part["features"].shape[1:] != shape[1:] or part["frame_s"] != first["frame_s"]:
            raise InputError(f"{path}: differs in bands, frames or frame_s from {train}")
        new = sorted(set(part["genre"]) - set(first["genre"]))
        if new:
            raise InputError(f"{path}: has the genre {new[0]!r}, which {train} lacks")
        both = sorted(set(part["clip"]) & set(first["clip"]))
        if both:
            raise InputError(f"{path}: {both[0]} is in {train} too")
    total = sum(len(part["features"]) for _, part in parts)
    frame_s = float(first["frame_s"])
    modulation = None
    if name == ModulationSpec.name:
        modulation = ModulationSpec(mel_frame_s=frame_s, n_mels=shape[1])
        n_rows = modulation.n_channels * modulation.n_bands
        shape = (shape[0], n_rows, modulation.n_frames_of_mel(shape[2]))
    elif name != MelSpec.name:
        raise InputError(f"--front-end {name}: cannot be made of log-mel; prepare it from sound")
    features = np.lib.format.open_memmap(
        directory / "features.npy", mode="w+", dtype=np.float16, shape=(total, *shape[1:])
    )
    rows: list[dict[str, Any]] = []
    for split, (_, part) in zip(("train", "test"), parts, strict=False):
        for index, mel in enumerate(track(part["features"], "prepare", len(part["features"]))):
            features[len(rows)] = modulation.rows_of_mel(mel) if modulation else mel
            clip = str(part["clip"][index])
            rows.append(
                {
                    "row": len(rows),
                    "clip": clip,
                    "genre": str(part["genre"][index]),
                    "track": clip.rsplit("_", 1)[0],
                    "split": split,
                    "run": part["run"][index] if "run" in part else None,
                    "trial": part["trial"][index] if "trial" in part else None,
                    "variant": 0,
                    "name": "original",
                    "parameters": "{}",
                    "frames": shape[2],
                    "samples": None,
                }
            )
    features.flush()
    table = pd.DataFrame(rows).astype({"run": "Int64", "trial": "Int64"})
    classes = sorted(set(table["genre"]))
    if modulation:
        meta = _meta("features", modulation, classes)
    else:
        meta = {
            "source": "features",
            "front_end": {"name": MelSpec.name},
            "frame_s": frame_s,
            "n_channels": 1,
            "n_bands": shape[1],
            "classes": classes,
        }
    store.write(directory, table, meta, _presentations(table))


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    wanted = ("features", "clip", "genre", "frame_s")
    try:
        check_zip(path)
        with np.load(path, allow_pickle=False) as file:
            part = {key: file[key] for key in (*wanted, "run", "trial") if key in file.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except Exception as error:  # zipfile, numpy and zlib each have their own
        raise InputError(f"{path}: is no readable .npz file ({error})") from None
    lacking = [key for key in wanted if key not in part]
    if lacking:
        raise InputError(f"{path}: has no array {', '.join(lacking)}; expected {' '.join(wanted)}")
    features = part["features"]
    if features.ndim != 3 or features.dtype.kind != "f" or 0 in features.shape:
        raise InputError(
            f"{path}: features has the shape {features.shape} and type {features.dtype}; "
            "expected floats (clips, n_mels, frames)"
        )
    for key in set(part) - {"features", "frame_s"}:
        if part[key].shape != (len(features),):
            raise InputError(
                f"{path}: {key} has {part[key].size} entries for {len(features)} clips"
            )
    for key in ("clip", "genre"):
        for name in set(part[key].tolist()):
            check_file_name(name, f"{path}, {key}")
    broken = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
    if len(broken):
        raise InputError(f"{path}: row {broken[0] + 1} ({part['clip'][broken[0]]}) holds NaN")
    if part["frame_s"].size != 1 or not float(part["frame_s"]) > 0:
        raise InputError(f"{path}: frame_s is {part['frame_s']}; expected seconds above 0")
    return part


def _presentations(rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the presentations of the training order if the rows are whole runs of it."""
    train = rows[(rows["split"] == "train") & rows["run"].notna() & rows["trial"].notna()]
    if train.empty:
        return None
    grid = train.pivot_table(index="run", columns="trial", values="clip", aggfunc=list)
    one_each = grid.map(lambda cell: isinstance(cell, list) and len(cell) == 1)
    whole = one_each.to_numpy().all() and list(grid.index) == list(range(1, len(grid) + 1))
    if not whole or list(grid.columns) != list(range(1, grid.shape[1] + 1)):
        return None
    clips = np.array([[cell[0] for cell in line] for line in grid.to_numpy()])
    try:
        return presentations(Order("train", clips))
    except InputError:  # clips with other names than the experiment's have no time grid
        return None
