"""Responses of networks to sounds, taken from the cache in use, or computed and stored there."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuromusic.core import cache
from neuromusic.core.files import sha256
from neuromusic.features.frontends.base import STAGES
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.identity import UnknownError, identity_of
from neuromusic.stimuli import ffmpeg

Arrays = Mapping[str, NDArray[Any]]
What = Sequence[Any]  # plain values that name what is computed from an input


@dataclass(frozen=True)
class Sound:
    """A network's input for one sound, which is computed if it is needed.

    Attributes
    ----------
    read : callable
        Returns the input, see `AppliedNetwork.input_of`.
    key : callable
        Returns what the input is computed from, as a key of a cache; None if the input itself must
        be the key, which is slower: it is then computed every time.
    is_array : bool
        Whether the input is an array that can be a key.
    """

    read: Callable[[], Any]
    key: Callable[[], str | None] = lambda: None
    is_array: bool = True


def sound_of_file(trained: AppliedNetwork, path: Path, played_s: float | None = None) -> Sound:
    """Return the sound in a file, of which at most ``played_s`` were played."""
    return Sound(
        lambda: trained.input_of(path, played_s), lambda: file_key(trained, path, played_s)
    )


def file_key(trained: AppliedNetwork, path: Path, how: float | str | None = None) -> str | None:
    """Return the key of a network's input for a sound file; None if it cannot be known.

    ``how`` is how the file becomes input. The input cannot be known from the file if it is decoded
    by the ffmpeg program, whose version may change, or if another network is the front end.
    """
    if trained.meta.front_end_name == STAGES:
        return None
    with open(path, "rb") as file:
        if ffmpeg.container_of(file.read(16)):
            return None
    import soundfile

    return _digest("file", sha256(path), how, soundfile.__libsndfile_version__)


def sound_of_wave(trained: AppliedNetwork, wave: NDArray[np.float32], gain: float) -> Sound:
    """Return the sound of samples at audio.RATE_HZ, multiplied by a gain."""

    def key() -> str | None:
        if trained.meta.front_end_name == STAGES:
            return None
        return _digest("wave", cache.digest_of({"wave": wave}), gain.hex())

    return Sound(lambda: trained.features_of(wave * np.float32(gain))[0], key)


def _input_key(x: Any) -> str:
    array = x.numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
    return _digest("input", cache.digest_of({"x": array}))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Responses:
    """Computes responses of a network, each once if a cache is in use.

    Parameters
    ----------
    trained : AppliedNetwork
        The network; it does not change while this is used.
    n_threads : int, optional
        Number of threads of torch that compute one response: the result may depend on it. By
        default those of the process.
    """

    def __init__(self, trained: AppliedNetwork, n_threads: int | None = None) -> None:
        self.cache = cache.current()
        self.network = ""
        self.n_threads = n_threads or torch.get_num_threads()
        if self.cache is None:
            return
        if trained.key_settings() is None:
            self.cache = None
            return
        try:
            self.network = identity_of(trained)
        except UnknownError as error:
            self.cache.warn_once(
                f"does not store activations of {trained.name}, which may change without notice: "
                f"{error}"
            )
            self.cache = None

    def all_of(
        self, sound: Sound, whats: Sequence[What],
        compute: Callable[[Any, list[int]], Sequence[Arrays]],
    ) -> list[Arrays]:  # fmt: skip
        """Return several responses to a sound, one for each of ``whats``.

        ``compute(x, numbers)`` returns those with the given numbers in ``whats`` for an input.
        """
        key, x = sound.key() if self.cache else None, None
        if self.cache is None or (key is None and not sound.is_array):
            return list(compute(sound.read(), list(range(len(whats)))))
        if key is None:
            x = sound.read()
            key = _input_key(x)
        keys = [_digest(self.network, self.n_threads, key, list(what)) for what in whats]
        found: list[Arrays | None] = [self.cache.get(each) for each in keys]
        missing = [number for number, each in enumerate(found) if each is None]
        if missing:
            computed = compute(sound.read() if x is None else x, missing)
            is_same = sound.key() in (key, None)  # a file may have changed while it was read
            for number, arrays in zip(missing, computed, strict=True):
                found[number] = arrays
                if is_same:
                    self.cache.put(keys[number], arrays)
        return [arrays for arrays in found if arrays is not None]

    def of(self, sound: Sound, what: What, compute: Callable[[Any], Arrays]) -> Arrays:
        """Return one response to a sound."""
        return self.all_of(sound, [what], lambda x, _: [compute(x)])[0]
