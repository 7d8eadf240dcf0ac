"""Stimulus lists and audio, or ready-made log-mel, to a prepared set."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, store
from neuromusic.errors import InputError
from neuromusic.features import MelSpec, log_mel, sounding
from neuromusic.orders import Order, presentations
from neuromusic.progress import track
from neuromusic.stimuli import read_lists

CLIP_COLUMNS = ["clip", "genre", "track", "split", "run", "trial", "path"]


def unique_clips(lists: pd.DataFrame) -> pd.DataFrame:
    """Return one row a clip of a split, at its first presentation that is no dummy."""
    played = lists[lists["trial"].isna() | (lists["trial"] > 0)]
    clips = played.drop_duplicates(["split", "clip"])[CLIP_COLUMNS].reset_index(drop=True)
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


def _variant_features(
    path: Path, clip: str, variants: range, seed: int
) -> list[tuple[NDArray[np.float16], dict[str, Any]]]:
    return [
        (log_mel(wave).astype(np.float16), parameters)
        for wave, parameters in variant_waves(path, clip, variants, seed)
    ]


def prepare_audio(lists: Path, directory: Path, seed: int, workers: int) -> list[str]:
    """Write the log-mel of every clip and variant of stimulus lists into a directory.

    One pass over the clips; no sound is written. Rows of clips that the lists lack (path n/a, from
    ``lists --allow-missing``) are left out. Returns the names of the variants in which nothing
    sounds; they are kept, but never trained on. Raises InputError for an unusable sound file.
    """
    from neuromusic.augment import VARIANTS

    table = read_lists(lists)
    clips = unique_clips(table[table["path"].notna()])
    if clips.empty:
        raise InputError(f"{lists}: no clip of the lists is there")
    spec = MelSpec()
    n_variants = np.where(clips["split"] == "train", len(VARIANTS), 1)
    longest_s = max(audio.duration_s(lists / path) for path in clips["path"])
    n_frames = 1 + int(np.ceil(longest_s * audio.RATE_HZ)) // spec.hop
    features = np.lib.format.open_memmap(
        directory / "features.npy",
        mode="w+",
        dtype=np.float16,
        shape=(int(n_variants.sum()), spec.n_mels, n_frames),
    )
    rows: list[dict[str, Any]] = []
    silent: list[str] = []
    results = map_variants(clips, lists, seed, _variant_features, workers)
    for clip, made in zip(
        clips.to_dict("records"), track(results, "prepare", len(clips)), strict=True
    ):
        for variant, (mel, parameters) in enumerate(made):
            mel = mel[:, :n_frames]  # resampling may round a length up by one sample
            if not sounding(mel, spec.floor_db).any():
                if variant == 0:
                    raise InputError(
                        f"{lists / clip['path']}: never rises above {spec.floor_db:g} dB; make it "
                        "louder or take it out"
                    )
                silent.append(f"{clip['clip']} ({VARIANTS[variant]})")
            features[len(rows), :, : mel.shape[1]] = mel
            rows.append(
                {
                    **clip,
                    "row": len(rows),
                    "variant": variant,
                    "name": VARIANTS[variant],
                    "parameters": json.dumps(parameters),
                    "frames": mel.shape[1],
                }
            )
    features.flush()
    meta = {
        "source": "audio",
        "mel": spec.as_dict(),
        "frame_s": spec.frame_s,
        "n_mels": spec.n_mels,
        "classes": sorted(set(clips["genre"])),
    }
    on_grid = table["trial"].notna().any()  # folds have a run but no place in it
    store.write(
        directory, pd.DataFrame(rows), meta, table.drop(columns="path") if on_grid else None
    )
    return silent


def prepare_features(train: Path, test: Path | None, directory: Path) -> None:
    """Write ready-made log-mel from .npz files into a directory; there are no variants.

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
    features = np.lib.format.open_memmap(
        directory / "features.npy", mode="w+", dtype=np.float16, shape=(total, *shape[1:])
    )
    rows: list[dict[str, Any]] = []
    for split, (_, part) in zip(("train", "test"), parts, strict=False):
        for index, mel in enumerate(part["features"]):
            features[len(rows)] = mel
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
                }
            )
    features.flush()
    table = pd.DataFrame(rows).astype({"run": "Int64", "trial": "Int64"})
    meta = {
        "source": "features",
        "frame_s": float(first["frame_s"]),
        "n_mels": shape[1],
        "classes": sorted(set(table["genre"])),
    }
    store.write(directory, table, meta, _presentations(table))


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    wanted = ("features", "clip", "genre", "frame_s")
    try:
        with np.load(path, allow_pickle=False) as file:
            part = {key: file[key] for key in (*wanted, "run", "trial") if key in file.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
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
