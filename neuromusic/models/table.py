"""The registry as tables: parameters, multiply-adds, shapes and receptive fields."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from neuromusic.audio import RATE_HZ
from neuromusic.features import MelSpec, mel_hz
from neuromusic.models.base import InputSpec, Network, build_model, entry, model_names

# The windows in which every network of the registry can be built.
SPECS = {
    "bands": InputSpec(n_bands=128, n_frames=430, frame_s=MelSpec().frame_s, n_classes=10),
    "wave": InputSpec(n_bands=1, n_frames=5 * RATE_HZ, frame_s=1 / RATE_HZ, n_classes=10),
}
CENTRE_HZ = 1000.0  # where a width in mel bands is told in octaves


def multiply_adds(network: Network) -> int:
    """Return the multiply-adds of convolutions, dense layers and GRUs for one window."""
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], out: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal total
        made = out[0] if isinstance(out, tuple) else out
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            total += made.numel() * (module.in_channels // module.groups) * _kernel(module)
        elif isinstance(module, nn.Linear):
            total += made.numel() * module.in_features
        elif isinstance(module, nn.GRU):
            directions = 2 if module.bidirectional else 1
            each = 3 * module.hidden_size * (module.input_size + module.hidden_size)
            total += made.numel() // module.hidden_size * each
            assert module.num_layers == 1 and made.shape[-1] == directions * module.hidden_size

    counted = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.GRU)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, counted)]
    training = network.training
    spec = network.spec
    try:
        with torch.no_grad():
            network.eval()(
                torch.zeros(1, spec.n_rows, spec.n_frames, device=network.band_mean.device)
            )
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return total


def _kernel(module: nn.Conv1d | nn.Conv2d) -> int:
    return math.prod(module.kernel_size)


def octaves(bands: float) -> float:
    """Return the width in octaves of so many mel bands around CENTRE_HZ, cut off at the ends."""
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
    """Return one row a network of the registry."""
    rows = []
    for name in names or model_names():
        kind = entry(name).input
        network = build_model(name, SPECS[kind], seed=0)
        last = [stage.name for stage in network.stages if stage.name != "GRU"][-1]
        time, width = _field_text(network, last)
        rows.append(
            {
                "name": name,
                "input": kind,
                "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
                "multiply-adds": f"{multiply_adds(network) / 1e6:,.0f} M",
                "receptive field": time,
                "around 1 kHz": width,
                "stages": ", ".join(stage.name for stage in network.stages),
            }
        )
    return rows


def stage_rows(name: str) -> list[dict[str, str]]:
    """Return one row a stage of a network, for its input in SPECS."""
    spec = SPECS[entry(name).input]
    network = build_model(name, spec, seed=0).eval()
    with torch.no_grad():
        active = network.activations(torch.zeros(1, spec.n_rows, spec.n_frames))
    rows = []
    for stage in network.stages:
        time, width = _field_text(network, stage.name)
        shape = tuple(active[stage.name].shape[1:])
        rows.append(
            {
                "stage": stage.name,
                "area": stage.area or "-",
                "Brodmann": ", ".join(map(str, stage.brodmann)) or "-",
                "shape (..., time)": " x ".join(map(str, shape)),
                "frame": f"{stage.pool * spec.frame_s:.3f} s",
                "receptive field": time,
                "around 1 kHz": width,
            }
        )
    return rows
