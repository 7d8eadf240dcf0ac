"""The registry as tables: parameters, shapes and receptive fields."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from neuromusic.features import MelSpec, mel_hz
from neuromusic.models.base import InputSpec, Network, build_model, model_names

# The window in which every network of the registry can be built.
SPEC = InputSpec(n_mels=128, n_frames=430, frame_s=MelSpec().frame_s, n_classes=10)
CENTRE_HZ = 1000.0  # where a width in mel bands is told in Hz


def receptive_fields(network: Network) -> list[tuple[int, int]]:
    """Return (bands, frames) that one unit of each convolutional stage sees.

    Layers in the order of their registration: r += (k - 1) * j, j *= stride, for each axis
    (Araujo, Norris and Sim 2019, Distill, eq. 2).
    """
    field, jump = np.ones(2, int), np.ones(2, int)
    fields = []
    assert isinstance(network.blocks, nn.ModuleList)
    for block in network.blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                kernel = np.broadcast_to(layer.kernel_size, 2)
                dilation = np.broadcast_to(getattr(layer, "dilation", 1), 2)
                field = field + (kernel - 1) * dilation * jump
                jump = jump * np.broadcast_to(layer.stride, 2)
        fields.append((int(field[0]), int(field[1])))
    return fields


def width_hz(bands: int) -> float:
    """Return the width in Hz of so many mel bands around CENTRE_HZ, cut off at the ends."""
    hz = mel_hz(SPEC.n_mels)
    centre = int(np.abs(hz - CENTRE_HZ).argmin())
    low, high = max(0, centre - bands // 2), min(len(hz) - 1, centre + bands // 2)
    return float(hz[high] - hz[low])


def multiply_adds(network: Network) -> int:
    """Return the multiplications (each with its addition) of one window through a network.

    Of its convolutions, dense layers and GRUs, which are nearly all of them.
    """
    total = 0

    def count(layer: nn.Module, given: tuple[torch.Tensor, ...], out: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.GRU):
            steps = math.prod(given[0].shape[:2])
            weights = [p for p in layer.parameters() if p.ndim == 2]
            total += steps * sum(p.numel() for p in weights)
        elif isinstance(layer, nn.Linear):
            total += out.numel() * layer.in_features
        elif isinstance(layer, nn.Conv1d | nn.Conv2d):
            total += out.numel() * math.prod(layer.weight.shape[1:])

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, network.spec.n_mels, network.spec.n_frames))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return total


def _field_texts(network: Network) -> list[tuple[str, str]]:
    texts = [
        (f"{frames * SPEC.frame_s:.2f} s", f"{width_hz(bands):.0f} Hz")
        for bands, frames in receptive_fields(network)
    ]
    recurrent = len(network.stages) - len(texts)
    return texts + [("window", "all")] * recurrent


def model_rows() -> list[dict[str, str]]:
    """Return one row a network of the registry."""
    rows = []
    for name in model_names():
        network = build_model(name, SPEC, seed=0)
        convolutions = receptive_fields(network)
        time, width = _field_texts(network)[len(convolutions) - 1]
        rows.append(
            {
                "name": name,
                "input": "log-mel",
                "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
                "stages": " > ".join(stage.name for stage in network.stages),
                "receptive field": time,
                "around 1 kHz": width,
            }
        )
    return rows


def stage_rows(name: str) -> list[dict[str, str]]:
    """Return one row a stage of a network, for the input SPEC."""
    network = build_model(name, SPEC, seed=0).eval()
    with torch.no_grad():
        active = network.activations(torch.zeros(1, SPEC.n_mels, SPEC.n_frames))
    rows = []
    for stage, (time, width) in zip(network.stages, _field_texts(network), strict=True):
        shape = tuple(active[stage.name].shape[1:])
        rows.append(
            {
                "stage": stage.name,
                "area": stage.area or "-",
                "Brodmann": ", ".join(map(str, stage.brodmann)) or "-",
                "shape (..., time)": " x ".join(map(str, shape)),
                "frame": f"{stage.pool * SPEC.frame_s:.3f} s",
                "receptive field": time,
                "around 1 kHz": width,
            }
        )
    return rows
