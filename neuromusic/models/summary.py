"""Tables of the networks: parameters, multiply-adds, shapes and receptive fields."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuromusic.core.files import write_text
from neuromusic.core.progress import track
from neuromusic.features.frontends.mel import MelSpec, mel_hz
from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import create_model, list_models, model_entry
from neuromusic.stimuli.audio import RATE_HZ

# The same 10 s of sound for every network: 430 frames of 128 mel bands, or 220 500 samples.
SPECS = {
    "bands": InputSpec(n_bands=128, n_frames=430, frame_s=MelSpec().frame_s, n_classes=10),
    "wave": InputSpec(n_bands=1, n_frames=10 * RATE_HZ, frame_s=1 / RATE_HZ, n_classes=10),
}
# Module of a network -> its family, in the order in which they are listed.
FAMILIES = {
    "cortex": "built like auditory cortex",
    "cnn": "convolutions, some with a GRU",
    "vision": "from image recognition",
    "wave": "on samples",
    "fragments": "from the study of 5-s fragments",
    "bands": "statistics of bands",
    "readout": "readouts of other networks",
}
TABLE = Path(__file__).with_name("networks.tsv")
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


def _field(network: Network, stage: str) -> tuple[str, str]:
    """Return a stage's receptive field in seconds and in octaves, or "all"."""
    bands, frames = network.geometry(stage).field
    spec = network.spec
    seconds = f"{frames * spec.frame_s:.2f}" if frames < spec.n_frames else "all"
    return seconds, f"{octaves(bands):.1f}" if bands < spec.n_bands else "all"


def network_row(name: str) -> dict[str, str]:
    """Return the row of a network in networks.tsv: its sizes for its input in SPECS.

    The receptive field is that of the last stage without a recurrent layer, in seconds and in
    octaves at 1 kHz; "all" if it covers the whole window or all bands.
    """
    entry = model_entry(name)
    network = create_model(name, SPECS[entry.input], seed=0)
    last = [stage.name for stage in network.stages if stage.name != "GRU"][-1]
    seconds, width = _field(network, last)
    return {
        "family": FAMILIES[entry.build.__module__.rpartition(".")[2]],
        "name": name,
        "input": entry.input,
        "window_s": "10",
        "parameters": str(sum(p.numel() for p in network.parameters())),
        "multiply_adds": str(multiply_adds(network)),
        "receptive_field_s": seconds,
        "receptive_field_octaves": width,
        "stages": ",".join(stage.name for stage in network.stages),
    }


def write_network_table() -> None:
    """Write networks.tsv, which `neuromusic models` shows: building all networks takes a while."""
    order = list(FAMILIES.values())
    names = list_models()
    rows = [network_row(name) for name in track(names, "build networks", len(names))]
    rows.sort(key=lambda row: order.index(row["family"]))
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    write_text(TABLE, "".join("\t".join(line) + "\n" for line in lines))


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
        seconds, width = _field(network, stage.name)
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
                "field (s)": seconds,
                "field (octaves)": width,
            }
        )
    readout = {
        "stage": "readout",
        "shape (..., time)": str(spec.n_classes),
        "parameters": f"{n_left:,}",
        "multiply-adds": f"{adds_left / 1e6:,.1f} M",
    }
    return [*rows, dict.fromkeys(rows[0], "-") | readout]


if __name__ == "__main__":
    write_network_table()
