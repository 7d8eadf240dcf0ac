"""The prepared set on disk: one row a clip and variant, memory-mapped.

``features.npy`` (rows, channels x bands, frames) float16; a row is valid up to its ``frames``, and
what lies beyond is never read. ``waves.npy`` (rows, samples) int16, where networks are to hear
samples, is valid up to ``samples``. ``rows.tsv`` says what each row is; ``prepared.json`` holds the
classes and how the features were made; ``presentations.tsv`` the lists, where the set has runs.
"""

import json
import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, ResourceError
from neuromusic.core.files import (
    check_file_name,
    check_reachable,
    is_unreachable,
    read_json,
    reading,
)
from neuromusic.core.outputs import NO_SPACE
from neuromusic.core.records import read_record
from neuromusic.features.frontends.base import frames_with_sound, front_end
from neuromusic.stimuli.audio import RATE_HZ

ROW_COLUMNS = (
    "row", "clip", "genre", "track", "split", "run", "trial", "variant", "name", "parameters",
    "frames", "samples",
)  # fmt: skip


@dataclass(frozen=True)
class PreparedSet:
    """A prepared set, opened for reading.

    ``meta`` has: source ("audio" or "features"), front_end (as features.describe), frame_s,
    n_channels, n_bands, classes.
    """

    directory: Path
    features: NDArray[Any]  # (rows, channels x bands, frames), memory-mapped
    rows: pd.DataFrame
    meta: dict[str, Any]
    presentations: pd.DataFrame | None
    waves: NDArray[np.int16] | None = None  # (rows, samples), memory-mapped
    scale: float = 1.0  # from what is stored to what a network hears
    per_clip: bool = False  # every row in units of its own deviation

    def check_readable(self) -> None:
        """Read the arrays once, before the long work begins.

        So a disk or a network that fails raises an OSError that names the file. Of a page that is
        mapped it would be a signal, SIGBUS, that ends the process without a word. The kernel keeps
        what was read as long as there is room.
        """
        for name in ("features.npy", "waves.npy"):
            check_reachable(self.directory / name)

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the labels."""
        return list(self.meta["classes"])

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return float(self.meta["frame_s"])

    @property
    def floor(self) -> float | None:
        """What every row of a silent frame holds; None for ready-made features."""
        if self.meta["source"] == "features":
            return None
        made_with = self.meta["front_end"]
        return 0.0 if made_with["name"] == "wave" else front_end(**made_with).floor

    def row_features(self, row: int) -> NDArray[np.float32]:
        """Return the valid part of a row, (channels x bands, frames) float32."""
        x = self.features[row, :, : self.rows["frames"].iat[row]].astype(np.float32)
        if self.scale != 1:
            x *= np.float32(self.scale)
        return normalise_clip(x) if self.per_clip else x

    def row_of_clip(self) -> dict[str, int]:
        """Return clip -> row of its original."""
        rows = self.rows[self.rows["variant"] == 0]
        return dict(zip(rows["clip"], rows["row"].astype(int), strict=True))

    def sounds(self, row: int) -> NDArray[np.bool_]:
        """Return which of the valid frames of a row hold sound, (frames,)."""
        return frames_with_sound(self.features[row, :, : self.rows["frames"].iat[row]], self.floor)

    def may_be_silent(self, rows: NDArray[np.int64], stretch: int) -> NDArray[np.bool_]:
        """Say of rows whether so many frames in a row may be silent; False is certain.

        One row of the input at one frame in every stretch tells, which is so of most music.
        """
        if self.floor is None:
            return np.zeros(len(rows), dtype=np.bool_)
        probe = self.features[rows, self.features.shape[1] // 2, :: max(1, stretch // 2)]
        inside = np.arange(probe.shape[1]) * max(1, stretch // 2)
        valid = inside < self.rows["frames"].to_numpy()[rows][:, None]
        return np.asarray((valid & (probe == self.floor)).any(1))

    def heard_as(self, kind: str, per_clip: bool) -> "PreparedSet":
        """Return the set as a network hears it: bands, or a wave as one band of many frames.

        Raises InputError for a wave where the set holds none.
        """
        if kind == "bands":
            return replace(self, per_clip=per_clip)
        if self.waves is None:
            raise InputError(
                f"{self.directory}: holds no waves, and this network hears samples; prepare it "
                "with 'neuromusic prepare --waves'"
            )
        frame_s = 1 / RATE_HZ
        meta = self.meta | {
            "front_end": {"name": "wave"}, "frame_s": frame_s, "n_channels": 1, "n_bands": 1,
        }  # fmt: skip
        rows = self.rows.assign(frames=self.rows["samples"].astype(int))
        return replace(
            self, features=self.waves[:, None], rows=rows, meta=meta, scale=1 / 2**15,
            per_clip=per_clip,
        )  # fmt: skip


def normalise_clip(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a clip (rows, frames) with mean 0 and deviation 1 over all of it."""
    out: NDArray[np.float32] = (x - x.mean()) / max(float(x.std()), 1e-6)
    return out


def new_array(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a new .npy file, mapped into memory, (shape) of ``dtype``, whose space is reserved.

    Without that, a write into the map of a full disk would kill the process without a word.
    Raises ResourceError where the space is not there.
    """
    bytes_needed = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
    try:
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise ResourceError(
            f"{path}: needs {bytes_needed / 2**20:.0f} MiB, "
            f"{shutil.disk_usage(path.parent).free / 2**20:.0f} MiB are free ({error.strerror}); "
            "make space, or choose a place with more"
        ) from None
    return array


def write(
    directory: Path,
    rows: pd.DataFrame,
    meta: dict[str, Any],
    presentations: pd.DataFrame | None,
) -> None:
    """Write everything but ``features.npy`` into the directory of a prepared set."""
    rows[list(ROW_COLUMNS)].to_csv(directory / "rows.tsv", sep="\t", index=False, na_rep="n/a")
    (directory / "prepared.json").write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    if presentations is not None:
        presentations.to_csv(directory / "presentations.tsv", sep="\t", index=False, na_rep="n/a")


def open_prepared(directory: Path) -> PreparedSet:
    """Open a prepared set; raise InputError if it is not there, unfinished or inconsistent."""
    directory = Path(directory)
    made = read_record(directory)
    if made is None or made.get("command") != "prepare":
        raise InputError(f"{directory}: is no prepared set; make one with 'neuromusic prepare'")
    try:
        features = _map(directory / "features.npy")
        with reading(directory / "rows.tsv"):
            rows = pd.read_csv(
                directory / "rows.tsv",
                sep="\t",
                na_values="n/a",
                keep_default_na=False,
                dtype={"run": "Int64", "trial": "Int64", "clip": str, "genre": str, "track": str},
            )
        meta = read_json(directory / "prepared.json", "prepare it again")
        waves = None
        if (directory / "waves.npy").is_file():
            waves = _map(directory / "waves.npy")
    except InputError:
        raise
    except (OSError, ValueError, EOFError) as error:
        if is_unreachable(error):
            raise
        file = getattr(error, "filename", None) or directory
        raise InputError(f"{file}: is damaged ({error}); prepare it again") from None
    _check_meta(directory / "prepared.json", meta)
    n_rows = meta["n_channels"] * meta["n_bands"]
    if features.ndim != 3 or features.shape[:2] != (len(rows), n_rows):
        raise InputError(
            f"{directory}: features.npy has the shape {features.shape} and rows.tsv {len(rows)} "
            "rows; prepare it again"
        )
    _check_rows(directory / "rows.tsv", rows, meta["classes"], features.shape[2], waves)
    table = directory / "presentations.tsv"
    try:
        with reading(table):
            shown = pd.read_csv(table, sep="\t", na_values="n/a") if table.is_file() else None
    except ValueError as error:
        raise InputError(f"{table}: is no readable table ({error}); prepare it again") from None
    return PreparedSet(directory, features, rows, meta, shown, waves)


def _map(path: Path) -> NDArray[Any]:
    """Map an array into memory; raise InputError where the file is not as long as its head says.

    What was cut short is found without reading it; `verify` reads all of it.
    """
    with reading(path), open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
        except ValueError as error:
            raise InputError(f"{path}: is damaged ({error}); prepare it again") from None
        expected = file.tell() + math.prod(shape) * dtype.itemsize
    size = path.stat().st_size
    if size != expected:
        raise InputError(
            f"{path}: is damaged ({size} bytes, and its head promises {expected}); prepare it again"
        )
    with reading(path):
        mapped: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return mapped


META: dict[str, type] = {
    "source": str, "front_end": dict, "frame_s": float, "n_channels": int, "n_bands": int,
    "classes": list,
}  # fmt: skip


def _check_meta(path: Path, meta: Any) -> None:
    """Raise InputError unless prepared.json has what PreparedSet reads of it."""
    if not isinstance(meta, dict):
        raise InputError(f"{path}: is no JSON object; prepare it again")
    for key, kind in META.items():
        if not isinstance(meta.get(key), kind):
            raise InputError(f"{path}: has no {key}, or another kind of it; prepare it again")
    for name in meta["classes"]:  # they become names of files, see fmri/glm.py
        check_file_name(name, f"{path}, classes")
    if not 0 < meta["frame_s"] < 60 or "name" not in meta["front_end"]:
        raise InputError(f"{path}: its frame_s or its front end is none; prepare it again")


def _check_rows(
    path: Path, rows: pd.DataFrame, classes: list[str], most: int, waves: NDArray[Any] | None
) -> None:
    """Raise InputError, naming the row, where rows.tsv does not fit the arrays beside it."""
    lacking = [column for column in ROW_COLUMNS if column not in rows]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; prepare it again")
    for name in rows["clip"].unique():
        check_file_name(name, f"{path}, clip")
    frames = pd.to_numeric(rows["frames"], errors="coerce")
    good = {
        "row": rows["row"] == np.arange(len(rows)),
        "genre": rows["genre"].isin(classes),
        "frames": frames.between(1, most) & (frames % 1 == 0),
    }
    if waves is not None:
        samples = pd.to_numeric(rows["samples"], errors="coerce")
        if waves.ndim != 2 or len(waves) != len(rows):
            raise InputError(f"{path}: waves.npy has the shape {waves.shape}; prepare it again")
        good["samples"] = samples.between(0, waves.shape[1]) & (samples % 1 == 0)
    for column, fits in good.items():
        if not fits.all():
            row = int(np.flatnonzero(~fits)[0])
            raise InputError(
                f"{path}, row {row + 1}: {column} {rows[column].iat[row]} does not fit the "
                "set; prepare it again"
            )
