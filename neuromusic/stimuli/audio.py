"""Read and write sound: any file that libsndfile knows, any rate, to mono at one rate."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_reachable, reading

RATE_HZ = 22_050
SUFFIXES = (".wav", ".au", ".flac", ".mp3", ".ogg")
# The laboratory's own 15-s cut of pop.00049 is 14.99 s long.
LENGTH_TOLERANCE_S = 0.02
# What a header may ask for. Ultrasound is recorded at up to 1 MHz.
RATES_HZ = (1_000, 1_000_000)
MOST_CHANNELS = 64
MOST_S = 1800.0  # of a sound that is held whole; longer ones are read in pieces, see `blocks`
MOST_STREAMED_S = 7 * 24 * 3600.0
MOST_VALUES = 1 << 24  # samples x channels decoded at once
HEADER_SLACK = 64  # bytes by which the length in a wav or au header may be wrong
OPEN = 0xFFFFFFFF  # a length that is not known


def sound_files(directory: Path) -> list[Path]:
    """Return the sound files below a directory, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in Path(directory).rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def duration_s(path: Path) -> float:
    """Return the length of a sound file from its header.

    Raises InputError if it has none, if the header asks for what no sound has, and for wav, au and
    ogg files that end before the length that they declare.
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
        raise InputError(f"{path}: is no readable sound file ({error})") from None
    least, most = RATES_HZ
    if not (least <= info.samplerate <= most and 1 <= info.channels <= MOST_CHANNELS):
        raise InputError(
            f"{path}: declares {info.samplerate} Hz and {info.channels} channels; expected "
            f"{least} to {most} Hz and at most {MOST_CHANNELS} channels"
        )
    length_s = float(info.frames / info.samplerate)
    if not 0 <= length_s <= MOST_STREAMED_S:
        raise InputError(f"{path}: declares {length_s / 3600:.3g} hours of sound; expected a week")
    declared, there = _declared_and_there(path)
    if declared > there:
        raise InputError(
            f"{path}: is cut short; {declared - there} of the {declared} bytes of sound that it "
            "declares are missing"
        )
    if length_s == 0 and declared < there:
        raise InputError(
            f"{path}: declares no sound, and {there} bytes follow: the program that wrote it did "
            "not finish; write it again"
        )
    return length_s


def _declared_and_there(path: Path) -> tuple[int, int]:
    """Return the bytes of sound that a wav, au or ogg file declares and those that it has.

    libsndfile takes a file that was cut short for a shorter one. Both are the same for other
    formats, and where a program that could not go back left the length open (all ones, or SoX's
    2 GB). An Ogg file only says how long each page is: cut between two pages, it looks whole.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            return _last_page(file, size)
        if head[:4] in (b".snd", b"dns.") and len(head) == 12:
            first, declared = struct.unpack(">II" if head[:1] == b"." else "<II", head[4:])
            return _compared(declared, size - first)
        if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
            return _wav_data(file, size, ">" if head[:4] == b"RIFX" else "<")
    return 0, 0


def _wav_data(file: BinaryIO, size: int, order: str) -> tuple[int, int]:
    """Find the chunk with the sound, from where the first chunk begins (EBU Tech 3306 for RF64)."""
    wide = 0
    for _ in range(1000):
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        (length,) = struct.unpack(f"{order}I", chunk[4:])
        begin = file.tell()
        if chunk[:4] == b"ds64":
            sizes = file.read(16)
            wide = struct.unpack("<Q", sizes[8:])[0] if len(sizes) == 16 else 0
        if chunk[:4] == b"data":
            return _compared(wide if wide and length == OPEN else length, size - begin)
        file.seek(begin + length + length % 2)
    return 0, 0


def _compared(declared: int, there: int) -> tuple[int, int]:
    """Return both; the same where the length is open, and within what headers are often wrong."""
    is_open = declared == OPEN or 0x7FFFF000 <= declared <= 0x7FFFFFFF
    if is_open or abs(declared - there) <= HEADER_SLACK:
        return there, there
    return declared, max(there, 0)


def _last_page(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return the bytes that the last page of an Ogg file declares and has (RFC 3533, section 6)."""
    file.seek(max(0, size - 65_307))  # the longest page
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return 1, 0
    return sum(page[27 : 27 + page[26]]), len(page) - 27 - page[26]


def read(path: Path, least_s: float = 0.0) -> NDArray[np.float32]:
    """Return a sound file as mono float32 at RATE_HZ, (n_samples,).

    Raises InputError for a file that is corrupt, empty, silent, shorter than ``least_s`` (within
    LENGTH_TOLERANCE_S), longer than MOST_S, or that holds NaN or infinity.
    """
    declared_s = duration_s(path)
    if declared_s > MOST_S:
        raise InputError(
            f"{path}: declares {declared_s / 60:.0f} minutes; a clip has at most {MOST_S / 60:g}; "
            "cut it into clips"
        )
    pieces = list(blocks(path, block_s=MOST_S)) or [np.zeros(0, np.float32)]
    wave = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
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
                pieces, open_ = [], min(size, left)
                while open_ > 0:
                    data = file.read(
                        min(open_, MOST_VALUES // file.channels), dtype="float32", always_2d=True
                    )
                    left -= len(data)
                    open_ -= len(data)
                    if len(data) == 0:
                        check_reachable(path)
                        raise InputError(f"{path}: is cut short; {left} samples are missing")
                    mono = data.mean(axis=1) if file.channels > 1 else data[:, 0]
                    if rate_hz != RATE_HZ:
                        mono = stream.resample_chunk(mono, last=left == 0)
                    pieces.append(mono)
                yield pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        check_reachable(path)
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
