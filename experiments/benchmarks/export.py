"""Benchmark of the export: every volume of the experiment, all stages, to disk.

    python experiments/benchmarks/export.py [--quick] [--formats hdf5,npz] [--keep DIR] [--out FILE]

Exports 540 clips of synthetic sound in the published design (12 training runs of 40 trials, 6 test
runs of 10 clips x 4) with cortex-z base and random weights. `neuromusic export` runs as a process
that is measured from outside; the target is 60 s on 2 cores, 10 s on a GPU. A second export takes a
tenth of the clips: memory must not grow with their number. For comparison, the predecessors'
method runs in its own process: librosa, a forward hook on every stage, one window at a time,
everything kept in lists and saved at the end, not on the grid of volumes. Writes JSON with the
hardware; --quick uses a ninth of the clips.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import Measured, flat, measure, naive_mel, report, write_network

from neuromusic.core.outputs import Step
from neuromusic.design.lists import list_order, read_lists, write_lists
from neuromusic.design.orders import GENRES, design_orders
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.training.trained import best_device, load_network

CLIPS_PER_GENRE, CLIP_S = 54, 15
TARGETS = {"export_seconds": 60.0, "grown_mb": 20.0}
GPU_TARGET_S = 10.0


def make_sounds(directory: Path, clips: list[str]) -> None:
    """Write 15 s of pulsed tones in noise for every clip, with different pitch and tempo."""
    rng = np.random.default_rng(0)
    t = np.arange(round(CLIP_S * RATE_HZ), dtype=np.float32) / RATE_HZ
    for clip in clips:
        hz, pulses = rng.uniform(100, 2000), rng.uniform(1, 6)
        wave = (np.mod(t * pulses, 1) < 0.5) * np.sin(2 * np.pi * hz * t)
        wave += 0.2 * rng.standard_normal(len(t), dtype=np.float32)
        path = directory / clip
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * wave, RATE_HZ, subtype="PCM_16")


def make_lists(directory: Path, per_genre: int) -> None:
    """Write stimulus lists in the published design with ``per_genre`` clips, and their sounds."""
    names = [f"{genre}.{number:05d}_15s.wav" for genre in GENRES for number in range(per_genre)]
    tables = {order.split: list_order(order) for order in design_orders(names, 0)}
    with Step("lists", directory, {}, {}).directory() as part:
        paths = {path for table in tables.values() for path in table["path"]}
        make_sounds(part, sorted(paths))
        write_lists(part, tables)


def export_as_predecessors(directory: Path, lists: Path, out: Path) -> None:
    """Export clips by the predecessors' method: one window at a time, all kept until the end.

    The network is on the GPU, if there is one.
    """
    import librosa

    trained = load_network(directory)
    window, hop = trained.network.spec.n_frames, trained.hop_frames
    device = best_device()
    network = trained.network.to(device=device, memory_format=torch.contiguous_format)
    kept: dict[str, list[np.ndarray]] = {stage.name: [] for stage in network.stages}
    for stage in network.stages:

        def keep(module: object, inputs: object, output: object, name: str = stage.name) -> None:
            value = output[0] if isinstance(output, tuple) else output  # a GRU returns its state
            kept[name].append(value.detach().cpu().numpy())

        network.part(stage.name)[-1].register_forward_hook(keep)
    with torch.no_grad():
        for path in sorted(lists.rglob("*.wav")):
            wave, _ = librosa.load(path, sr=RATE_HZ, mono=True)
            mel = naive_mel(wave)
            for first in range(0, mel.shape[1] - window + 1, hop):
                x = torch.from_numpy(mel[None, :, first : first + window].copy())
                network(x.to(device))
    out.mkdir()
    for name, parts in kept.items():
        np.save(out / f"{name}.npy", np.concatenate(parts))


def measure_export(network: Path, lists: Path, out: Path, formats: str) -> Measured:
    """Run `neuromusic export` and return its time and memory."""
    command = [sys.executable, "-m", "neuromusic", "export", network, "--lists", lists]
    options = ["--format", formats] if formats else []
    return measure([*command, "--out", out, *options])


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--predecessors", nargs=3, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--formats", default="", help="--format of the export; default: none")
    parser.add_argument("--model", default="cortex-z")
    parser.add_argument("--keep", type=Path, help="directory for the input, to use it again")
    parser.add_argument("--out", type=Path, default=Path("export.json"))
    return parser.parse_args()


def main() -> None:
    """Make the input, measure the export and print one table."""
    options = parse_arguments()
    if options.predecessors:
        export_as_predecessors(*options.predecessors)
        return
    per_genre = CLIPS_PER_GENRE // 9 if options.quick else CLIPS_PER_GENRE
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        network = root / f"run-{options.model}"
        if not network.is_dir():
            write_network(network, options.model)
        result: dict[str, object] = {}
        for name, n in (("export", per_genre), ("tenth", max(2, per_genre // 10))):
            lists = root / f"lists-{n}"
            if not lists.is_dir():
                make_lists(lists, n)
            out = Path(scratch) / f"out-{n}"
            measured = measure_export(network, lists, out, options.formats)
            result[f"{name}_clips"] = int(read_lists(lists)["clip"].nunique())
            result |= flat(name, measured)
            files = [path for path in out.rglob("*") if path.is_file()]
            result[f"{name}_written_mb"] = sum(path.stat().st_size for path in files) / 1e6
        result["grown_mb"] = result["export_peak_mb"] - result["tenth_peak_mb"]
        naive = [sys.executable, __file__, "--predecessors", network, root / f"lists-{per_genre}"]
        measured = measure([*naive, Path(scratch) / "naive"])
        result |= flat("naive", measured)
        result["times_as_fast"] = measured.seconds / result["export_seconds"]
        result["times_less_cpu"] = measured.cpu_seconds / result["export_cpu_seconds"]
    targets = TARGETS | ({"export_seconds": GPU_TARGET_S} if torch.cuda.is_available() else {})
    report(result, targets, options.out)


if __name__ == "__main__":
    main()
