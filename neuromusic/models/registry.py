"""Networks by name: register a builder, list the names, create a network."""

import fnmatch
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.models.network import Builder, Input, InputSpec, Network

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}


@dataclass(frozen=True)
class ModelEntry:
    """A registered network: its name, its builder, and whether it takes bands or a wave."""

    name: str
    build: Builder
    input: Input


_REGISTRY: dict[str, ModelEntry] = {}


def register_model(name: str, input: Input = "bands") -> Callable[[Builder], Builder]:
    """Return a decorator that registers a builder ``(spec, **options) -> Network``.

    Parameters
    ----------
    name : str
        Name for `create_model` and for ``model.name`` in the settings.
    input : {"bands", "wave"}
        Whether the network takes the output of a front end or samples.

    Returns
    -------
    callable
        The decorator; it returns the builder unchanged.

    Raises
    ------
    ValueError
        If the name is taken by another builder.

    Examples
    --------
    >>> import neuromusic as nm
    >>> from torch import nn
    >>> from neuromusic.models.network import Chain, MeanOverMap
    >>> @nm.register_model("my-net")
    ... def my_net(spec, width=8):
    ...     conv = nn.Sequential(nn.Conv2d(spec.n_channels, width, 3, padding=1), nn.ReLU())
    ...     def head(last):
    ...         return nn.Sequential(MeanOverMap(), nn.Linear(width, spec.n_classes))
    ...     return Chain(spec, {"conv1": conv}, head)
    >>> nm.list_models("my-*")
    ['my-net']
    """

    def register(builder: Builder) -> Builder:
        known = _REGISTRY.get(name)
        # A module that is reloaded, as in a notebook, registers the same function again.
        if known is not None and known.build.__qualname__ != builder.__qualname__:
            raise ValueError(f"the model name {name!r} is taken")
        _REGISTRY[name] = ModelEntry(name, builder, input)
        return builder

    return register


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the registered networks.

    Parameters
    ----------
    pattern : str
        Shell pattern that the names must match, such as "vgg*".

    Returns
    -------
    list of str
        The names, sorted.

    Raises
    ------
    TypeError
        If the pattern is not a string.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.list_models("cortex*")
    ['cortex-r', 'cortex-rt', 'cortex-s', 'cortex-z']
    """
    return sorted(fnmatch.filter(_REGISTRY, pattern))


def model_entry(name: str) -> ModelEntry:
    """Return the registry's entry of a network; raise InputError for an unknown name."""
    if name not in _REGISTRY:
        raise InputError(
            f"unknown model {name!r}; known: {listed(list_models())} ('neuromusic models' lists "
            "them)"
            f"{did_you_mean(name, list_models())}"
        )
    return _REGISTRY[name]


def create_model(
    name: str, spec: InputSpec, seed: int = 0, activation: str = "relu", **options: Any
) -> Network:
    """Build a registered network with random weights.

    Parameters
    ----------
    name : str
        A name from `list_models`.
    spec : InputSpec
        Sizes of the input and number of classes.
    seed : int
        Seed of the weights; torch's global random state is left unchanged.
    activation : {"relu", "leaky_relu", "elu"}
        Activation function that replaces every ReLU.
    **options
        Options of the network, such as ``size="large"``.

    Returns
    -------
    Network
        The network in training mode. ``activations(x)`` maps windows (B, rows, frames) to
        stage -> (B, ..., time); calling it gives logits (B, classes).

    Raises
    ------
    InputError
        If the name or an option is unknown, or the window is too short for the network.

    Examples
    --------
    >>> import neuromusic as nm
    >>> spec = nm.InputSpec(n_bands=128, n_frames=129, frame_s=0.0775, n_classes=10)
    >>> network = nm.create_model("cortex-z", spec, size="tiny")
    >>> [stage.name for stage in network.stages]
    ['A1', 'belt', 'PB', 'T2T3', 'GRU']
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
