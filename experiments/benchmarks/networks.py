"""How efficiently the areas of the cortical networks use the device.

    python experiments/benchmarks/networks.py [--network cortex-z] [--size base] [--device auto]

Each area is timed alone, forward and backward, on windows of 7.4 s of log-mel (128 bands, 23 ms per
frame), and compared with a plain convolution: its own convolution with the most multiply-adds,
alone (for the GRU, a convolution from its input to all of its gates). Columns: multiply-adds of one
window; windows per second; GFLOP/s of the area (two operations per multiply-add, once forward and
twice backward, without the gradient of the network's input); GFLOP/s of the convolution; the ratio
of the two; the ratio of the area to a product of large matrices. The README explains ratios below
30 %.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import torch
from torch import Tensor, nn

from neuromusic.models.cortex import SIZES, Cortex, Recurrent, Unrolled
from neuromusic.models.network import InputSpec
from neuromusic.models.registry import create_model
from neuromusic.models.summary import multiply_adds_of_layers

CORTICAL = ("cortex-z", "cortex-r", "cortex-rt", "cortex-s")
SPEC = InputSpec(n_bands=128, n_frames=319, frame_s=512 / 22050, n_classes=10)
LEAST_RATIO = 0.3  # of an area to its plain convolution; lower ones are marked


def area_runner(network: Cortex, name: str) -> Callable[[Tensor], Tensor]:
    """Return an area's part of the forward pass, as a function of its input."""
    area = network.areas[name]
    if not isinstance(network, Unrolled):
        return area
    assert isinstance(area, Recurrent)
    steps = network.active_steps[name]

    def run(x: Tensor) -> Tensor:
        drive = area.entry(x)
        state = area.step(drive, None, 0)
        for index in range(1, steps):
            # The input of A1 is the same in every step; that of the other areas changes.
            drive = drive if name == "A1" else area.entry(x)
            state = area.step(drive, state, index)
        return state

    return run


def gru_runner(network: Cortex) -> Callable[[Tensor], Tensor]:
    """Return the dense layer and the GRU, (B, channels, bands, time) -> (B, 2 x units, 1, time)."""

    def run(x: Tensor) -> Tensor:
        sequence, _ = network.gru(network.joint(x.flatten(1, 2).transpose(1, 2)))
        return sequence.transpose(1, 2).unsqueeze(2)

    return run


def stages(network: Cortex, batch: int, device: torch.device) -> list[dict[str, Any]]:
    """Return the name, function, input and multiply-adds per window of every stage."""
    counts = multiply_adds_of_layers(network)
    x = torch.randn(batch, SPEC.n_channels, SPEC.n_bands, SPEC.n_frames, device=device)
    out = []
    with torch.no_grad():
        for name in network.areas:
            x = x.contiguous(memory_format=torch.channels_last)
            layers = [layer for part in network.part(name) for layer in part.modules()]
            adds = sum(counts.get(layer, 0) for layer in layers)
            run = area_runner(network, name)
            out.append({"stage": name, "run": run, "x": x, "multiply_adds": adds})
            x = run(x)
        layers = [layer for part in network.part("GRU") for layer in part.modules()]
        adds = sum(counts.get(layer, 0) for layer in layers)
        out.append({"stage": "GRU", "run": gru_runner(network), "x": x, "multiply_adds": adds})
    return out


def plain_convolution(network: Cortex, stage: dict[str, Any]) -> tuple[nn.Conv2d, Tensor, int]:
    """Return the costliest convolution of a stage, its input, and its multiply-adds per window."""
    if stage["stage"] == "GRU":
        x = stage["x"]
        x = torch.randn(len(x), network.gru.input_size, 1, x.shape[3], device=x.device)
        conv = nn.Conv2d(x.shape[1], 6 * network.gru.hidden_size, 1).to(x.device)
        return conv, x, x.shape[3] * conv.weight.numel()
    calls: dict[nn.Conv2d, tuple[Tensor, int]] = {}

    def record_call(layer: nn.Conv2d, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        # The last call is kept: of a kernel that is used with two strides, the one with stride 1.
        calls[layer] = (inputs[0].detach(), out[0].numel() * layer.weight[0].numel())

    layers = [m for m in network.areas[stage["stage"]].modules() if isinstance(m, nn.Conv2d)]
    handles = [layer.register_forward_hook(record_call) for layer in layers]
    with torch.no_grad():
        stage["run"](stage["x"])
    for handle in handles:
        handle.remove()
    costliest = max(calls, key=lambda layer: calls[layer][1])
    return costliest, *calls[costliest]


def product_rate(device: torch.device) -> float:
    """Return the GFLOP/s of a product of two square matrices of size 4096 (2048 on a CPU)."""
    n = 4096 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device)
    layer = nn.Linear(n, n, bias=False).to(device)
    return 6 * n**3 / seconds(layer, a, 5, True) / 1e9


def seconds(
    run: Callable[[Tensor], Tensor], x: Tensor, times: int, needs_gradient: bool, mixed: bool = True
) -> float:
    """Return the median seconds of a forward and backward pass; with one thread, CPU seconds.

    On a GPU the forward pass is in bfloat16, if ``mixed``.
    """
    on_gpu = x.is_cuda
    clock = time.perf_counter if on_gpu or torch.get_num_threads() > 1 else time.process_time
    x = x.detach().requires_grad_(needs_gradient)
    gradient = torch.randn_like(run(x))
    durations = []
    for _ in range(times + 1):
        if on_gpu:
            torch.cuda.synchronize()
        start = clock()
        with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu and mixed):
            y = run(x)
        y.backward(gradient.to(y.dtype))
        if on_gpu:
            torch.cuda.synchronize()
        durations.append(clock() - start)
    return statistics.median(durations[1:])


def measure(name: str, size: str, batch: int, times: int, device: torch.device) -> list[dict]:  # type: ignore[type-arg]
    """Return one row per stage of a network."""
    network = create_model(name, SPEC, 0, size=size)
    assert isinstance(network, Cortex)
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    rows, product = [], product_rate(device)
    for stage in stages(network, batch, device):
        conv, conv_x, conv_adds = plain_convolution(network, stage)
        input_gradient = stage["stage"] != "A1"  # the input of A1 is the log-mel
        area = seconds(stage["run"], stage["x"], times, input_gradient)
        # The costliest convolution of A1 may be a recurrent one, whose input has a gradient.
        conv_gradient = input_gradient or conv.in_channels > SPEC.n_channels
        plain = seconds(conv, conv_x, times, conv_gradient)
        rate = 2 * batch * (3 if input_gradient else 2) * stage["multiply_adds"] / area / 1e9
        conv_rate = 2 * batch * (3 if conv_gradient else 2) * conv_adds / plain / 1e9
        rows.append(
            {
                "network": name, "size": size, "stage": stage["stage"],
                "multiply_adds_m": stage["multiply_adds"] / 1e6, "windows_per_s": batch / area,
                "gflop_per_s": rate,
                "plain_gflop_per_s": conv_rate, "share": rate / conv_rate,
                "of_product": rate / product,
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure everything, print one table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--network", choices=CORTICAL, action="append", help="default: all")
    parser.add_argument("--size", choices=list(SIZES), default="base")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--batch", type=int, help="windows per batch (default: CPU 16, GPU 256)")
    parser.add_argument("--quick", action="store_true", help="4 windows, measured once")
    parser.add_argument("--out", type=Path, default=Path("networks.json"))
    options = parser.parse_args()
    kind = options.device
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    batch = options.batch or (4 if options.quick else 256 if kind == "cuda" else 16)
    times = 1 if options.quick else 5
    rows = []
    print(f"{'network':10} {'stage':5} {'M adds':>8} {'windows/s':>10} {'GFLOP/s':>9} "
          f"{'plain':>9} {'share':>6} {'of product':>10}")  # fmt: skip
    for name in options.network or CORTICAL:
        for row in measure(name, options.size, batch, times, torch.device(kind)):
            rows.append(row)
            print(f"{name:10} {row['stage']:5} {row['multiply_adds_m']:8.1f} "
                  f"{row['windows_per_s']:10.0f} {row['gflop_per_s']:9.1f} "
                  f"{row['plain_gflop_per_s']:9.1f} {row['share']:6.0%} {row['of_product']:10.0%}"
                  + ("  below" if row["share"] < LEAST_RATIO else ""), flush=True)  # fmt: skip
    content = {"rows": rows, "batch": batch, "device": kind, "hardware": common.hardware()}
    options.out.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    print(f"hardware {content['hardware']}\nwrote {options.out}")


if __name__ == "__main__":
    main()
