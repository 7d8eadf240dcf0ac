"""Export: every volume of the experiment, all stages, to disk.

    python experiments/benchmarks/export.py [--quick] [--formats hdf5,npz] [--keep DIR] [--out FILE]

540 clips of synthetic sound in the published design (12 training runs of 40, 6 test runs of 10 x 4)
and cortex-z base with random weights go through `neuromusic export`, as a process that is watched
from outside; target 60 s on 2 cores, 10 s on a GPU. A tenth of the clips goes through it too: the
memory must not grow with their number. Beside it the predecessors' way, in a process of its own:
librosa, a forward hook on every stage, one window at a time, all kept in lists and saved at the
end, not on the volumes. Writes JSON with the hardware; --quick takes a ninth of the clips.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import flat, make_run, measure, naive_mel, report

from neuromusic.core.outputs import new_directory
from neuromusic.core.records import record
from neuromusic.design.grid import CLIP_S
from neuromusic.design.lists import list_order, read_lists, write_lists
from neuromusic.design.orders import GENRES, design_orders
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.training.trained import load_network

CLIPS_PER_GENRE = 54
TARGETS = {"export_seconds": 60.0, "grown_mb": 20.0}
GPU_TARGET_S = 10.0


def make_sounds(directory: Path, clips: list[str]) -> None:
    """Write 15 s of pulsed tones in noise for every clip; each is another."""
    rng = np.random.default_rng(0)
    t = np.arange(round(CLIP_S * RATE_HZ), dtype=np.float32) / RATE_HZ
    for clip in clips:
        hz, pulses = rng.uniform(100, 2000), rng.uniform(1, 6)
        wave = (np.mod(t * pulses, 1) < 0.5) * np.sin(2 * np.pi * hz * t)
        wave += 0.2 * rng.standard_normal(len(t), dtype=np.float32)
        path = directory / clip
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * wave, RATE_HZ, subtype="PCM_16")


def make_lists(directory: Path, per_genre: int) -> Path:
    """Write sounds and stimulus lists in the published design with so many clips a genre."""
    names = [f"{genre}.{number:05d}_15s.wav" for genre in GENRES for number in range(per_genre)]
    pair = design_orders(names, 0)
    tables = {order.split: list_order(order) for order in pair}
    with new_directory(directory, record("lists", {}, {})) as part:
        paths = {path for table in tables.values() for path in table["path"]}
        make_sounds(part, sorted(paths))
        write_lists(part, tables)
    return directory


def predecessors(run: Path, lists: Path, out: Path) -> None:
    """Export clips the predecessors' way: windows one by one, all kept until the end."""
    import librosa

    loaded = load_network(run)
    network, window, hop = loaded.network, loaded.network.spec.n_frames, loaded.hop_frames
    network = network.to(memory_format=torch.contiguous_format)
    kept: dict[str, list[np.ndarray]] = {stage.name: [] for stage in network.stages}
    for stage in network.stages:

        def keep(module: object, given: object, made: object, name: str = stage.name) -> None:
            value = made[0] if isinstance(made, tuple) else made  # a GRU gives its last state too
            kept[name].append(value.detach().cpu().numpy())

        network.part(stage.name)[-1].register_forward_hook(keep)
    with torch.no_grad():
        for path in sorted(lists.rglob("*.wav")):
            wave, _ = librosa.load(path, sr=RATE_HZ, mono=True)
            mel = naive_mel(wave)
            for first in range(0, mel.shape[1] - window + 1, hop):
                network(torch.from_numpy(mel[None, :, first : first + window].copy()))
    out.mkdir()
    for name, parts in kept.items():
        np.save(out / f"{name}.npy", np.concatenate(parts))


def main() -> None:
    """Make the input, time the export and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--predecessors", nargs=3, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--formats", default="", help="--format of the export; none by default")
    parser.add_argument("--model", default="cortex-z")
    parser.add_argument("--keep", type=Path, help="where the input is made, and found next time")
    parser.add_argument("--out", type=Path, default=Path("export.json"))
    given = parser.parse_args()
    if given.predecessors:
        predecessors(*given.predecessors)
        return
    per_genre = CLIPS_PER_GENRE // 9 if given.quick else CLIPS_PER_GENRE
    with tempfile.TemporaryDirectory() as scratch:
        root = given.keep or Path(scratch)
        run = root / f"run-{given.model}"
        if not run.is_dir():
            make_run(run, given.model)
        result: dict[str, object] = {}
        for name, n in (("export", per_genre), ("tenth", max(2, per_genre // 10))):
            lists = root / f"lists-{n}"
            if not lists.is_dir():
                make_lists(lists, n)
            target = Path(scratch) / f"out-{n}"
            command = [sys.executable, "-m", "neuromusic", "export", run, "--lists", lists]
            formats = ["--format", given.formats] if given.formats else []
            seen = measure([*command, "--out", target, *formats])
            table = read_lists(lists)
            result[f"{name}_clips"] = int(table["clip"].nunique())
            result |= flat(name, seen)
            files = [path for path in target.rglob("*") if path.is_file()]
            result[f"{name}_written_mb"] = sum(path.stat().st_size for path in files) / 1e6
        result["grown_mb"] = result["export_peak_mb"] - result["tenth_peak_mb"]
        naive = [sys.executable, __file__, "--predecessors", run, root / f"lists-{per_genre}"]
        seen = measure([*naive, Path(scratch) / "naive"])
        result |= flat("naive", seen)
        result["times_as_fast"] = seen.seconds / result["export_seconds"]
        result["times_less_cpu"] = seen.cpu_seconds / result["export_cpu_seconds"]
    targets = TARGETS | ({"export_seconds": GPU_TARGET_S} if torch.cuda.is_available() else {})
    report(result, targets, given.out)


if __name__ == "__main__":
    main()
