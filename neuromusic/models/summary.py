"""Tables of the networks: parameters, multiply-adds, shapes and receptive fields."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuromusic.core.progress import track
from neuromusic.features.frontends.mel import MelSpec, mel_hz
from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import create_model, list_models, model_entry
from neuromusic.stimuli.audio import RATE_HZ

# Windows for which every registered network can be built.
SPECS = {
    "bands": InputSpec(n_bands=128, n_frames=430, frame_s=MelSpec().frame_s, n_classes=10),
    "wave": InputSpec(n_bands=1, n_frames=5 * RATE_HZ, frame_s=1 / RATE_HZ, n_classes=10),
}
CENTRE_HZ = 1000.0  # where a width in mel bands is converted to octaves


def multiply_adds(network: Network) -> int:
    """Return the multiply-adds of one window: those of convolutions, dense layers and GRUs."""
    return sum(multiply_adds_of_layers(network).values())


def multiply_adds_of_layers(network: Network) -> dict[nn.Module, int]:
    """Return layer -> multiply-adds of one window, for convolutions, dense layers and GRUs."""
    counts: dict[nn.Module, int] = {}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], out: Any) -> None:
        if isinstance(layer, nn.GRU):
            weights = [p for p in layer.parameters() if p.ndim == 2]
            n = math.prod(inputs[0].shape[:2]) * sum(p.numel() for p in weights)
        elif isinstance(layer, nn.Linear):
            n = out.numel() * layer.in_features
        elif isinstance(layer, nn.Conv1d | nn.Conv2d):
            n = out.numel() * math.prod(layer.weight.shape[1:])
        else:
            return
        counts[layer] = counts.get(layer, 0) + n

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    training, spec = network.training, network.spec
    try:
        with torch.no_grad():
            network.eval()(network.band_mean.new_zeros(1, spec.n_rows, spec.n_frames))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return counts


def octaves(bands: float) -> float:
    """Return the width in octaves of n mel bands around CENTRE_HZ, clipped to the bands' range."""
    hz = mel_hz(SPECS["bands"].n_bands)
    centre = int(np.abs(hz - CENTRE_HZ).argmin())
    half = bands / 2
    low, high = np.interp([centre - half, centre + half], np.arange(len(hz)), hz)
    return float(np.log2(high / low))


def _field_text(network: Network, stage: str) -> tuple[str, str]:
    bands, frames = network.geometry(stage).field
    spec = network.spec
    seconds = frames * spec.frame_s
    time = f"{seconds:.2f} s" if frames < spec.n_frames else "window"
    return time, f"{octaves(bands):.1f} oct" if bands < spec.n_bands else "all"


def model_rows(names: list[str] | None = None) -> list[dict[str, str]]:
    """Return one row per registered network, for its input in SPECS."""
    rows = []
    names = names or list_models()
    for name in track(names, "build", len(names)):
        kind = model_entry(name).input
        network = create_model(name, SPECS[kind], seed=0)
        last = [stage.name for stage in network.stages if stage.name != "GRU"][-1]
        time, width = _field_text(network, last)
        rows.append(
            {
                "name": name,
                "input": kind,
                "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
                "multiply-adds": f"{multiply_adds(network) / 1e6:,.0f} M",
                "receptive field": time,
                "at 1 kHz": width,
                "stages": ", ".join(stage.name for stage in network.stages),
            }
        )
    return rows


def stage_rows(name: str) -> list[dict[str, str]]:
    """Return one row per stage of a network and one for its readout, for its input in SPECS.

    Parameters and multiply-adds are those that a stage adds to the stages before it.
    """
    spec = SPECS[model_entry(name).input]
    network = create_model(name, spec, seed=0).eval()
    with torch.no_grad():
        active = network.activations(torch.zeros(1, spec.n_rows, spec.n_frames))
    counts = multiply_adds_of_layers(network)
    rows = []
    n_left, adds_left = sum(p.numel() for p in network.parameters()), sum(counts.values())
    for stage in network.stages:
        time, width = _field_text(network, stage.name)
        layers = [layer for part in network.part(stage.name) for layer in part.modules()]
        n = sum(p.numel() for layer in layers for p in layer.parameters(recurse=False))
        adds = sum(counts.get(layer, 0) for layer in layers)
        n_left, adds_left = n_left - n, adds_left - adds
        rows.append(
            {
                "stage": stage.name,
                "area": stage.area or "-",
                "Brodmann": ", ".join(map(str, stage.brodmann)) or "-",
                "shape (..., time)": " x ".join(map(str, active[stage.name].shape[1:])),
                "frame": f"{stage.pool * spec.frame_s:.3f} s",
                "parameters": f"{n:,}",
                "multiply-adds": f"{adds / 1e6:,.1f} M",
                "receptive field": time,
                "at 1 kHz": width,
            }
        )
    readout = {
        "stage": "readout",
        "shape (..., time)": str(spec.n_classes),
        "parameters": f"{n_left:,}",
        "multiply-adds": f"{adds_left / 1e6:,.1f} M",
    }
    return [*rows, dict.fromkeys(rows[0], "-") | readout]
