"""Features that were computed elsewhere: one array (frames, units) per stage and sound, with times.

A folder contains, for each sound, one of

* ``STAGE/SOUND.npy``, with ``frame_s`` and ``first_frame_s`` in ``SOUND.json`` beside it, or in
  ``features.json`` in the same folder or a folder above, up to the one that was named;
* ``SOUND.npz``: one array per stage, and the numbers ``frame_s`` and ``first_frame_s``, or
  ``STAGE.frame_s`` and ``STAGE.first_frame_s``;
* ``SOUND.h5``: one dataset per stage, with the attributes ``frame_s`` and ``first_frame_s``, which
  may be those of the file.

SOUND is the name of a sound file without its suffix. ``.npy`` files directly in the folder are of
one stage, named after the folder.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import check_size, open_array, read_json, read_npz, readable
from neuromusic.core.folders import find_files, nfc
from neuromusic.features.timed import Timed

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")
COMMON = "features.json"
MOST_BYTES = 8_000_000_000  # of the file of one sound
KEYS = ("frame_s", "first_frame_s")
EXPECTED = "a folder of features (.npy with JSON, .npz or .h5)"


@dataclass(frozen=True)
class FeatureFolder:
    """Features of sounds in a folder.

    Parameters
    ----------
    directory : Path
        The folder.
    files : dict
        Name of a sound without suffix -> its files: stage -> .npy file, or "" -> the one file with
        all stages.
    stages : list of str
        Names of the stages, sorted.
    """

    directory: Path
    files: Mapping[str, Mapping[str, Path]]
    stages: list[str]

    @property
    def paths(self) -> list[Path]:
        """All files that contain features."""
        return [path for each in self.files.values() for path in each.values()]

    def read(self, sound: str) -> dict[str, Timed]:
        """Return stage -> features of a sound, named with or without its suffix.

        Raises InputError if the folder has none, a stage is missing, or an array is not finite or
        not (frames, units).
        """
        of_sound = self.files.get(nfc(Path(sound).stem))
        if of_sound is None:
            raise InputError(
                f"{self.directory}: has no features of {sound}; it has {listed(self.files)}"
            )
        found: dict[str, Timed] = {}
        for stage, path in of_sound.items():
            found |= _read_npy(path, stage, self.directory) if stage else _read_all(path)
        for stage in self.stages:
            if stage not in found:
                raise InputError(
                    f"{next(iter(of_sound.values()))}: lacks stage {stage}, which other sounds have"
                )
        return {stage: found[stage] for stage in self.stages}


def open_features(directory: Path) -> FeatureFolder:
    """Find features in a folder; the stages are those of the first sound.

    Raises InputError if there are none, or two files are of the same sound and stage.
    """
    directory = Path(directory)
    found = find_files(directory, lambda name: name.lower().endswith(SUFFIXES), EXPECTED)
    if not found.files:
        raise InputError(f"{directory}: contains no features; expected {EXPECTED}")
    files: dict[str, dict[str, Path]] = {}
    for path in found.files:
        stage = ""
        if path.suffix.lower() == ".npy":
            parent = path.parent.relative_to(directory)
            stage = parent.as_posix() if parent.parts else directory.name
        of_sound = files.setdefault(nfc(path.stem), {})
        if stage in of_sound or (of_sound and (stage == "") != ("" in of_sound)):
            other = next(iter(of_sound.values()))
            raise InputError(f"{path}: has the features of the same sound as {other}; keep one")
        of_sound[stage] = path
    first = next(iter(files.values()))
    stages = sorted(first if "" not in first else _read_all(first[""]))
    return FeatureFolder(directory, files, stages)


# --- Files ----------------------------------------------------------------------------------------


def _read_npy(path: Path, stage: str, top: Path) -> dict[str, Timed]:
    values = open_array(path)
    return {stage: _timed(values, _times_beside(path, top), str(path))}


def _times_beside(path: Path, top: Path) -> dict[str, Any]:
    """Return the times in the JSON files of an .npy file; the nearest file has precedence."""
    times: dict[str, Any] = {}
    folders = [folder for folder in path.parents if folder == top or top in folder.parents]
    for candidate in (path.with_suffix(".json"), *(folder / COMMON for folder in folders)):
        if candidate.is_file():
            content = read_json(candidate, "expected frame_s and first_frame_s")
            if not isinstance(content, dict):
                raise InputError(f"{candidate}: is not a JSON object with frame_s, first_frame_s")
            times = {**content, **times}
    return times


def _read_all(path: Path) -> dict[str, Timed]:
    """Return stage -> features from a file with all stages."""
    is_npz = path.suffix.lower() == ".npz"
    arrays, times_of = (_npz_arrays if is_npz else _hdf5_arrays)(path)
    if not arrays:
        raise InputError(f"{path}: contains no array (frames, units)")
    return {
        stage: _timed(values, times_of(stage), f"{path}, {stage}")
        for stage, values in arrays.items()
    }


Arrays = tuple[dict[str, NDArray[Any]], Callable[[str], dict[str, Any]]]


def _npz_arrays(path: Path) -> Arrays:
    content = read_npz(path)
    numbers = {key: value.item() for key, value in content.items() if value.ndim == 0}

    def times_of(stage: str) -> dict[str, Any]:
        own = {key: numbers.get(f"{stage}.{key}", numbers.get(key)) for key in KEYS}
        return {key: value for key, value in own.items() if value is not None}

    return {key: value for key, value in content.items() if value.ndim > 0}, times_of


def _hdf5_arrays(path: Path) -> Arrays:
    import h5py

    check_size(path, MOST_BYTES, "features of a sound")
    arrays, times = {}, {}
    with readable(path, "HDF5 file"), h5py.File(path) as file:
        for stage in file:
            item = file[stage]
            if not isinstance(file.get(stage, getlink=True), h5py.HardLink):
                raise ValueError(f"{stage} is a link to another file")
            if not isinstance(item, h5py.Dataset) or item.external is not None or item.is_virtual:
                raise ValueError(f"{stage} is not an array in this file")
            if item.nbytes > MOST_BYTES:
                raise ValueError(f"{stage} unpacks to more than {MOST_BYTES / 1e9:g} GB")
            arrays[stage] = np.asarray(item[()])
            attributes = {**dict(file.attrs), **dict(item.attrs)}
            times[stage] = {key: attributes[key].item() for key in KEYS if key in attributes}
    return arrays, times.__getitem__


def _timed(values: NDArray[Any], times: Mapping[str, Any], where: str) -> Timed:
    """Return features with their times; raise InputError, starting with ``where``, if they differ.

    Frames are expected to be the first axis.
    """
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise InputError(
            f"{where}: has the shape {values.shape} and type {values.dtype}; expected numbers "
            "(frames, units)"
        )
    for key in KEYS:
        value: Any = times.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not np.isfinite(value) or (key == "frame_s" and value <= 0):
            raise InputError(
                f"{where}: {key} is {json.dumps(value, default=str)}; expected seconds, in a JSON "
                f"file beside an .npy file ({COMMON} for all), or in the .npz or HDF5 file"
            )
    if not np.isfinite(values).all():
        frame, unit = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"{where}: frame {frame}, unit {unit} is {values[frame, unit]}")
    return Timed(np.asarray(values, np.float32), float(times[KEYS[0]]), float(times[KEYS[1]]))
