"""Decode what libsndfile cannot (m4a, aac, mp4, wma) with the ffmpeg program."""

import contextlib
import re
import shutil
import struct
import subprocess  # nosec B404  # the commands are lists of arguments, without a shell
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

SUFFIXES = (".m4a", ".m4b", ".mp4", ".aac", ".wma")
DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d\.\d+)")
TIMEOUT_S = 60  # for the header
TOLERANCE_S = 0.1  # by which the declared duration may differ from the decoded one
AU_BYTES = 24
AU_FLOAT = 6


def container_of(head: bytes) -> str | None:
    """Return ffmpeg's name of a format that it must decode, from the first bytes of a file."""
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"\x30\x26\xb2\x75":
        return "asf"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    return None


def _command(path: Path, container: str) -> list[str]:
    """Return the beginning of a command line that reads a file, and nothing but this file."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise InputError(
            f"{path}: needs the ffmpeg program, which is not installed; install it, or convert the "
            "file to wav"
        )
    source = f"file:{path.absolute()}"
    return [
        program, "-nostdin", "-hide_banner", "-protocol_whitelist", "file,pipe", "-f", container,
        "-i", source,
    ]  # fmt: skip


def duration_s(path: Path, container: str) -> tuple[float, bool]:
    """Return the duration of a file, declared or, if its format declares none, decoded.

    Also returns whether that is the duration of the sound; a film may be longer than its sound.
    Raises InputError if ffmpeg is not installed or the file is not readable.
    """
    command = _command(path, container)
    try:
        done = subprocess.run(  # nosec B603
            command, capture_output=True, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{path}: ffmpeg does not answer; convert the file to wav") from None
    text = done.stderr.decode("utf-8", "replace")
    if "Audio:" not in text:
        raise InputError(f"{path}: is not a readable sound file ({_reason(text, path)})")
    found = DURATION.search(text)
    if found is None or container == "aac":  # of aac, ffmpeg gives an estimate
        with Decoder.open(path, container) as decoder:
            return _count(decoder) / decoder.samplerate, True
    hours, minutes, seconds = found.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds), "Video:" not in text


def _count(decoder: "Decoder") -> int:
    n_samples = 0
    while n := len(decoder.read(1 << 16)):
        n_samples += n
    return n_samples


def _reason(log: str, path: Path) -> str:
    """Return ffmpeg's last complaint, on one line."""
    lines = [line for line in log.splitlines() if line.strip()]
    wanted = [line for line in lines if not line.startswith(("At least one", "Error opening"))]
    text = (wanted or lines or ["ffmpeg gives no reason"])[-1]
    text = text.replace(f"file:{path.absolute()}", "").removeprefix(": ").strip()
    return re.sub(r"^\[[^]]*\] ", "", text)[:200]


class Decoder:
    """The samples of a file as ffmpeg decodes them, with the interface of `soundfile.SoundFile`."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._path, self._process, self._log = path, process, log
        assert process.stdout is not None
        self._out = process.stdout
        head = self._out.read(AU_BYTES)
        if len(head) < AU_BYTES or head[:4] != b".snd":
            raise self._failure()
        begin, _, encoding, self.samplerate, self.channels = struct.unpack(">5I", head[4:])
        assert encoding == AU_FLOAT
        self._out.read(begin - AU_BYTES)

    def read(self, n: int, dtype: str = "float32", always_2d: bool = True) -> NDArray[np.float32]:
        """Return the next ``n`` samples, or those that remain, (samples, channels)."""
        frame = 4 * self.channels
        data = self._out.read(n * frame)
        if len(data) < n * frame and (self._process.wait() or self._complaints()):
            raise self._failure()
        values = np.frombuffer(data[: len(data) // frame * frame], ">f4").astype(np.float32)
        return values.reshape(-1, self.channels)

    def _complaints(self) -> str:
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def _failure(self) -> InputError:
        self._process.wait()
        reason = _reason(self._complaints(), self._path)
        return InputError(f"{self._path}: is not a readable sound file ({reason})")

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, container: str) -> Iterator[Self]:
        """Decode a file in a process that ends with the context."""
        command = _command(path, container)
        command += ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        command[1:1] = ["-v", "error", "-xerror"]
        with (
            tempfile.TemporaryFile() as log,
            subprocess.Popen(  # nosec B603
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            ) as process,
        ):
            try:
                yield cls(path, process, log)
            finally:
                process.kill()
