"""Responses to short sounds without time: one value per sound and target, and the sound files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import names_in, read_npz
from neuromusic.core.folders import check_present, is_same_file, nfc
from neuromusic.core.matlab import is_hdf5, read_arrays
from neuromusic.core.matlab_names import text_of
from neuromusic.core.tables import numbers, read_table
from neuromusic.stats.resampling import random_halves
from neuromusic.stimuli import audio
from neuromusic.stimuli.clips import find_listed_sounds, is_sound

Floats = NDArray[np.float64]
Halves = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]  # training and test sounds, by split

Statistics = Literal["mean", "mean+deviation"]  # summary of each unit over time
# * ours: features standardised on the training half, blocks with equal weights, penalties from
#   ten-fold cross-validation, r2 with the sign of r, mean over the splits;
# * tuckute2023: the method of Tuckute et al. (2023): features with their mean removed but on their
#   own scale, penalties from 10^-50 to 10^49 by leaving one sound out, r below 0 counted as 0
#   before it is squared, median over the splits.
Protocol = Literal["ours", "tuckute2023"]

LEAST_SOUNDS = 20
NEGLIGIBLE = 1e-9  # share of the largest value below which a deviation is rounding error


@dataclass(frozen=True)
class Responses:
    """One value per sound and target, such as a voxel, an area or a component.

    With ``weights``, the targets are components of voxels: values @ weights.
    """

    sounds: list[str]
    targets: list[str]
    values: Floats  # (sounds, targets)
    weights: Floats | None = None  # (targets, voxels)

    @property
    def voxels(self) -> Floats:
        """Values of the reconstructed voxels (sounds, voxels); without weights there are none."""
        if self.weights is None:
            return np.zeros((len(self.sounds), 0))
        return self.values @ self.weights


# --- Reading --------------------------------------------------------------------------------------


def read_responses(path: Path) -> Responses:
    """Read responses from a .mat, .npz or .tsv file.

    * .mat (MATLAB 5): ``R`` (sounds x targets), ``stim_names`` (cell), and optionally
      ``component_names`` (cell) and ``W`` (targets x voxels), as in the natural-sound set.
    * .npz: ``responses``, ``sounds``, and optionally ``targets`` and ``weights``.
    * .tsv or .csv: names of sounds in the first column, and one column per target.

    Raises InputError if something is missing, has another shape or is not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected responses as .mat, .npz or .tsv")
    tables = {".tsv": _read_tsv, ".csv": _read_tsv}
    readers = {".mat": _read_mat, ".npz": _read_npz, **tables}
    kind = path.suffix.lower()
    if kind not in readers:
        raise InputError(
            f"{path}: is not a file of responses; expected one of {', '.join(readers)}"
        )
    responses = readers[kind](path)
    responses = replace(responses, sounds=[nfc(name) for name in responses.sounds])
    _check(responses, path)
    return responses


class _Keys(NamedTuple):
    """Names of the variables in a file; weights and targets are optional."""

    values: str
    weights: str
    sounds: str
    targets: str


def _read_mat(path: Path) -> Responses:
    if is_hdf5(path):
        raise InputError(f"{path}: is MATLAB 7.3; save it with -v7")
    keys = _Keys("R", "W", "stim_names", "component_names")
    return _from_variables(path, read_arrays(path, (), optional=keys), keys)


def _read_npz(path: Path) -> Responses:
    keys = _Keys("responses", "weights", "sounds", "targets")
    return _from_variables(path, read_npz(path, names=keys), keys)


def _from_variables(path: Path, variables: Mapping[str, Any], keys: _Keys) -> Responses:
    for key in (keys.values, keys.sounds):
        if key not in variables:
            raise InputError(f"{path}: has no {key}; expected {keys.values} and {keys.sounds}")

    def names(key: str) -> list[str]:
        return _as_names(variables[key], f"{path}: {key}")

    def matrix(key: str) -> Floats:
        return _as_matrix(variables[key], f"{path}: {key}")

    values = matrix(keys.values)
    if keys.targets in variables:
        targets = names(keys.targets)
    else:
        targets = [f"target-{index + 1}" for index in range(values.shape[1])]
    weights = matrix(keys.weights) if keys.weights in variables else None
    return Responses(names(keys.sounds), targets, values, weights)


def _read_tsv(path: Path) -> Responses:
    table = read_table(path, as_text=True)
    if table.shape[1] < 2:
        raise InputError(
            f"{path}: has {table.shape[1]} columns; expected the sounds, and a column per target"
        )
    column, *targets = table.columns
    if all(is_number(target) for target in targets) and not is_number(column):
        raise InputError(
            f"{path}: has no header (its first row has {column!r} and numbers); add a row with the "
            "name of each column, such as sound and the targets"
        )
    sounds = table[column].tolist()
    if "" in sounds:
        raise InputError(f"{path}: row {sounds.index('') + 2} has no name of a sound")
    values = [numbers(table, target, path) for target in targets]
    return Responses(sounds, targets, np.stack(values, axis=1))


def is_number(text: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_matrix(array: Any, where: str) -> Floats:
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{where} has the shape {array.shape} and type {array.dtype}; expected a matrix of "
            "real numbers"
        )
    return array.astype(np.float64)


def _as_names(array: Any, where: str) -> list[str]:
    names: list[str] = []
    for entry in names_in(np.asarray(array), where):
        text = text_of(entry)
        if text is None:
            raise InputError(f"{where}: entry {len(names) + 1} is not text; expected names")
        names.append(text.strip())
    return names


def _check(responses: Responses, path: Path) -> None:
    n, values, weights = len(responses.sounds), responses.values, responses.weights
    if values.shape != (n, len(responses.targets)):
        raise InputError(
            f"{path}: the responses are {values.shape[0]} x {values.shape[1]}, but there are {n} "
            f"sounds and {len(responses.targets)} targets"
        )
    if n < LEAST_SOUNDS:
        raise InputError(
            f"{path}: has {n} sounds; to split them, at least {LEAST_SOUNDS} are needed"
        )
    for kind, names in (("sound", responses.sounds), ("target", responses.targets)):
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise InputError(
                f"{path}: contains the {kind} {repeated[0]!r} twice; expected each name once"
            )
    if weights is not None and weights.shape[0] != values.shape[1]:
        raise InputError(
            f"{path}: the weights have {weights.shape[0]} rows; expected one for each of "
            f"{values.shape[1]} targets"
        )
    if weights is not None and not np.isfinite(weights).all():
        row, voxel = np.argwhere(~np.isfinite(weights))[0]
        raise InputError(
            f"{path}: the weight of {responses.targets[row]} in voxel {voxel + 1} is not a number"
        )


# --- Selecting ------------------------------------------------------------------------------------


class Usable(NamedTuple):
    """Responses that can be scored, the names of the other targets, the number of other voxels."""

    responses: Responses
    targets_left_out: list[str]
    n_voxels_left_out: int


def usable(responses: Responses, halves: Halves, path: Path) -> Usable:
    """Leave out targets and voxels that have no values, or are constant in one of the halves.

    Raises InputError, naming ``path``, if a target has values for some sounds only, if no target is
    left, or if there are weights and a target would be left out: the voxels need all of them.
    """
    values, targets = responses.values, responses.targets
    finite = np.isfinite(values)
    _check_complete(responses, finite, path)
    good: NDArray[np.bool_] = np.all(finite, axis=0)
    good[good] = _varies(values[:, good], halves)
    if not good.any():
        raise InputError(f"{path}: no target has values that differ between sounds")
    left_out = [name for name, keep in zip(targets, good, strict=True) if not keep]
    if responses.weights is None:
        kept = [name for name, keep in zip(targets, good, strict=True) if keep]
        return Usable(Responses(responses.sounds, kept, values[:, good]), left_out, 0)
    if left_out:
        raise InputError(
            f"{path}: {left_out[0]} is constant or has no values, so the voxels that it is part of "
            "would be wrong; remove the weights, or the target from responses and weights"
        )
    voxels = _varies(responses.voxels, halves)
    kept_weights = responses.weights[:, voxels]
    return Usable(replace(responses, weights=kept_weights), [], int((~voxels).sum()))


def _check_complete(responses: Responses, finite: NDArray[np.bool_], path: Path) -> None:
    """Raise InputError for a target that has a value for some sounds, but not for all."""
    partly = finite.any(0) & ~finite.all(0)
    if partly.any():
        target = int(np.flatnonzero(partly)[0])
        sound = responses.sounds[int(np.flatnonzero(~finite[:, target])[0])]
        raise InputError(
            f"{path}: {responses.targets[target]} has no value for {sound}; remove the sound or "
            "the target"
        )


def _varies(values: Floats, halves: Halves) -> NDArray[np.bool_]:
    """Return which columns of (sounds, columns) vary in both halves of each split."""
    scale = np.abs(values).max(0, initial=0.0)
    smallest = np.min([values[half].std(0) for split in halves for half in split], axis=0)
    varies: NDArray[np.bool_] = smallest > NEGLIGIBLE * scale
    return varies


# --- Sounds ---------------------------------------------------------------------------------------


def find_sounds(names: Sequence[str], directory: Path, named_in: Path) -> list[Path]:
    """Return the file of each sound: the one below a directory with its name or stem.

    Names are compared in Unicode's form NFC. ``named_in`` is the file of responses, for messages.
    Raises InputError for a sound without a file, or with several.
    """
    files: dict[str, list[Path]] = {}
    for path in find_listed_sounds(directory):
        for key in (_key(path.name), nfc(path.stem)):
            same_name = files.setdefault(key, [])
            if not any(is_same_file(path, other) for other in same_name):
                same_name.append(path)
    if not files:
        raise InputError(f"{directory}: contains no sound files ({', '.join(audio.SUFFIXES)})")
    keys = [_key(name) for name in names]
    missing = [name for name, key in zip(names, keys, strict=True) if key not in files]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{directory}: has no sound {missing[0]!r}{more}, named in {named_in}"
            f"{did_you_mean(missing[0], files)}"
        )
    for name, key in zip(names, keys, strict=True):
        if len(files[key]) > 1:
            first, second = files[key][:2]
            raise InputError(
                f"{first}: has the same name as {second}, so {name!r} in {named_in} is ambiguous; "
                "rename one of them"
            )
    paths = [files[key][0] for key in keys]
    check_present(paths)
    return paths


def _key(name: str) -> str:
    """Return a name with its suffix in lower case, if that is the suffix of a sound."""
    path = PurePath(nfc(name))
    return f"{path.stem}{path.suffix.lower()}" if is_sound(name) else nfc(name)


def halves_of(n_sounds: int, splits: int, seed: int, protocol: Protocol) -> Halves:
    """Return the training and test sounds of each random split.

    Of an odd number of sounds, "tuckute2023" has one more for training, "ours" for testing.
    """
    halves = random_halves(n_sounds, splits, seed)
    if protocol == "tuckute2023":
        return [(larger, smaller) for smaller, larger in halves]
    return halves
