"""Responses in time: a series per sound and target, from .mat, .npz, HDF5 and MNE's .fif files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import names_in
from neuromusic.core.folders import nfc
from neuromusic.core.matlab_names import text_of
from neuromusic.encoding.timed_files import read_variables
from neuromusic.encoding.timed_mne import read_fif

Floats = NDArray[np.float64]

SUFFIXES = (".mat", ".npz", ".h5", ".hdf5", ".fif", ".fif.gz")
# Names of the variables in a file, those of this project first.
VALUES = ("responses", "R")
SOUNDS = ("sounds", "stim_names")
TARGETS = ("targets", "component_names")
RATE, FIRST, TIMES = "rate_hz", "first_sample_s", "t"
KNOWN = (*VALUES, *SOUNDS, *TARGETS, RATE, FIRST, TIMES)
MOST_LISTED = 10  # names in a message
EVEN = 0.01  # share of a sampling interval by which the times in a file may be uneven


@dataclass(frozen=True)
class TimedResponses:
    """Responses with a time axis: for each sound a series of each target.

    Parameters
    ----------
    sounds : list of str
        Names of the sounds, with or without the suffix of their files.
    targets : list of str
        Names of the targets, such as electrodes, sensors or components.
    values : list of arrays (repeats, samples, targets)
        One array per sound. Sounds may differ in repeats and samples.
    rate_hz : float
        Samples per second.
    first_sample_s : float
        Time of the first sample after the onset of the sound.
    """

    sounds: list[str]
    targets: list[str]
    values: list[Floats]
    rate_hz: float
    first_sample_s: float = 0.0

    @property
    def means(self) -> list[Floats]:
        """Means over the repeats, an array (samples, targets) per sound."""
        return [each.mean(0) for each in self.values]

    @property
    def has_repeats(self) -> bool:
        """Whether a sound was presented more than once."""
        return any(len(each) > 1 for each in self.values)

    @property
    def are_equally_long(self) -> bool:
        """Whether all sounds have the same number of samples."""
        return len({each.shape[1] for each in self.values}) == 1


@dataclass(frozen=True)
class TimedInput:
    """What a file of responses may not say about time.

    Parameters
    ----------
    rate_hz : float, optional
        Sampling rate of .mat, .npz and HDF5 files that have no ``rate_hz`` and no times ``t``. Data
        of MNE at a higher rate are resampled to it.
    first_sample_s : float, optional
        Time of the first sample after the onset of the sound, if the file does not say; 0 by
        default.
    onsets : Path, optional
        For ``Raw``: a table (TSV) with the columns onset (s after the first sample), sound, and
        duration (s), instead of the annotations of the recording.
    window_s : tuple of float, optional
        For ``Raw``: from and to what time after each onset, instead of 0 to the duration.

    Raises
    ------
    InputError
        If the rate is not above 0, or the window ends before it begins.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.TimedInput(rate_hz=100.0, first_sample_s=-0.2).rate_hz
    100.0
    """

    rate_hz: float | None = None
    first_sample_s: float | None = None
    onsets: Path | None = None
    window_s: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        rate = self.rate_hz
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise InputError(f"rate_hz={rate:g}: expected samples per second, above 0")
        if self.window_s is not None and not self.window_s[0] < self.window_s[1]:
            low, high = self.window_s
            raise InputError(f"window_s={low:g}, {high:g}: expected the earlier time first")


def is_timed(path: Path) -> bool:
    """Return whether a file holds responses in time, and not one value per sound and target.

    It does if it is one of MNE's; if its responses have three dimensions or more, or are cells of
    matrices; if it states ``rate_hz``, ``first_sample_s`` or as many times ``t`` as its responses
    have samples; or if it has one matrix per sound. Tables (.tsv, .csv) never do.

    Parameters
    ----------
    path : Path
        The file of responses.

    Returns
    -------
    bool

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path = Path(path)
    if not path.is_file() or _suffix(path) not in SUFFIXES:
        return False
    if _suffix(path).startswith(".fif"):
        return True
    variables = read_variables(path)
    values = _first(variables, VALUES)
    if values is None:
        return any(np.ndim(each) in (2, 3) for each in _per_sound(variables).values())
    times = variables.get(TIMES)
    n = values.shape[1] if values.ndim > 1 else 0
    has_times = n > 1 and isinstance(times, np.ndarray) and times.size == n
    is_cells = values.dtype == object
    return is_cells or values.ndim > 2 or RATE in variables or FIRST in variables or has_times


def read_timed(path: Path, given: TimedInput = TimedInput()) -> TimedResponses:
    """Read responses in time.

    Parameters
    ----------
    path : Path
        * .mat (MATLAB 5 or 7.3), .npz, .h5 or .hdf5 with ``responses`` or ``R`` (sounds, samples,
          targets), with repeats as an axis before these, or (sounds, samples) for a single target;
          ``sounds`` or ``stim_names``; ``rate_hz``, or times ``t`` in s; and optionally ``targets``
          or ``component_names``, and ``first_sample_s``. Without ``responses``, one array (samples,
          targets) or (repeats, samples, targets) per sound, named like the sound.
        * .fif: ``Epochs`` of MNE, whose events are named like the sounds (epochs of the same name
          are repeats), or ``Raw`` with an annotation per sound; needs the extra ``mne``.
    given : TimedInput
        What the file does not say.

    Returns
    -------
    TimedResponses
        With finite values only.

    Raises
    ------
    InputError
        If the sampling rate is missing, or something else is missing, repeated, of another shape,
        or not a number.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.zeros((2, 50, 3))  # two sounds, 0.5 s, three channels
    >>> np.savez("in_time.npz", responses=values, sounds=["a", "b"], rate_hz=100)
    >>> read_timed(Path("in_time.npz")).targets
    ['target-1', 'target-2', 'target-3']
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected responses as {', '.join(SUFFIXES)}")
    if _suffix(path) not in SUFFIXES:
        raise InputError(
            f"{path}: is not a file of responses in time; expected one of {', '.join(SUFFIXES)}"
        )
    if _suffix(path).startswith(".fif"):
        recorded = read_fif(path, given.rate_hz, given.onsets, given.window_s)
        responses = TimedResponses(*recorded)
    else:
        responses = _from_variables(path, read_variables(path), given)
    _check(responses, path)
    return responses


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".fif.gz" if name.endswith(".fif.gz") else path.suffix.lower()


# --- Variables ------------------------------------------------------------------------------------


def _first(variables: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((variables[name] for name in names if name in variables), None)


def _per_sound(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if name not in KNOWN}


def _from_variables(path: Path, variables: Mapping[str, Any], given: TimedInput) -> TimedResponses:
    values = _first(variables, VALUES)
    if values is None:
        arrays = _per_sound(variables)
        if not arrays:
            raise InputError(f"{path}: has no responses; expected {VALUES[0]}, or one per sound")
        sounds = list(arrays)
    else:
        names = _first(variables, SOUNDS)
        if names is None:
            raise InputError(f"{path}: has no names of sounds; add {SOUNDS[0]}")
        sounds = _as_names(names, f"{path}: the sounds")
        split = _split(values, len(sounds), f"{path}: the responses")
        _check_once(sounds, "sound", path)
        arrays = dict(zip(sounds, split, strict=True))
    series = [_as_series(value, f"{path}: {sound}") for sound, value in
              zip(sounds, arrays.values(), strict=True)]  # fmt: skip
    targets = _first(variables, TARGETS)
    n_targets = series[0].shape[2]
    if targets is None:
        target_names = [f"target-{index + 1}" for index in range(n_targets)]
    else:
        target_names = _as_names(targets, f"{path}: the targets")
    rate_hz, first_s = _timing(path, variables, given)
    return TimedResponses([nfc(name) for name in sounds], target_names, series, rate_hz, first_s)


def _split(values: Any, n_sounds: int, where: str) -> list[Any]:
    """Return the series of each sound from one array, or from cells."""
    array = np.asarray(values)
    if array.dtype == object:
        cells = list(array.ravel())
        if len(cells) != n_sounds:
            raise InputError(f"{where} are {len(cells)} cells, but there are {n_sounds} sounds")
        return cells
    if array.ndim == 2:
        array = array[:, :, None]
    axis = array.ndim - 3
    if array.ndim not in (3, 4) or array.shape[axis] != n_sounds:
        raise InputError(
            f"{where} have the shape {np.shape(values)}, but there are {n_sounds} sounds; expected "
            "(sounds, samples, targets), with repeats as an axis before these if there are any"
        )
    return list(np.moveaxis(array, axis, 0))


def _as_series(value: Any, where: str) -> Floats:
    """Return (repeats, samples, targets) from (samples, targets) or with repeats."""
    array = np.asarray(value)
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise InputError(
            f"{where} has the shape {array.shape} and type {array.dtype}; expected real numbers "
            "(samples, targets), or (repeats, samples, targets)"
        )
    return (array if array.ndim == 3 else array[None]).astype(np.float64)


def _as_names(array: Any, where: str) -> list[str]:
    entries = [array] if isinstance(array, str) else names_in(np.asarray(array), where)
    names = [text_of(entry) for entry in entries]
    texts = [name for name in names if name]
    if len(texts) < len(names):
        raise InputError(f"{where}: an entry is not text; expected names")
    return texts


def _timing(path: Path, variables: Mapping[str, Any], given: TimedInput) -> tuple[float, float]:
    """Return the sampling rate and the time of the first sample; the file's own values count."""
    rate_hz, first_s = (_number(path, variables, name) for name in (RATE, FIRST))
    if TIMES in variables and (rate_hz is None or first_s is None):
        times = np.asarray(variables[TIMES])
        if times.size < 2 or times.dtype.kind not in "fiu":
            raise InputError(f"{path}: {TIMES} is not the times of samples; expected s, ascending")
        times = times.ravel().astype(np.float64)
        step = (times[-1] - times[0]) / (len(times) - 1)
        if not step > 0 or np.abs(np.diff(times) - step).max() > EVEN * step:
            raise InputError(f"{path}: the times {TIMES} are not evenly spaced and ascending")
        rate_hz = 1 / step if rate_hz is None else rate_hz
        first_s = float(times[0]) if first_s is None else first_s
    rate_hz = given.rate_hz if rate_hz is None else rate_hz
    if rate_hz is None:
        raise InputError(
            f"{path}: has no sampling rate; add {RATE} (samples per second) to the file, or give "
            "rate_hz"
        )
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise InputError(f"{path}: {RATE} is {rate_hz:g}; expected samples per second, above 0")
    if first_s is None:
        first_s = given.first_sample_s or 0.0
    return float(rate_hz), float(first_s)


def _number(path: Path, variables: Mapping[str, Any], name: str) -> float | None:
    if name not in variables:
        return None
    value = np.asarray(variables[name])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise InputError(f"{path}: {name} is not a number")
    return float(value.item())


# --- Checks ---------------------------------------------------------------------------------------


def _check(responses: TimedResponses, path: Path) -> None:
    _check_once(responses.sounds, "sound", path)
    _check_once(responses.targets, "target", path)
    if len(responses.sounds) < 2:
        raise InputError(
            f"{path}: has responses to one sound; expected two or more, to hold one out"
        )
    for sound, values in zip(responses.sounds, responses.values, strict=True):
        if values.shape[2] != len(responses.targets):
            raise InputError(
                f"{path}: {sound} has {values.shape[2]} targets; expected {len(responses.targets)}"
            )
        if not np.isfinite(values).all():
            _, sample, target = np.argwhere(~np.isfinite(values))[0]
            raise InputError(
                f"{path}: {responses.targets[target]} has no number at sample {sample + 1} of "
                f"{sound}; remove the target or the sound"
            )


def _check_once(names: Sequence[str], kind: str, path: Path) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: contains the {kind} {repeated[0]!r} twice; expected each name once"
        )


def match_sounds(names: Sequence[str], available: Sequence[str], where: str) -> list[str]:
    """Return the available name of each sound: the same name, or the same without a suffix.

    Parameters
    ----------
    names : sequence of str
        Names in the responses.
    available : sequence of str
        Names of sounds or of their files, in any order.
    where : str
        Where the available sounds are, for the message.

    Returns
    -------
    list of str
        One of ``available`` for each of ``names``.

    Raises
    ------
    InputError
        If a sound is missing, or its name fits several; with both lists, cut at ten.
    """
    found: dict[str, list[str]] = {}
    for name in available:
        for key in {nfc(name), PurePath(nfc(name)).stem}:
            found.setdefault(key, []).append(name)
    matches = [found.get(name) or found.get(PurePath(name).stem, []) for name in map(nfc, names)]
    bad = [name for name, match in zip(names, matches, strict=True) if len(match) != 1]
    if bad:
        raise InputError(
            f"{where}: {len(bad)} of {len(names)} names in the responses do not match one sound "
            f"each; responses: {_cut(names)}; sounds: {_cut(sorted(available))}"
        )
    return [match[0] for match in matches]


def _cut(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more if names else "none"
