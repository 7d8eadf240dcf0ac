"""TODO: docstring."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.stimuli import audio

FADE_S = 2.0


SET_RMS = 0.1321  # the mean over the laboratory's set


def fade(wave: NDArray[np.floating], fade_s: float = FADE_S) -> NDArray[np.float64]:
    """Apply quarter-sine fades to both ends of a wave (n_samples,) at audio.RATE_HZ."""
    n = round(fade_s * audio.RATE_HZ)
    ramp = np.sin(0.5 * np.pi * np.arange(n) / n)
    out = np.array(wave, dtype=np.float64)
    out[:n] *= ramp
    out[-n:] *= ramp[::-1]
    return out


def set_rms(wave: NDArray[np.floating], rms: float) -> tuple[NDArray[np.float64], bool]:
    """Scale a wave to an RMS; where its peak would clip, only as far as the peak allows.

    Returns (wave, whether the RMS had to stay lower).
    """
    wave = np.asarray(wave, dtype=np.float64)
    gain = rms / np.sqrt(np.mean(wave**2))
    limit = 0.999 / np.abs(wave).max()
    return wave * min(gain, limit), bool(gain > limit)


def find_tracks(directory: Path) -> dict[str, Path]:
    """Return track name (reggae.00013) -> sound file for every track below a directory."""
    return _index(directory, lambda path: path.stem)


def find_clips(directory: Path) -> dict[str, Path]:
    """Return clip name (reggae.00013_15s.wav) -> sound file for every clip below a directory."""
    return _index(directory, lambda path: f"{path.stem}.wav")


def _index(directory: Path, key: Callable[[Path], str]) -> dict[str, Path]:
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: no such directory; expected a folder of sound files")
    found: dict[str, Path] = {}
    for path in audio.sound_files(directory):
        other = found.setdefault(key(path), path)
        if other != path:
            raise InputError(f"{path}: {other} has the same name; keep one of them")
    return found


def cut_clip(track: Path, start_s: float, end_s: float) -> NDArray[np.float64]:
    """Return one clip of a track with its fades, before the RMS is set.

    Raises InputError, naming the track, where it ends before ``end_s``, and for a clip with no
    room for its fades.
    """
    if end_s - start_s < 2 * FADE_S:
        raise InputError(
            f"{track}: the events cut {end_s - start_s:g} s of it; the fades alone take "
            f"{2 * FADE_S:g} s"
        )
    wave = audio.read(track)
    length_s = len(wave) / audio.RATE_HZ
    if length_s < end_s - audio.LENGTH_TOLERANCE_S:
        raise InputError(f"{track}: lasts {length_s:.2f} s; the events cut it up to {end_s:g} s")
    first = round(start_s * audio.RATE_HZ)
    clip = wave[first : first + round((end_s - start_s) * audio.RATE_HZ)]
    audio.check_sound(clip, track)
    return fade(clip)


def check_clips(paths: Iterable[Path], least_s: float, remedy: str = "") -> None:
    """Raise InputError, naming the file, for a clip that is unreadable or too short."""
    for path in paths:
        length_s = audio.duration_s(path)
        if length_s < least_s - audio.LENGTH_TOLERANCE_S:
            raise InputError(
                f"{path}: lasts {length_s:.2f} s; expected at least {least_s:g} s{remedy}"
            )
        if length_s > audio.MOST_S:
            raise InputError(
                f"{path}: lasts {length_s / 60:.0f} minutes; a clip has at most "
                f"{audio.MOST_S / 60:g}; cut it into clips"
            )
