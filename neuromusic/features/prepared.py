"""PreparedSet: the features of all clips and variants on disk, one row each, memory-mapped.

A prepared set is a directory. ``features.npy`` (rows, channels x bands, frames) float16 holds the
features; a row is valid up to its number of ``frames``, and the rest of it is never read.
``waves.npy`` (rows, samples) int16, valid up to ``samples``, exists if the samples were kept.
``rows.tsv`` describes the rows, ``prepared.json`` how the features were computed (`SetMeta`), and
``presentations.tsv`` lists the presentations if the clips are part of scanner runs.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import (
    check_file_name,
    check_reachable,
    open_array,
    read_json,
)
from neuromusic.core.records import read_record
from neuromusic.core.tables import read_table
from neuromusic.features.frontends.base import STAGES, STAGES_FLOOR, frames_with_sound, front_end
from neuromusic.features.meta import SetMeta
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.stimuli.variants import VARIANTS

FEATURES = "features.npy"
WAVES = "waves.npy"
ROWS = "rows.tsv"
META = "prepared.json"
PRESENTATIONS = "presentations.tsv"
REMEDY = "prepare it again"

ROW_COLUMNS = (
    "row", "clip", "genre", "track", "split", "run", "trial", "variant", "name", "parameters",
    "frames", "samples",
)  # fmt: skip


@dataclass(frozen=True)
class PreparedSet:
    """A prepared set, opened for reading.

    Attributes
    ----------
    directory : Path
        The directory of the set.
    features : array (rows, channels x bands, frames)
        Input of a network, memory-mapped; see `row_features` for the valid part of a row.
    rows : pandas.DataFrame
        One line per row: clip, genre, track, split, run, trial, variant, its name and parameters,
        and the number of valid frames (and samples).
    meta : SetMeta
        How the features were computed.
    presentations : pandas.DataFrame or None
        Presentations of the clips in scanner runs, if they are part of any.
    waves : int16 array (rows, samples) or None
        The samples of each row, memory-mapped, if they were kept.
    scale : float
        Factor from the values in ``features`` to the units of the network's input.
    normalise_clips : bool
        Whether `row_features` normalises each row to mean 0 and standard deviation 1.

    Raises
    ------
    InputError
        By `open_prepared`, which makes it, if the directory is not a complete prepared set; and
        when a row is read that the disk no longer gives.

    Examples
    --------
    >>> import neuromusic as nm
    >>> prepared = nm.open_prepared("prepared_npz")
    >>> prepared.row_features(0).shape
    (64, 97)
    """

    directory: Path
    features: NDArray[Any]
    rows: pd.DataFrame
    meta: SetMeta
    presentations: pd.DataFrame | None
    waves: NDArray[np.int16] | None = None
    scale: float = 1.0
    normalise_clips: bool = False

    def __repr__(self) -> str:
        rows, bands, frames = self.features.shape
        n_clips = self.rows["clip"].nunique()
        return (
            f"PreparedSet({str(self.directory)!r}: {rows} rows of {n_clips} clips, "
            f"{self.meta.front_end_name} {bands} x {frames}, {len(self.classes)} classes)"
        )

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the labels."""
        return list(self.meta.classes)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.meta.frame_s

    @property
    def floor(self) -> float | None:
        """Value of all features in a silent frame; None if they were precomputed elsewhere."""
        if self.meta.source == "features":
            return None
        if self.meta.front_end_name == STAGES:
            return STAGES_FLOOR
        return 0.0 if self.meta.front_end_name == "wave" else front_end(**self.meta.front_end).floor

    def as_input(self, kind: str, *, normalise_clips: bool) -> "PreparedSet":
        """Return the set in the form that a network takes as input.

        With the kind "bands" these are the features; with "wave" the samples, as one channel with
        one band and one frame per sample, scaled to -1..1.

        Raises InputError for "wave" if the set has no waves.
        """
        form = self._with_samples_as_features() if kind == "wave" else self
        return replace(form, normalise_clips=normalise_clips)

    def _with_samples_as_features(self) -> "PreparedSet":
        if self.waves is None:
            raise InputError(
                f"{self.directory}: has no waves, but the network takes samples; prepare it again "
                "with waves=True (neuromusic prepare --waves)"
            )
        meta = replace(
            self.meta, front_end={"name": "wave"}, frame_s=1 / RATE_HZ, n_channels=1, n_bands=1
        )
        rows = self.rows.assign(frames=self.rows["samples"].astype(int))
        return replace(self, features=self.waves[:, None], rows=rows, meta=meta, scale=1 / 2**15)

    def check_readable(self) -> None:
        """Read the arrays once, before a long computation begins.

        A failing disk or network then raises an OSError that names the file. A page of a mapped
        file that cannot be read would instead kill the process with SIGBUS, without a message. The
        kernel caches what was read as long as there is memory.
        """
        for name in (FEATURES, WAVES):
            check_reachable(self.directory / name)

    def row_features(self, row: int) -> NDArray[np.float32]:
        """Return the valid part of a row, (channels x bands, frames) float32."""
        x = self._valid_part(row).astype(np.float32)
        if self.scale != 1:
            x *= np.float32(self.scale)
        return normalise_clip(x) if self.normalise_clips else x

    def row_of_clip(self) -> dict[str, int]:
        """Return clip -> row of its original."""
        rows = self.rows[self.rows["variant"] == 0]
        return dict(zip(rows["clip"], rows["row"].astype(int), strict=True))

    def frames_with_sound(self, row: int) -> NDArray[np.bool_]:
        """Return which valid frames of a row contain sound, (frames,)."""
        return frames_with_sound(self._valid_part(row), self.floor)

    def may_contain_silence(self, rows: NDArray[np.int64], n_frames: int) -> NDArray[np.bool_]:
        """Return for each row whether ``n_frames`` successive frames may be silent.

        False is certain; True has to be checked with `frames_with_sound`. This quick test reads
        one band, at two frames per ``n_frames``: enough to rule out silence in most music.
        """
        if self.floor is None:
            return np.zeros(len(rows), dtype=np.bool_)
        step = max(1, n_frames // 2)
        probe = self.features[rows, self.features.shape[1] // 2, ::step]
        frame = np.arange(probe.shape[1]) * step
        valid = frame < self.rows["frames"].to_numpy()[rows][:, None]
        return np.asarray((valid & (probe == self.floor)).any(1))

    def _valid_part(self, row: int) -> NDArray[Any]:
        return self.features[row, :, : self.rows["frames"].iat[row]]


def normalise_clip(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a clip (bands, frames) with mean 0 and standard deviation 1 over all its values."""
    out: NDArray[np.float32] = (x - x.mean()) / max(float(x.std()), 1e-6)
    return out


def clip_with_all_variants(data: PreparedSet) -> pd.DataFrame | None:
    """Return the rows of the first clip that has all variants; None if there is none."""
    last = data.rows[data.rows["variant"] == len(VARIANTS) - 1]
    if last.empty:
        return None
    return data.rows[data.rows["clip"] == last["clip"].iat[0]].sort_values("variant")


# --- Writing --------------------------------------------------------------------------------------


def write_tables(
    directory: Path, rows: pd.DataFrame, meta: SetMeta, presentations: pd.DataFrame | None
) -> None:
    """Write all files of a prepared set except the arrays."""
    rows[list(ROW_COLUMNS)].to_csv(
        directory / ROWS, sep="\t", index=False, na_rep="n/a", lineterminator="\n"
    )
    (directory / META).write_text(
        json.dumps(meta.to_json(), indent=2) + "\n", "utf-8", newline="\n"
    )
    if presentations is not None:
        presentations.to_csv(
            directory / PRESENTATIONS, sep="\t", index=False, na_rep="n/a", lineterminator="\n"
        )


# --- Reading --------------------------------------------------------------------------------------


def as_prepared(prepared: PreparedSet | Path | str) -> PreparedSet:
    """Return a prepared set, opened first if its directory is given."""
    return prepared if isinstance(prepared, PreparedSet) else open_prepared(prepared)


def open_prepared(directory: Path | str) -> PreparedSet:
    """Open a prepared set.

    Parameters
    ----------
    directory : Path or str
        Output of `neuromusic.prepare` or `neuromusic.prepare_features`.

    Returns
    -------
    PreparedSet
        The set; its arrays are mapped into memory, not read.

    Raises
    ------
    InputError
        If the directory is not a prepared set, is incomplete, or has files that are damaged or do
        not fit together.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.open_prepared("prepared_npz").rows["split"].value_counts().to_dict()
    {'train': 30, 'test': 20}
    """
    directory = Path(directory)
    record = read_record(directory)
    if record is None or record.get("command") != "prepare":
        raise InputError(f"{directory}: is not a prepared set; make one with 'neuromusic prepare'")
    try:
        features = open_array(directory / FEATURES, REMEDY)
        waves = open_array(directory / WAVES, REMEDY) if (directory / WAVES).is_file() else None
        rows = _read_rows(directory / ROWS)
        content = read_json(directory / META, REMEDY)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: is missing; {REMEDY}") from None
    meta = SetMeta.from_json(content, str(directory / META), REMEDY)
    if features.ndim != 3 or features.shape[:2] != (len(rows), meta.n_channels * meta.n_bands):
        raise InputError(
            f"{directory / FEATURES}: has the shape {features.shape}; expected {len(rows)} rows, "
            f"as in {ROWS}, of {meta.n_channels * meta.n_bands} bands; {REMEDY}"
        )
    _check_rows(directory / ROWS, rows, meta.classes, features.shape[2], waves)
    presentations = None
    if (directory / PRESENTATIONS).is_file():
        presentations = read_table(directory / PRESENTATIONS, remedy=REMEDY, na_values="n/a")
    return PreparedSet(directory, features, rows, meta, presentations, waves)


def _read_rows(path: Path) -> pd.DataFrame:
    rows = read_table(
        path,
        columns=ROW_COLUMNS,
        remedy=REMEDY,
        na_values="n/a",
        keep_default_na=False,
        dtype={"run": "Int64", "trial": "Int64", "clip": str, "genre": str, "track": str},
    )
    for name in rows["clip"].unique():
        check_file_name(name, f"{path}, clip")
    return rows


def _check_rows(
    path: Path, rows: pd.DataFrame, classes: list[str], n_frames: int, waves: NDArray[Any] | None
) -> None:
    """Raise InputError, naming the row, if rows.tsv does not fit the arrays."""
    fits = {
        "row": rows["row"] == np.arange(len(rows)),
        "genre": rows["genre"].isin(classes),
        "frames": _whole_numbers(rows["frames"], 1, n_frames),
    }
    if waves is not None:
        if waves.ndim != 2 or len(waves) != len(rows):
            raise InputError(
                f"{path.parent / WAVES}: has the shape {waves.shape}; expected {len(rows)} rows; "
                f"{REMEDY}"
            )
        fits["samples"] = _whole_numbers(rows["samples"], 0, waves.shape[1])
    for column, good in fits.items():
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise InputError(
                f"{path}, row {row + 1}: {column} {rows[column].iat[row]} does not fit the "
                f"set; {REMEDY}"
            )


def _whole_numbers(column: pd.Series, low: int, high: int) -> "pd.Series[bool]":
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers.between(low, high) & (numbers % 1 == 0)
