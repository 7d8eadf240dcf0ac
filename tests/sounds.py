"""Write sound files of every format that is read, for tests."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

FORMATS = {  # suffix -> format and subtype of libsndfile
    ".wav": ("WAV", "PCM_16"), ".wave": ("WAV", "PCM_24"), ".bwf": ("WAVEX", "PCM_16"),
    ".w64": ("W64", "PCM_16"), ".rf64": ("RF64", "PCM_16"), ".aif": ("AIFF", "PCM_16"),
    ".aiff": ("AIFF", "FLOAT"), ".aifc": ("AIFF", "ULAW"), ".caf": ("CAF", "PCM_16"),
    ".au": ("AU", "PCM_16"), ".snd": ("AU", "FLOAT"), ".flac": ("FLAC", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"), ".ogg": ("OGG", "VORBIS"), ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}  # fmt: skip
LOSSLESS = (".wav", ".wave", ".bwf", ".w64", ".rf64", ".aif", ".aiff", ".caf", ".au", ".snd",
            ".flac")  # fmt: skip


def ffmpeg(*arguments: object) -> bytes:
    """Run ffmpeg and return its standard output; skip the test if it is not installed."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("the ffmpeg program is not installed")
    command = [program, "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def write_sound(path: Path, wave: np.ndarray, rate_hz: int) -> Path:
    """Write a wave (samples,) or (samples, channels) in the format that the suffix names."""
    if path.suffix in FORMATS:
        file_format, subtype = FORMATS[path.suffix]
        if path.suffix == ".opus":
            n = round(len(wave) * 24_000 / rate_hz)  # Opus has this rate
            wave, rate_hz = scipy.signal.resample(wave, n), 24_000
        soundfile.write(path, wave, rate_hz, format=file_format, subtype=subtype)
        return path
    source = path.with_name(f"{path.name}.source.wav")
    soundfile.write(source, wave, rate_hz, subtype="PCM_16")
    ffmpeg("-i", source, path)
    source.unlink()
    return path
