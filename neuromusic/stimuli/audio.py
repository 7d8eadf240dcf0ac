"""Read and write sound files: any format of libsndfile, at any rate, as mono at one rate."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_reachable, reading
from neuromusic.stimuli.sound_headers import sound_bytes

if TYPE_CHECKING:
    import soundfile

RATE_HZ = 22_050
SUFFIXES = (".wav", ".au", ".flac", ".mp3", ".ogg")
# One of the clips of ds003720, pop.00049, is 14.99 s long.
LENGTH_TOLERANCE_S = 0.02
# Limits for what a header may declare. Ultrasound is recorded at up to 1 MHz.
RATES_HZ = (1_000, 1_000_000)
MOST_CHANNELS = 64
MOST_S = 1800.0  # of a sound that is read as a whole; `blocks` reads longer ones
MOST_STREAMED_S = 7 * 24 * 3600.0
MOST_VALUES = 1 << 24  # samples x channels that are decoded at once

Resampler = Callable[[NDArray[np.float32], bool], NDArray[np.float32]]


def sound_files(directory: Path) -> list[Path]:
    """Return the sound files in a directory, at any depth, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in Path(directory).rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def duration_s(path: Path) -> float:
    """Return the length of a sound file in s, from its header.

    Raises InputError if the file has no valid header, if the header declares impossible
    values, or if a wav, au or ogg file is shorter than its header declares.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with reading(path):
        return _duration_s(path)


def _duration_s(path: Path) -> float:
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:  # TypeError: raw samples
        raise InputError(f"{path}: is not a readable sound file ({error})") from None
    least_hz, most_hz = RATES_HZ
    if not (least_hz <= info.samplerate <= most_hz and 1 <= info.channels <= MOST_CHANNELS):
        raise InputError(
            f"{path}: declares {info.samplerate} Hz and {info.channels} channels; expected "
            f"{least_hz} to {most_hz} Hz and at most {MOST_CHANNELS} channels"
        )
    length_s = float(info.frames / info.samplerate)
    if not 0 <= length_s <= MOST_STREAMED_S:
        raise InputError(
            f"{path}: declares {length_s / 3600:.3g} hours of sound; expected at most "
            f"{MOST_STREAMED_S / 3600:g}"
        )
    declared, present = sound_bytes(path)
    if declared > present:
        raise InputError(
            f"{path}: is truncated; {declared - present} of the {declared} bytes of sound that it "
            "declares are missing"
        )
    if length_s == 0 and declared < present:
        raise InputError(
            f"{path}: declares no sound, but {present} bytes follow: the program that wrote it did "
            "not finish; write it again"
        )
    return length_s


def read(path: Path, least_s: float = 0.0) -> NDArray[np.float32]:
    """Return a sound file as mono at RATE_HZ, shape (n_samples,).

    Raises InputError if the file is corrupt, empty, silent, shorter than ``least_s`` (within
    LENGTH_TOLERANCE_S) or longer than MOST_S, or contains NaN or infinity.
    """
    declared_s = duration_s(path)
    if declared_s > MOST_S:
        raise InputError(
            f"{path}: declares {declared_s / 60:.0f} minutes; a clip may last at most "
            f"{MOST_S / 60:g}; cut it into clips"
        )
    pieces = list(blocks(path, block_s=MOST_S)) or [np.zeros(0, np.float32)]
    wave = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    length_s = len(wave) / RATE_HZ
    if length_s < least_s - LENGTH_TOLERANCE_S:
        raise InputError(f"{path}: lasts {length_s:.2f} s; expected at least {least_s:g} s")
    check_sound(wave, path)
    return wave


def check_sound(wave: NDArray[np.float32], path: Path) -> None:
    """Raise InputError if a wave is empty or silent, or contains NaN or infinity."""
    if wave.size == 0:
        raise InputError(f"{path}: is empty; expected sound")
    if not np.isfinite(wave).all():
        raise InputError(f"{path}: contains NaN or infinite samples; write it again")
    if not wave.any():
        raise InputError(f"{path}: is silent; expected sound")


def blocks(path: Path, block_s: float) -> Iterator[NDArray[np.float32]]:
    """Yield a sound file as mono at RATE_HZ in blocks of about ``block_s`` seconds.

    Channels are averaged. One soxr filter runs through all blocks, so that their concatenation
    equals the resampled whole.

    Raises InputError if the file is corrupt or truncated.
    """
    import soundfile

    duration_s(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            resample = _resampler(file.samplerate)
            size = max(1, int(block_s * file.samplerate))
            n_left = file.frames
            while n_left > 0:
                n = min(size, n_left)
                yield _read_mono(file, path, n, n_left, resample)
                n_left -= n
    except (soundfile.LibsndfileError, RuntimeError) as error:
        check_reachable(path)
        raise InputError(f"{path}: is not a readable sound file ({error})") from None


def _resampler(rate_hz: int) -> Resampler:
    """Return a function of (samples, whether they are the last) that resamples to RATE_HZ."""
    import soxr

    if rate_hz == RATE_HZ:
        return lambda samples, is_last: samples
    stream = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")
    return lambda samples, is_last: stream.resample_chunk(samples, last=is_last)


def _read_mono(
    file: "soundfile.SoundFile", path: Path, n: int, n_left: int, resample: Resampler
) -> NDArray[np.float32]:
    """Return the next ``n`` of the ``n_left`` samples of a file, averaged over channels."""
    pieces = []
    end = n_left - n
    while n_left > end:
        most = min(n_left - end, MOST_VALUES // file.channels)
        samples = file.read(most, dtype="float32", always_2d=True)
        n_left -= len(samples)
        if len(samples) == 0:
            check_reachable(path)
            raise InputError(f"{path}: is truncated; {n_left} samples are missing")
        mono = samples.mean(axis=1) if file.channels > 1 else samples[:, 0]
        pieces.append(resample(mono, n_left == 0))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def write(path: Path, wave: NDArray[np.floating], rate_hz: int = RATE_HZ) -> None:
    """Write a mono wave as 16-bit wav; raise ValueError if it exceeds full scale."""
    import soundfile

    if np.abs(wave).max(initial=0.0) > 1.0:
        raise ValueError(f"{path}: peak {np.abs(wave).max():.3f} would clip")
    # Via memory, because libsndfile reports a full disk as "System error".
    with io.BytesIO() as file:
        soundfile.write(file, wave, rate_hz, format="WAV", subtype="PCM_16")
        path.write_bytes(file.getvalue())
