"""Ready-made log-mel to a prepared set."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_file_name, check_reachable, check_zip
from neuromusic.core.progress import track
from neuromusic.design.orders import Order, presentations
from neuromusic.features import prepared
from neuromusic.features.build import meta_of
from neuromusic.features.frontends.mel import MelSpec
from neuromusic.features.frontends.modulation import ModulationSpec


def prepare_features(train: Path, test: Path | None, directory: Path, name: str = "logmel") -> None:
    """Write ready-made log-mel from .npz files into a directory; there are no variants.

    As it is, or with the front end ``name`` "modulation" its modulation; it gives no other.

    Each file holds ``features`` (clips, n_mels, frames) in dB, ``clip`` and ``genre`` (clips,),
    ``frame_s`` (), and for clips with a place in the experiment ``run`` and ``trial``.
    Raises InputError for anything else.
    """
    parts = _read_parts(train, test)
    first = parts["train"]
    shape = first["features"].shape
    total = sum(len(part["features"]) for part in parts.values())
    frame_s = float(first["frame_s"])
    modulation = None
    if name == ModulationSpec.name:
        modulation = ModulationSpec(mel_frame_s=frame_s, n_mels=shape[1])
        n_rows = modulation.n_channels * modulation.n_bands
        shape = (shape[0], n_rows, modulation.n_frames_of_mel(shape[2]))
    elif name != MelSpec.name:
        raise InputError(f"--front-end {name}: cannot be made of log-mel; prepare it from sound")
    features = prepared.new_array(directory / "features.npy", np.float16, (total, *shape[1:]))
    rows: list[dict[str, Any]] = []
    for split, part in parts.items():
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
    table = pd.DataFrame(rows).astype({"run": "Int64", "trial": "Int64"})
    classes = sorted(set(table["genre"]))
    if modulation:
        meta = meta_of("features", modulation, classes)
    else:
        meta = {
            "source": "features",
            "front_end": {"name": MelSpec.name},
            "frame_s": frame_s,
            "n_channels": 1,
            "n_bands": shape[1],
            "classes": classes,
        }
    prepared.write(directory, table, meta, _presentations(table))


def _read_parts(train: Path, test: Path | None) -> dict[str, dict[str, NDArray[Any]]]:
    """Return what the file of each side holds; raise InputError where they do not go together."""
    first = _read_npz(train)
    if test is None:
        return {"train": first}
    part = _read_npz(test)
    shapes = [each["features"].shape[1:] for each in (first, part)]
    if shapes[0] != shapes[1] or part["frame_s"] != first["frame_s"]:
        raise InputError(f"{test}: differs in bands, frames or frame_s from {train}")
    new = sorted(set(part["genre"]) - set(first["genre"]))
    if new:
        raise InputError(f"{test}: has the genre {new[0]!r}, which {train} lacks")
    both = sorted(set(part["clip"]) & set(first["clip"]))
    if both:
        raise InputError(f"{test}: {both[0]} is in {train} too")
    return {"train": first, "test": part}


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
        check_reachable(path)
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
