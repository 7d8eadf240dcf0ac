"""Benchmark of networks from outside: a network of 1 M parameters hears 165 sounds of 2 s.

    python experiments/benchmarks/external.py [--sounds DIR] [--quick] [--out FILE]

Three stages as the commands compute them, beside a bare loop over the same network in torch that
reads the same files and keeps the same stages, in turn in the same process; the ratio may be at
most 1.5. The measurement of the stages' timing, once per network, is reported apart. Writes JSON.
Without --sounds, 165 files of noise are written first. With --quick, 20 sounds.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from neuromusic.models.external import External
from neuromusic.models.foreign import foreign_network
from neuromusic.models.probe import probe
from neuromusic.stimuli import audio

RATE_HZ, SECONDS = 16_000, 2
REPEATS = 3
TARGET = 1.5


class Net(nn.Module):
    """Five strided convolutions, with 128 to 640 channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 128, 128, 256, 320, 640]
        sizes = [(10, 5), (8, 4), (4, 2), (4, 2), (2, 2)]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv1d(a, b, *size), nn.BatchNorm1d(b), nn.ReLU())
                for a, b, size in zip(widths, widths[1:], sizes, strict=False)
            )
        )

    def forward(self, wave: Tensor) -> Tensor:
        """Return (batch, 640, frames) of waves (batch, samples)."""
        x: Tensor = self.blocks(wave[:, None])
        return x


STAGES = (1, 2, 4)


def bare(net: Net, files: list[Path]) -> float:
    """Return the seconds of a loop over the sounds in torch, which keeps the stages."""
    start = time.perf_counter()
    kept = []
    with torch.inference_mode():
        for path in files:
            x = torch.from_numpy(audio.read(path, to_hz=RATE_HZ))[None, None]
            for number, block in enumerate(net.blocks):
                x = block(x)
                if number in STAGES:
                    kept.append(x[0].T.contiguous().numpy())
    return time.perf_counter() - start


def ours(network: External, files: list[Path]) -> float:
    """Return the seconds for the same files as a network of others."""
    start = time.perf_counter()
    applied = foreign_network(network)
    kept = [applied.frames_of(applied.input_of(path)) for path in files]
    assert len(kept) == len(files)
    return time.perf_counter() - start


def write_noise(folder: Path) -> list[Path]:
    """Write 165 sounds of 2 s of noise; return their paths."""
    rng = np.random.default_rng(0)
    paths = [folder / f"s{number:03d}.wav" for number in range(165)]
    for path in paths:
        soundfile.write(path, 0.1 * rng.standard_normal(SECONDS * RATE_HZ), RATE_HZ)
    return paths


def measure(files: list[Path]) -> dict[str, float]:
    """Return the seconds of both ways, the least of several rounds, and their ratio."""
    torch.manual_seed(0)
    net = Net().eval()
    network = External(net, {f"block{i}": f"blocks.{i}" for i in STAGES}, rate_hz=RATE_HZ)
    start = time.perf_counter()
    probe(network)
    probe_s = time.perf_counter() - start
    bare(net, files[:3])
    pairs = [(bare(net, files), ours(network, files)) for _ in range(REPEATS)]
    bare_s, ours_s = (min(column) for column in zip(*pairs, strict=True))
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "sounds": len(files),
        "bare_s": round(bare_s, 3),
        "ours_s": round(ours_s, 3),
        "ratio": round(ours_s / bare_s, 3),
        "target": TARGET,
        "probe_s": round(probe_s, 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sounds", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(options.sounds.rglob("*.wav")) if options.sounds else []
        files = files or write_noise(Path(folder))
        result = measure(files[:20] if options.quick else files)
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
