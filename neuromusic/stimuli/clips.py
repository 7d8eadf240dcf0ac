"""Sound files, clips and tracks: find them, cut clips out of tracks, check their lengths."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.folders import (
    Found,
    check_name,
    check_unambiguous,
    find_files,
    is_same_file,
    nfc,
)
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel

log = logging.getLogger(__name__)

FADE_S = 2.0
SET_RMS = 0.1321  # mean over the original clips of ds003720


def fade(wave: NDArray[np.floating], fade_s: float = FADE_S) -> NDArray[np.float64]:
    """Apply quarter-sine fades to both ends of a wave (n_samples,) at audio.RATE_HZ."""
    n = round(fade_s * audio.RATE_HZ)
    ramp = np.sin(0.5 * np.pi * np.arange(n) / n)
    faded = np.array(wave, dtype=np.float64)
    faded[:n] *= ramp
    faded[-n:] *= ramp[::-1]
    return faded


def set_rms(wave: NDArray[np.floating], rms: float) -> tuple[NDArray[np.float64], bool]:
    """Scale a wave to an RMS, or to a lower one if its peak would clip.

    Returns (scaled wave, whether its RMS is lower).
    """
    wave = np.asarray(wave, dtype=np.float64)
    gain = rms / np.sqrt(np.mean(wave**2))
    limit = 0.999 / np.abs(wave).max()
    return wave * min(gain, limit), bool(gain > limit)


def is_sound(name: str) -> bool:
    """Return whether a file name has the suffix of a sound, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in audio.SUFFIXES


def find_sounds(directory: Path, expected: str = "a folder of sound files") -> Found:
    """Find the sound files in a folder, at any depth, through links; log what is left out.

    See `neuromusic.core.folders.find_files`. ``expected`` describes the folder for messages.

    Raises InputError if the folder does not exist, or a name is not valid UTF-8, contains a tab or
    a line break, or differs from another only in its Unicode normalisation.
    """
    directory = Path(directory)
    found = find_files(directory, is_sound, expected)
    for path in (*found.files, *found.broken):
        check_name(path)
    check_unambiguous(found.files, directory)
    if found.left_out:
        log.info("%s: left out: %s", directory, found.left_out)
    return found


def find_listed_sounds(directory: Path) -> list[Path]:
    """Return the sounds in a folder, sorted, for a search by name.

    Among them are links that lead nowhere: only if one is needed, it has to be repaired; see
    `neuromusic.core.folders.check_present`. Raises InputError as `find_sounds`.
    """
    found = find_sounds(directory)
    return sorted([*found.files, *(path for path in found.broken if is_sound(path.name))])


def find_tracks(directory: Path) -> dict[str, Path]:
    """Return track name (reggae.00013) -> sound file for all tracks in a directory, at any depth.

    Names are in Unicode's form NFC. A file may be a broken link, see `find_listed_sounds`.

    Raises InputError as `find_sounds`, and if two files have the same name.
    """
    return _index(directory, lambda path: path.stem)


def find_clips(directory: Path) -> dict[str, Path]:
    """Return clip name (reggae.00013_15s.wav) -> sound file for all clips, as `find_tracks`."""
    return _index(directory, lambda path: f"{path.stem}.wav")


def _index(directory: Path, name_of: Callable[[Path], str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in find_listed_sounds(directory):
        first = files.setdefault(nfc(name_of(path)), path)
        if not is_same_file(first, path):
            raise InputError(f"{path}: has the same name as {first}; keep one of them")
    return files


def cut_clip(
    track: Path, start_s: float, end_s: float, channel: Channel = "mix"
) -> NDArray[np.float64]:
    """Return a clip of a track with its fades, before its RMS is set.

    Raises InputError if the track ends before ``end_s``, or the clip is shorter than its fades.
    """
    if end_s - start_s < 2 * FADE_S:
        raise InputError(
            f"{track}: the clip from {start_s:g} to {end_s:g} s is too short; its fades alone take "
            f"{2 * FADE_S:g} s"
        )
    wave = audio.read(track, channel=channel)
    length_s = len(wave) / audio.RATE_HZ
    if length_s < end_s - audio.LENGTH_TOLERANCE_S:
        raise InputError(f"{track}: lasts {length_s:.2f} s, but a clip of it ends at {end_s:g} s")
    first = round(start_s * audio.RATE_HZ)
    clip = wave[first : first + round((end_s - start_s) * audio.RATE_HZ)]
    audio.check_sound(clip, track)
    return fade(clip)


def check_clips(paths: Iterable[Path], least_s: float, remedy: str = "") -> None:
    """Raise InputError for a clip that is not readable, too short or too long.

    ``remedy`` is added to the message for a clip shorter than ``least_s``.
    """
    for path in paths:
        length_s = audio.duration_s(path)
        if length_s < least_s - audio.LENGTH_TOLERANCE_S:
            raise InputError(
                f"{path}: lasts {length_s:.2f} s; expected at least {least_s:g} s{remedy}"
            )
        if length_s > audio.MOST_S:
            raise InputError(
                f"{path}: lasts {length_s / 60:.0f} minutes; a clip may last at most "
                f"{audio.MOST_S / 60:g}; cut it into clips"
            )
