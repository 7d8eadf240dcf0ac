"""The prepared set on disk: one row a clip and variant, memory-mapped.

``features.npy`` (rows, n_mels, frames) float16 in dB; a row is valid up to its ``frames``, and what
lies beyond is never read. ``rows.tsv`` says what each row is; ``prepared.json`` holds the classes
and how the features were made; ``presentations.tsv`` the lists, where the set has runs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.errors import InputError
from neuromusic.features import sounding
from neuromusic.provenance import read_record

ROW_COLUMNS = (
    "row", "clip", "genre", "track", "split", "run", "trial", "variant", "name", "parameters",
    "frames",
)  # fmt: skip


@dataclass(frozen=True)
class PreparedSet:
    """A prepared set, opened for reading.

    ``meta`` has: source ("audio" or "features"), mel (arguments of features.MelSpec, audio only),
    frame_s, n_mels, classes.
    """

    directory: Path
    features: NDArray[np.float16]  # (rows, n_mels, frames), memory-mapped
    rows: pd.DataFrame
    meta: dict[str, Any]
    presentations: pd.DataFrame | None

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the labels."""
        return list(self.meta["classes"])

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return float(self.meta["frame_s"])

    @property
    def floor_db(self) -> float | None:
        """The level of digital silence in every band; None for ready-made features."""
        mel = self.meta.get("mel")
        return None if mel is None else float(mel["floor_db"])

    def row_features(self, row: int) -> NDArray[np.float32]:
        """Return the valid part of a row, (n_mels, frames) float32."""
        return self.features[row, :, : self.rows["frames"].iat[row]].astype(np.float32)

    def sounds(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which frames of rows hold sound, (rows, frames); none beyond a row's end."""
        frames = np.arange(self.features.shape[2])
        sounds = frames < self.rows["frames"].to_numpy()[rows][:, None]
        if self.floor_db is not None:
            # A middle band tells that nothing is silent, which is so of most music.
            middle = self.features[rows, self.features.shape[1] // 2]
            for index in np.flatnonzero((sounds & (middle <= self.floor_db)).any(1)):
                sounds[index] &= sounding(self.features[rows[index]], self.floor_db)
        return sounds


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
    if made is None or made["command"] != "prepare":
        raise InputError(f"{directory}: is no prepared set; make one with 'neuromusic prepare'")
    try:
        features = np.load(directory / "features.npy", mmap_mode="r", allow_pickle=False)
        rows = pd.read_csv(
            directory / "rows.tsv",
            sep="\t",
            na_values="n/a",
            keep_default_na=False,
            dtype={"run": "Int64", "trial": "Int64", "clip": str, "genre": str},
        )
        meta = json.loads((directory / "prepared.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{directory}: is damaged ({error}); prepare it again") from None
    if features.ndim != 3 or len(features) != len(rows) or features.shape[1] != meta["n_mels"]:
        raise InputError(
            f"{directory}: features.npy has the shape {features.shape} and rows.tsv {len(rows)} "
            "rows; prepare it again"
        )
    table = directory / "presentations.tsv"
    shown = pd.read_csv(table, sep="\t", na_values="n/a") if table.is_file() else None
    return PreparedSet(directory, features, rows, meta, shown)
