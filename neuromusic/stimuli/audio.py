"""Read and write sound files: any format of libsndfile or ffmpeg, as mono at one rate.

The format is decided by content. How long a sound is, is decided by walking through its frames
(`sound_headers`), and must agree with what the decoder returns.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_reachable, reading
from neuromusic.core.folders import why_no_file
from neuromusic.stimuli import ffmpeg
from neuromusic.stimuli.channels import Channel, Mixer, check_channel
from neuromusic.stimuli.layout import Layout
from neuromusic.stimuli.mpeg import byte_of_frame
from neuromusic.stimuli.sound_headers import layout_of

log = logging.getLogger(__name__)

RATE_HZ = 22_050
BLOCK_S = 30.0  # of a long sound that is read in blocks
# Of files that are looked for in folders; upper and lower case are the same.
SUFFIXES = (
    ".wav", ".wave", ".bwf", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd",
    ".flac", ".mp3", ".mp2", ".ogg", ".oga", ".opus", *ffmpeg.SUFFIXES,
)  # fmt: skip
# One of the clips of ds003720, pop.00049, is 14.99 s long.
LENGTH_TOLERANCE_S = 0.02
# Limits for what a header may declare. Ultrasound is recorded at up to 1 MHz.
RATES_HZ = (1_000, 1_000_000)
MOST_CHANNELS = 64
MOST_S = 1800.0  # of a sound that is read as a whole; `blocks` reads longer ones
MOST_STREAMED_S = 7 * 24 * 3600.0
MOST_VALUES = 1 << 24  # samples x channels that are decoded at once

Resampler = Callable[[NDArray[np.float32], bool], NDArray[np.float32]]


def duration_s(path: Path) -> float:
    """Return the length of a sound file in s, from its header and the headers of its frames.

    Raises InputError if the file has no valid header, if the header declares impossible values, or
    if the file is shorter than it declares or damaged.
    """
    with _opened(Path(path)) as sound:
        return sound.length_s


@dataclass(frozen=True)
class _Sound:
    """An open sound file.

    Attributes
    ----------
    path : Path
        The file.
    file : soundfile.SoundFile or ffmpeg.Decoder
        Decoder.
    n_samples : int or None
        Samples per channel that the decoder is going to return; None if it does not know.
    length_s : float
        Duration.
    layout : Layout
        What the file contains.
    """

    path: Path
    file: Any
    n_samples: int | None
    length_s: float
    layout: Layout

    def check_complete(self, done: int) -> None:
        """Raise InputError if the decoder has returned fewer samples than the file contains."""
        layout, rate_hz = self.layout, self.file.samplerate
        expected = self.n_samples if layout.n_samples is None else layout.n_samples
        if expected is None or done >= expected - layout.tolerance:
            return
        check_reachable(self.path)
        stops = f"{done / rate_hz:.2f} s"
        if layout.unit_samples == 1:
            raise InputError(
                f"{self.path}: is truncated at {stops}; {expected - done} of its {expected} "
                "samples are missing; get another copy"
            )
        frame = done // layout.unit_samples
        raise InputError(
            f"{self.path}: is damaged; its MPEG frames contain {expected} samples, but the decoder "
            f"returns {done} and stops at {stops} (frame {frame}, byte "
            f"{byte_of_frame(self.path, frame)}); get another copy"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Sound]:
    """Open a sound file; raise InputError if it cannot be used."""
    if not path.is_file():
        raise InputError(f"{path}: {why_no_file(path)}")
    with contextlib.ExitStack() as stack:
        with reading(path):
            with open(path, "rb") as file:
                container = ffmpeg.container_of(file.read(16))
            sound = (_open_ffmpeg if container else _open_sndfile)(path, container or "", stack)
            _check_header(sound)
        yield sound


def _open_sndfile(path: Path, _: str, stack: contextlib.ExitStack) -> _Sound:
    import soundfile

    layout = layout_of(path)
    try:
        file = None
        if not (layout.corrected and layout.header_is_wrong):
            file = stack.enter_context(soundfile.SoundFile(str(path)))
        if layout.corrected and (file is None or _differs(file.frames, layout)):
            whole = stack.enter_context(contextlib.closing(layout.corrected()))
            file = stack.enter_context(soundfile.SoundFile(whole))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:  # TypeError: raw samples
        raise InputError(f"{path}: is not a readable sound file ({error})") from None
    assert file is not None
    if _differs(file.frames, layout):
        raise InputError(
            f"{path}: contains {layout.n_samples} samples, but its header makes the decoder read "
            f"{file.frames}; write it again"
        )
    return _Sound(path, file, file.frames, file.frames / file.samplerate, layout)


def _differs(n_samples: int, layout: Layout) -> bool:
    return layout.n_samples is not None and abs(n_samples - layout.n_samples) > layout.tolerance


def _open_ffmpeg(path: Path, container: str, stack: contextlib.ExitStack) -> _Sound:
    length_s, is_exact = ffmpeg.duration_s(path, container)
    decoder = stack.enter_context(ffmpeg.Decoder.open(path, container))
    rate_hz = decoder.samplerate
    layout = Layout(round(length_s * rate_hz), round(ffmpeg.TOLERANCE_S * rate_hz))
    return _Sound(path, decoder, None, length_s, layout if is_exact else Layout())


def _check_header(sound: _Sound) -> None:
    """Raise InputError if a header declares impossible values."""
    least_hz, most_hz = RATES_HZ
    rate_hz, channels = sound.file.samplerate, sound.file.channels
    if not (least_hz <= rate_hz <= most_hz and 1 <= channels <= MOST_CHANNELS):
        raise InputError(
            f"{sound.path}: declares {rate_hz} Hz and {channels} channels; expected "
            f"{least_hz} to {most_hz} Hz and at most {MOST_CHANNELS} channels"
        )
    if not 0 <= sound.length_s <= MOST_STREAMED_S:
        raise InputError(
            f"{sound.path}: declares {sound.length_s / 3600:.3g} hours of sound; expected at most "
            f"{MOST_STREAMED_S / 3600:g}"
        )


def read(
    path: Path, least_s: float = 0.0, channel: Channel = "mix", to_hz: int = RATE_HZ
) -> NDArray[np.float32]:
    """Return a sound file as mono at ``to_hz``, shape (n_samples,).

    ``channel`` is the mean of all channels, or the left or the right one. Raises InputError if the
    file is corrupt, empty, silent, shorter than ``least_s`` (within LENGTH_TOLERANCE_S) or longer
    than MOST_S, contains NaN or infinity, or if its channels cancel each other in the mix.
    """
    path = Path(path)
    check_channel(channel)
    with _opened(path) as sound:
        if sound.length_s > MOST_S:
            raise InputError(
                f"{path}: declares {sound.length_s / 60:.0f} minutes; a clip may last at most "
                f"{MOST_S / 60:g}; cut it into clips"
            )
        pieces = list(_decode(sound, MOST_S, channel, to_hz)) or [np.zeros(0, np.float32)]
    wave = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    length_s = len(wave) / to_hz
    if length_s < least_s - LENGTH_TOLERANCE_S:
        raise InputError(f"{path}: lasts {length_s:.2f} s; expected at least {least_s:g} s")
    check_sound(wave, path)
    return wave


def played_blocks(
    path: Path, played_s: float, channel: Channel = "mix", block_s: float = BLOCK_S,
    to_hz: int = RATE_HZ,
) -> Iterator[NDArray[np.float32]]:  # fmt: skip
    """Yield what was played of a sound file, as mono at ``to_hz`` in blocks of about ``block_s``.

    The rest of a sound that is longer than ``played_s``, by more than LENGTH_TOLERANCE_S, is cut
    off. Raises InputError as `read`, but there is no limit of the length.
    """
    path = Path(path)
    n_played, n_samples, has_sound = round(played_s * to_hz), 0, False
    after: list[NDArray[np.float32]] = []  # samples beyond n_played, of which few can be needed
    most = (played_s + LENGTH_TOLERANCE_S) * to_hz
    for block in blocks(path, block_s, channel, to_hz):
        here = max(0, n_played - n_samples)
        n_samples += len(block)
        if not np.isfinite(block).all():
            check_sound(block, path)
        has_sound = has_sound or bool(block.any())
        if here < len(block) and n_samples <= most:
            after.append(block[here:].copy())  # a view would keep the block in memory
        if here:
            yield block[:here]
    length_s = n_samples / to_hz
    if length_s < played_s - LENGTH_TOLERANCE_S:
        raise InputError(f"{path}: lasts {length_s:.2f} s; expected at least {played_s:g} s")
    if not has_sound:
        check_sound(np.zeros(n_samples, np.float32), path)
    if n_samples <= most:
        yield from after


def check_sound(wave: NDArray[np.float32], path: Path) -> None:
    """Raise InputError if a wave is empty or silent, or contains NaN or infinity."""
    if wave.size == 0:
        raise InputError(f"{path}: is empty; expected sound")
    if not np.isfinite(wave).all():
        raise InputError(f"{path}: contains NaN or infinite samples; write it again")
    if not wave.any():
        raise InputError(f"{path}: is silent; expected sound")


def blocks(
    path: Path, block_s: float, channel: Channel = "mix", to_hz: int = RATE_HZ
) -> Iterator[NDArray[np.float32]]:
    """Yield a sound file as mono at ``to_hz`` in blocks of about ``block_s`` seconds.

    One soxr filter runs through all blocks, so that their concatenation equals the resampled whole.

    Raises InputError if the file is corrupt or truncated, or if its channels cancel each other.
    """
    check_channel(channel)
    with _opened(Path(path)) as sound:
        yield from _decode(sound, block_s, channel, to_hz)


def _resampler(rate_hz: int, to_hz: int) -> Resampler:
    """Return a function of (samples, whether they are the last) that resamples to ``to_hz``."""
    import soxr

    if rate_hz == to_hz:
        return lambda samples, is_last: samples
    stream = soxr.ResampleStream(rate_hz, to_hz, 1, dtype="float32", quality="HQ")
    return lambda samples, is_last: stream.resample_chunk(samples, last=is_last)


def _decode(
    sound: _Sound, block_s: float, channel: Channel, to_hz: int
) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of an open file as mono at ``to_hz``; raise InputError as `blocks`."""
    rate_hz, n_channels = sound.file.samplerate, sound.file.channels
    resample, mix = _resampler(rate_hz, to_hz), Mixer(channel, n_channels)
    block_samples = max(1, int(block_s * rate_hz))
    n_samples = 1 << 62 if sound.n_samples is None else sound.n_samples
    done = 0
    ended = n_samples == 0
    while not ended:
        pieces = []
        n = 0
        while n < block_samples and not ended:
            most = min(block_samples - n, MOST_VALUES // n_channels, n_samples - done)
            samples = _next_samples(sound, most, done)
            n += len(samples)
            done += len(samples)
            ended = len(samples) == 0 or done == n_samples
            pieces.append(resample(mix(samples), ended))
        if ended:
            sound.check_complete(done)
        yield pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    mix.check(sound.path)
    if sound.layout.doubt:
        log.warning("%s: %s", sound.path, sound.layout.doubt)


def _next_samples(sound: _Sound, most: int, done: int) -> NDArray[np.float32]:
    """Return the next samples of a file, (n, channels), after ``done`` of them; none at its end."""
    import soundfile

    try:
        samples: NDArray[np.float32] = sound.file.read(most, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        check_reachable(sound.path)
        good = max(done, sound.file.tell())
        where = f"damaged after {good / sound.file.samplerate:.2f} s: " if good else ""
        reason = str(error) or f"error {getattr(error, 'code', '')} of the decoder"
        raise InputError(f"{sound.path}: is not a readable sound file ({where}{reason})") from None
    return samples


def write(path: Path, wave: NDArray[np.floating], rate_hz: int = RATE_HZ) -> None:
    """Write a mono wave as 16-bit wav; raise ValueError if it exceeds full scale."""
    import soundfile

    if np.abs(wave).max(initial=0.0) > 1.0:
        raise ValueError(f"{path}: peak {np.abs(wave).max():.3f} would clip")
    # Via memory, because libsndfile reports a full disk as "System error".
    with io.BytesIO() as file:
        soundfile.write(file, wave, rate_hz, format="WAV", subtype="PCM_16")
        path.write_bytes(file.getvalue())
