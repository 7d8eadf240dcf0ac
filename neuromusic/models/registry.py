"""TODO: docstring."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.models.network import Builder, Input, InputSpec, Network

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}


@dataclass(frozen=True)
class ModelEntry:
    """A network of the registry."""

    name: str
    build: Builder
    input: Input


_REGISTRY: dict[str, ModelEntry] = {}


def register_model(name: str, input: Input = "bands") -> Callable[[Builder], Builder]:
    """Enter a builder ``(spec, **options) -> Network`` into the registry under a name."""

    def enter(builder: Builder) -> Builder:
        _REGISTRY[name] = ModelEntry(name, builder, input)
        return builder

    return enter


def list_models() -> list[str]:
    """Return the names in the registry, sorted."""
    return sorted(_REGISTRY)


def model_entry(name: str) -> ModelEntry:
    """Return a network's model_entry in the registry; raise InputError for an unknown name."""
    if name not in _REGISTRY:
        raise InputError(
            f"unknown model {name!r}; known: {', '.join(list_models())}"
            f"{did_you_mean(name, list_models())}"
        )
    return _REGISTRY[name]


def create_model(
    name: str, spec: InputSpec, seed: int, activation: str = "relu", **options: Any
) -> Network:
    """Build a network with the weights that a seed gives; torch's global state is left as it was.

    ``activation`` (relu, leaky_relu or elu) takes the place of every ReLU. Raises InputError for an
    unknown name or option, and where the window is too short for it.
    """
    build = model_entry(name).build
    known = list(inspect.signature(build).parameters)[1:]
    for option in options:
        if option not in known:
            raise InputError(
                f"model {name}: unknown option {option!r}; known: {', '.join(known) or 'none'}"
                f"{did_you_mean(option, known)}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec, **options)
    if activation != "relu":
        _replace_relu(network, ACTIVATIONS[activation])
    return network


def _replace_relu(module: nn.Module, new: Callable[[], nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, new())
        else:
            _replace_relu(child, new)
