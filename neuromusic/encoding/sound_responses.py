"""Responses to sounds without time: one value a sound and target, and the sounds they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import check_zip
from neuromusic.core.matlab import is_hdf5, read_arrays
from neuromusic.stimuli import audio

Floats = NDArray[np.float64]
Halves = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]  # training and test sounds of each

LEAST_SOUNDS = 20


@dataclass(frozen=True)
class Responses:
    """One value a sound and target.

    ``weights``, where there are some, make voxels of the targets: values @ weights.
    """

    sounds: list[str]
    targets: list[str]
    values: Floats  # (sounds, targets)
    weights: Floats | None = None  # (targets, voxels)

    @property
    def voxels(self) -> Floats:
        """Return the voxels (sounds, voxels); none of them without weights."""
        if self.weights is None:
            return np.zeros((len(self.sounds), 0))
        return self.values @ self.weights


def read_responses(path: Path) -> Responses:
    """Read responses from .mat, .npz or .tsv.

    * .mat (MATLAB 5): ``R`` (sounds x targets), ``stim_names`` (cell), and where they are there
      ``component_names`` (cell) and ``W`` (targets x voxels), as the natural-sound set has them.
    * .npz: ``responses``, ``sounds``, and where they are there ``targets`` and ``weights``.
    * .tsv: the first column the sound, a column a target.

    Raises InputError where something is missing, has another shape, or is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected responses as .mat, .npz or .tsv")
    readers = {".mat": _read_mat, ".npz": _read_npz, ".tsv": _read_tsv}
    if path.suffix not in readers:
        raise InputError(f"{path}: responses are read from {', '.join(readers)}")
    responses = readers[path.suffix](path)
    _check(responses, path)
    return responses


def _read_mat(path: Path) -> Responses:
    if is_hdf5(path):
        raise InputError(f"{path}: is MATLAB 7.3; save it with -v7")
    keys = ("R", "W", "stim_names", "component_names")
    return _made(path, read_arrays(path, (), optional=keys), keys)


def _read_npz(path: Path) -> Responses:
    keys = ("responses", "weights", "sounds", "targets")
    try:
        check_zip(path)
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in keys if key in file.files}
    except InputError:
        raise
    except Exception as error:  # zipfile, numpy and zlib each have their own
        raise InputError(f"{path}: is no readable .npz ({error})") from None
    return _made(path, found, keys)


def _made(path: Path, found: dict[str, Any], keys: tuple[str, str, str, str]) -> Responses:
    response, weight, sound, target = keys
    for key in (response, sound):
        if key not in found:
            raise InputError(f"{path}: has no {key}; expected {response} and {sound}")
    values = _numbers(found[response], f"{path}: {response}")
    if target in found:
        targets = _names(found[target], f"{path}: {target}")
    else:
        targets = [f"target-{index + 1}" for index in range(values.shape[1])]
    weights = _numbers(found[weight], f"{path}: {weight}") if weight in found else None
    return Responses(_names(found[sound], f"{path}: {sound}"), targets, values, weights)


def _read_tsv(path: Path) -> Responses:
    try:
        table = pd.read_csv(path, sep="\t", dtype={0: str})
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: is no readable TSV ({error})") from None
    if table.shape[1] < 2:
        raise InputError(f"{path}: has {table.shape[1]} columns; expected the sound and targets")
    values = table.iloc[:, 1:]
    for name in values.columns:
        if values[name].dtype.kind not in "fiu":
            raise InputError(f"{path}: column {name!r} holds text; expected numbers")
    if table.iloc[:, 0].isna().any():
        row = int(np.flatnonzero(table.iloc[:, 0].isna())[0])
        raise InputError(f"{path}: row {row + 2} names no sound")
    sounds = [str(name) for name in table.iloc[:, 0]]
    return Responses(sounds, [str(n) for n in values.columns], values.to_numpy(np.float64))


def _numbers(array: Any, where: str) -> Floats:
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{where} has the shape {array.shape} and type {array.dtype}; expected a matrix of "
            "real numbers"
        )
    return array.astype(np.float64)


def _names(array: Any, where: str) -> list[str]:
    names: list[str] = []
    for entry in np.asarray(array).ravel():
        # A cell holds an array of one text each.
        text = entry.item() if isinstance(entry, np.ndarray) and entry.size == 1 else entry
        if not isinstance(text, str):
            raise InputError(f"{where}: entry {len(names) + 1} is no text; expected names")
        names.append(text.strip())
    return names


def _check(responses: Responses, path: Path) -> None:
    n, values = len(responses.sounds), responses.values
    if values.shape != (n, len(responses.targets)):
        raise InputError(
            f"{path}: the responses are {values.shape[0]} x {values.shape[1]}, but there are {n} "
            f"sounds and {len(responses.targets)} targets"
        )
    if n < LEAST_SOUNDS:
        raise InputError(f"{path}: has {n} sounds; halves of them need at least {LEAST_SOUNDS}")
    for what, names in (("sound", responses.sounds), ("target", responses.targets)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{path}: names the {what} {twice[0]!r} twice; expected it once")
    if responses.weights is not None and responses.weights.shape[0] != values.shape[1]:
        raise InputError(
            f"{path}: the weights have {responses.weights.shape[0]} rows; expected one for each of "
            f"{values.shape[1]} targets"
        )
    if responses.weights is not None and not np.isfinite(responses.weights).all():
        row, voxel = np.argwhere(~np.isfinite(responses.weights))[0]
        raise InputError(
            f"{path}: the weight of {responses.targets[row]} in voxel {voxel + 1} is no number"
        )


def usable(responses: Responses, halves: Halves, path: Path) -> tuple[Responses, list[str], int]:
    """Leave out what cannot be scored: what has no value at all, or is constant in some half.

    Returns (the rest, the targets and the number of voxels that were left out). With weights every
    target is needed. Raises InputError for a target that lacks the value of some sounds, and where
    nothing is left.
    """
    values = responses.values
    finite = np.isfinite(values)
    partly = finite.any(0) & ~finite.all(0)
    if partly.any():
        target = int(np.flatnonzero(partly)[0])
        sound = responses.sounds[int(np.flatnonzero(~finite[:, target])[0])]
        raise InputError(
            f"{path}: {responses.targets[target]} has no value for {sound}; leave the sound or the "
            "target out"
        )
    good: NDArray[np.bool_] = np.all(finite, axis=0)
    good[good] = _varies(values[:, good], halves)
    if not good.any():
        raise InputError(f"{path}: no target has values that differ between sounds")
    left_out = [name for name, keep in zip(responses.targets, good, strict=True) if not keep]
    if responses.weights is None:
        kept = [name for name, keep in zip(responses.targets, good, strict=True) if keep]
        return Responses(responses.sounds, kept, values[:, good]), left_out, 0
    if left_out:
        raise InputError(
            f"{path}: {left_out[0]} is constant or has no values, so the voxels that the weights "
            "make of it would be wrong; leave the weights out, or the target in both"
        )
    voxels = _varies(responses.voxels, halves)
    kept_weights = responses.weights[:, voxels]
    return replace(responses, weights=kept_weights), [], int((~voxels).sum())


def _varies(values: Floats, halves: Halves) -> NDArray[np.bool_]:
    parts = [part for half in halves for part in half]
    scale = np.abs(values).max(0, initial=0.0)
    least = np.min([values[part].std(0) for part in parts], axis=0)
    varies: NDArray[np.bool_] = least > 1e-9 * scale
    return varies


def find_sounds(names: Sequence[str], directory: Path, where: Path) -> list[Path]:
    """Return the file of every sound: the one below a directory with that name or stem.

    Raises InputError for a sound without a file or with several.
    """
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: no such directory; expected a folder of sound files")
    there: dict[str, list[Path]] = {}
    for path in audio.sound_files(directory):
        for key in (path.name, path.stem):
            there.setdefault(key, []).append(path)
    if not there:
        raise InputError(f"{directory}: holds no sound files ({', '.join(audio.SUFFIXES)})")
    missing = [name for name in names if name not in there]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{directory}: has no sound {missing[0]!r}{more}, which {where} names"
            f"{did_you_mean(missing[0], there)}"
        )
    for name in names:
        if len(there[name]) > 1:
            first, second = there[name][:2]
            raise InputError(f"{first}: has the same name as {second}; {where} cannot mean both")
    return [there[name][0] for name in names]
