"""Copies of a trained network without what it has learned, and networks for inference."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from neuromusic.models.controls import permute_weights
from neuromusic.models.network import Network
from neuromusic.models.registry import create_model

if TYPE_CHECKING:
    from neuromusic.training.trained import TrainedNetwork


def untrained_copy(trained: "TrainedNetwork", number: int = 1) -> Network:
    """Return the same network with random weights, as a control.

    They are those it had before training; further copies (``number`` 2, 3, ...) have those of the
    next seeds.
    """
    model, seed = trained.config.model, trained.config.train.seed + number - 1
    network = create_model(
        model.name, trained.network.spec, seed, model.activation, **model.options
    )  # fmt: skip
    network.band_mean.copy_(trained.network.band_mean)
    network.band_std.copy_(trained.network.band_std)
    return for_inference(network)


def permuted_copy(trained: "TrainedNetwork", number: int = 1) -> Network:
    """Return the network with the values of each tensor of weights in random order, as a control.

    How inputs are normalised was not learned and stays; see `models.controls.permute_weights`.
    """
    return for_inference(permute_weights(trained.network, [trained.config.train.seed, number]))


CONTROLS: dict[str, Callable[["TrainedNetwork", int], Network]] = {
    "random": untrained_copy,
    "permuted": permuted_copy,
}


def to_channels_last(network: Network) -> Network:
    """Move a network's 4-D weights, in place, to the memory layout (B, height, width, channels).

    A CPU then pools and convolves with all of its vector units: most networks need two thirds of
    the time or less. With mixed precision a GPU is faster too.
    """
    # Some versions of torch declare no overload of `to` with a memory format alone.
    to: Callable[..., Network] = network.to
    return to(memory_format=torch.channels_last)


def for_inference(network: Network) -> Network:
    """Set a network to evaluation mode, in the memory layout of `to_channels_last`."""
    return to_channels_last(network.eval())
