"""Responses in time from files of MNE: epochs, or a recording with the onset of each sound."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, need_package
from neuromusic.core.files import readable
from neuromusic.core.folders import nfc
from neuromusic.core.tables import numbers, read_table

Floats = NDArray[np.float64]
# Columns of a table of onsets; those of BIDS are accepted.
ONSET, DURATION = ("onset_s", "onset"), ("duration_s", "duration")
SOUND = ("sound", "stim_file", "trial_type")


class Recorded(NamedTuple):
    """Names and series as in `TimedResponses`, whose parameters these are."""

    sounds: list[str]
    targets: list[str]
    values: list[Floats]  # (repeats, samples, targets)
    rate_hz: float
    first_sample_s: float


def read_fif(
    path: Path,
    rate_hz: float | None = None,
    onsets: Path | None = None,
    window_s: tuple[float, float] | None = None,
) -> Recorded:
    """Read ``Epochs`` or ``Raw`` of MNE: all data channels that are not marked as bad.

    Parameters
    ----------
    path : Path
        Epochs (the name ends with -epo or _epo) or a recording.
    rate_hz : float, optional
        Rate to which data of a higher rate are resampled.
    onsets : Path, optional
        Table of the onsets in a recording, see `TimedInput`.
    window_s : tuple of float, optional
        Time after each onset that is taken from a recording.

    Returns
    -------
    Recorded
        Presentations of the same sound are repeats; they are cut to the shortest of them.

    Raises
    ------
    InputError
        If mne is not installed, the file cannot be read, or it does not say when which sound began
        or how long it lasted.
    """
    need_package("mne", "mne")
    import mne

    is_epochs = path.name.lower().removesuffix(".gz").endswith(("-epo.fif", "_epo.fif"))
    if is_epochs and (onsets is not None or window_s is not None):
        raise InputError(f"{path}: are epochs; onsets and window_s are for recordings")
    with readable(path, "file of MNE (epochs end with -epo.fif or _epo.fif)"):
        if is_epochs:
            data = mne.read_epochs(path, preload=True, verbose="error")
        else:
            data = mne.io.read_raw_fif(path, preload=True, verbose="error")
        data.pick("data", exclude="bads")
        if rate_hz is not None and rate_hz < data.info["sfreq"]:
            data.resample(rate_hz, verbose="error")
    return _from_epochs(data) if is_epochs else _from_raw(path, data, onsets, window_s)


def _from_epochs(epochs: Any) -> Recorded:
    names = {code: nfc(name) for name, code in epochs.event_id.items()}
    values = epochs.get_data(copy=False).transpose(0, 2, 1)
    presented = [names[code] for code in epochs.events[:, 2]]
    by_sound = {
        name: np.stack([row for row, heard in zip(values, presented, strict=True) if heard == name])
        for name in dict.fromkeys(presented)
    }
    rate_hz, first_s = float(epochs.info["sfreq"]), float(epochs.times[0])
    return Recorded(
        list(by_sound), list(epochs.ch_names), list(by_sound.values()), rate_hz, first_s
    )


def _from_raw(
    path: Path, raw: Any, onsets: Path | None, window_s: tuple[float, float] | None
) -> Recorded:
    table = _annotations(raw) if onsets is None else _read_onsets(onsets)
    named_in = path if onsets is None else onsets
    if table.empty:
        raise InputError(
            f"{path}: has no annotations, so it is unknown when which sound began; give a table of "
            "onsets"
        )
    rate_hz, series = float(raw.info["sfreq"]), raw.get_data().T
    low = window_s[0] if window_s is not None else 0.0
    pieces: dict[str, list[Floats]] = {}
    for onset, sound, duration in table[["onset", "sound", "duration"]].itertuples(index=False):
        high = window_s[1] if window_s is not None else duration
        if not high > low:
            raise InputError(
                f"{named_in}: {sound} has no duration; add it, or give window_s, the time after "
                "each onset"
            )
        first = round((onset + low) * rate_hz)
        last = first + round((high - low) * rate_hz)
        if first < 0 or last > len(series):
            raise InputError(
                f"{named_in}: {sound} at {onset:g} s is not within the {len(series) / rate_hz:g} s "
                f"of {path.name}"
            )
        pieces.setdefault(nfc(sound), []).append(series[first:last])
    values = []
    for repeats in pieces.values():
        shortest = min(map(len, repeats))
        values.append(np.stack([piece[:shortest] for piece in repeats]))
    return Recorded(list(pieces), list(raw.ch_names), values, rate_hz, low)


def _annotations(raw: Any) -> pd.DataFrame:
    """Return the annotations that do not mark bad data; onsets are after the first sample."""
    notes = raw.annotations
    table = pd.DataFrame(
        {
            "onset": notes.onset - raw.first_time,
            "sound": notes.description,
            "duration": notes.duration,
        }
    )
    marks = table["sound"].str.lower().str.startswith(("bad", "edge"))
    return table[~marks]


def _read_onsets(path: Path) -> pd.DataFrame:
    table = read_table(path, as_text=True)

    def column(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in table.columns), None)

    onset, sound, duration = column(ONSET), column(SOUND), column(DURATION)
    if onset is None or sound is None:
        raise InputError(
            f"{path}: has the columns {', '.join(table.columns)}; expected {ONSET[0]}, {SOUND[0]} "
            f"and {DURATION[0]}"
        )
    return pd.DataFrame(
        {
            "onset": numbers(table, onset, path),
            "sound": table[sound],
            "duration": numbers(table, duration, path) if duration else np.nan,
        }
    )
