"""Read and write sound: any file that libsndfile knows, any rate, to mono at one rate."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.errors import InputError

RATE_HZ = 22_050
SUFFIXES = (".wav", ".au", ".flac", ".mp3", ".ogg")
# The laboratory's own 15-s cut of pop.00049 is 14.99 s long.
LENGTH_TOLERANCE_S = 0.02


def sound_files(directory: Path) -> list[Path]:
    """Return the sound files below a directory, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in Path(directory).rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def duration_s(path: Path) -> float:
    """Return the length of a sound file from its header; raise InputError if it has none."""
    import soundfile

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: is no readable sound file ({error})") from None
    return info.frames / info.samplerate


def read(path: Path, least_s: float = 0.0) -> NDArray[np.float32]:
    """Return a sound file as mono float32 at RATE_HZ, (n_samples,).

    Raises InputError for a file that is corrupt, empty, silent, shorter than ``least_s`` (within
    LENGTH_TOLERANCE_S), or that holds NaN or infinity.
    """
    wave = np.concatenate([*blocks(path, block_s=3600.0)] or [np.zeros(0, np.float32)])
    length_s = len(wave) / RATE_HZ
    if length_s < least_s - LENGTH_TOLERANCE_S:
        raise InputError(f"{path}: lasts {length_s:.2f} s; expected at least {least_s:g} s")
    check_sound(wave, path)
    return wave


def check_sound(wave: NDArray[np.float32], path: Path) -> None:
    """Raise InputError if there is no sound in a wave: empty, silent, NaN or infinite."""
    if wave.size == 0:
        raise InputError(f"{path}: is empty; expected sound")
    if not np.isfinite(wave).all():
        raise InputError(f"{path}: holds NaN or infinite samples; write it again")
    if not wave.any():
        raise InputError(f"{path}: is silent; expected sound")


def blocks(path: Path, block_s: float) -> Iterator[NDArray[np.float32]]:
    """Yield a sound file as mono float32 at RATE_HZ in pieces of about ``block_s`` seconds.

    Channels are averaged; the rate is changed by one running soxr filter, so that the pieces
    together are what the whole would have given.
    """
    import soundfile
    import soxr

    duration_s(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate_hz = file.samplerate
            stream = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")
            left = file.frames
            size = max(1, int(block_s * rate_hz))
            while left > 0:
                data = file.read(min(size, left), dtype="float32", always_2d=True)
                left -= len(data)
                if len(data) == 0:
                    raise InputError(f"{path}: is cut short; {left} samples are missing")
                mono = data.mean(axis=1)
                yield mono if rate_hz == RATE_HZ else stream.resample_chunk(mono, last=left == 0)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: is no readable sound file ({error})") from None


def write(path: Path, wave: NDArray[np.floating], rate_hz: int = RATE_HZ) -> None:
    """Write mono 16-bit wav; a sample beyond full scale is an error of the caller."""
    import soundfile

    if np.abs(wave).max(initial=0.0) > 1.0:
        raise ValueError(f"{path}: peak {np.abs(wave).max():.3f} would clip")
    # Through memory: what libsndfile says of a full disk is "System error".
    with io.BytesIO() as file:
        soundfile.write(file, wave, rate_hz, format="WAV", subtype="PCM_16")
        path.write_bytes(file.getvalue())
