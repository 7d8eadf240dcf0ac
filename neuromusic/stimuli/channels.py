"""Which channel of a sound is used: their mean, or one of them."""

import logging
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean

log = logging.getLogger(__name__)

Channel = Literal["mix", "left", "right"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
# How far the mix may be below the louder channel. One silent channel of two makes 6 dB.
REFUSED_DB = 40.0
DOUBTFUL_DB = 20.0
ROWS = 1 << 16  # that are squared at once
SILENT_POWER = 1e-12  # less is rounding
ONES = np.ones(ROWS, np.float32)  # a product with it is a fast sum


def check_channel(channel: str) -> None:
    """Raise InputError unless ``channel`` is one of CHANNELS."""
    if channel not in CHANNELS:
        raise InputError(
            f"channel={channel!r}: expected {', '.join(CHANNELS)}{did_you_mean(channel, CHANNELS)}"
        )


def channel_setting(channel: Channel) -> dict[str, Channel]:
    """Return the setting of a channel for a record; records without one mean the mix."""
    return {} if channel == "mix" else {"channel": channel}


class Mixer:
    """Turns samples (n, channels) into mono, and notices channels that cancel each other.

    Parameters
    ----------
    channel : {"mix", "left", "right"}
        The mean of all channels, or the first or the second of them. A sound with one channel has
        no other.
    n_channels : int
        Number of channels.
    """

    def __init__(self, channel: Channel, n_channels: int) -> None:
        check_channel(channel)
        self.channel, self.n_channels = channel, n_channels
        self.n = 0
        # Of each channel, and of the mix in the last place.
        self.offsets = np.zeros(n_channels + 1, np.float32)
        self.sums, self.squares = np.zeros((2, n_channels + 1))

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next samples as mono, (n,)."""
        if self.n_channels == 1 or self.channel == "left":
            return np.ascontiguousarray(samples[:, 0])
        if self.channel == "right":
            return np.ascontiguousarray(samples[:, 1])
        mono: NDArray[np.float32]
        if self.n_channels == 2:  # the same as `mean`, which is slow along a short axis
            mono = (samples[:, 0] + samples[:, 1]) / np.float32(2)
        else:
            mono = samples.mean(axis=1)
        with np.errstate(all="ignore"):  # NaN and infinity are reported when the sound is complete
            for first in range(0, len(samples), ROWS):
                rows = slice(first, first + ROWS)
                for number, values in enumerate((*samples[rows].T, mono[rows])):
                    if self.n == first == 0:  # a constant would make the squares inexact
                        self.offsets[number] = values.mean()
                    centred = values - self.offsets[number]
                    self.sums[number] += ONES[: len(values)] @ centred
                    self.squares[number] += centred @ centred
        self.n += len(samples)
        return mono

    def check(self, path: Path) -> None:
        """Raise InputError if the channels of a file cancelled each other; warn if in part.

        The power of the mix, without its mean, is compared with that of the loudest channel. The
        mix of n independent channels, of which only one sounds, is 20 log10(n) dB below it.
        """
        if self.n == 0:
            return
        powers = np.maximum(0, self.squares / self.n - (self.sums / self.n) ** 2)
        loudest, mix = float(powers[:-1].max()), float(powers[-1])
        if not np.isfinite(loudest) or loudest <= SILENT_POWER:
            return
        below_db = 10 * np.log10(loudest / mix) if mix > 0 else np.inf
        allowed_db = 20 * np.log10(max(1.0, self.n_channels / 2))
        what = (
            f"its channels cancel each other: their mix is {below_db:.0f} dB below the louder one; "
            "set channel to left or right"
        )
        if below_db >= REFUSED_DB + allowed_db:
            raise InputError(f"{path}: {what}")
        if below_db >= DOUBTFUL_DB + allowed_db:
            log.warning("%s: %s, or ignore this if it is meant to be so", path, what)
