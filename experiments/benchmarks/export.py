"""Export: every volume of the experiment, all stages, to disk.

    python experiments/benchmarks/export.py [--quick] [--formats hdf5,npz] [--keep DIR] [--out FILE]

540 clips of synthetic sound in the published design (12 training runs of 40, 6 test runs of 10 x 4)
and cortex-z base with random weights go through `neuromusic export`, as a process that is watched
from outside; target 60 s on 2 cores, 10 s on a GPU. A tenth of the clips goes through it too: the
memory must not grow with their number. Beside it the predecessors' way in this process, on a part
of the clips: librosa, a forward hook on every stage, one window at a time, all kept in lists and
saved at the end. Writes JSON with the hardware; --quick takes a tenth of everything.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from common import flat, measure, report

from neuromusic import stimuli
from neuromusic.audio import RATE_HZ
from neuromusic.config import Config
from neuromusic.features import MelSpec, describe
from neuromusic.models import InputSpec, build_model
from neuromusic.orders import GENRES, design_orders
from neuromusic.provenance import new_directory, record
from neuromusic.rundir import WEIGHTS, load_run, save_weights, write_settings
from neuromusic.store import PreparedSet
from neuromusic.timing import CLIP_S

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
    tables = {order.split: stimuli.list_order(order) for order in pair}
    with new_directory(directory, record("lists", {}, {})) as part:
        paths = {path for table in tables.values() for path in table["path"]}
        make_sounds(part, sorted(paths))
        stimuli.write_lists(part, tables)
    return directory


def make_run(directory: Path, model: str = "cortex-z") -> Path:
    """Write a run of a network with random weights, as if it had been trained on sound."""
    spec, config = MelSpec(), Config(model={"name": model})
    frames = round(config.data.window_s / spec.frame_s)
    network = build_model(model, InputSpec(spec.n_bands, frames, spec.frame_s, len(GENRES)), 0)
    network.band_mean.fill_(-45.0)  # of music, about
    network.band_std.fill_(15.0)
    meta = {
        "source": "audio", "front_end": describe(spec), "frame_s": spec.frame_s,
        "n_channels": 1, "n_bands": spec.n_bands, "classes": list(GENRES),
    }  # fmt: skip
    nothing = np.empty(0)
    data = PreparedSet(directory / "none", nothing, pd.DataFrame(), meta, None)
    with new_directory(directory, record("train", {}, {})) as part:
        write_settings(part, config)
        save_weights(part / WEIGHTS, network, config, data)
    return directory


def predecessors(run: Path, lists: Path, n_clips: int, out: Path) -> tuple[int, float, float]:
    """Export clips the predecessors' way; return how many, and the seconds and CPU they took."""
    import librosa

    paths = sorted(lists.glob("run_dataset/*/*.wav")) or sorted(lists.rglob("*.wav"))
    paths = paths[:: max(1, len(paths) // n_clips)][:n_clips]
    loaded = load_run(run)
    network, window, hop = loaded.network, loaded.network.spec.n_frames, loaded.hop_frames
    librosa.feature.melspectrogram(y=np.zeros(2048, np.float32), sr=RATE_HZ, n_mels=128)  # warm
    start, cpu = time.perf_counter(), time.process_time()
    kept: dict[str, list[np.ndarray]] = {stage.name: [] for stage in network.stages}
    hooks = []
    for stage in network.stages:

        def keep(module: object, given: object, made: object, name: str = stage.name) -> None:
            value = made[0] if isinstance(made, tuple) else made  # a GRU gives its last state too
            kept[name].append(value.detach().cpu().numpy())

        hooks.append(network.part(stage.name)[-1].register_forward_hook(keep))
    with torch.no_grad():
        for path in paths:
            wave, _ = librosa.load(path, sr=RATE_HZ, mono=True)
            power = librosa.feature.melspectrogram(
                y=wave, sr=RATE_HZ, n_fft=1024, hop_length=512, n_mels=128
            )
            mel = librosa.power_to_db(power, amin=1e-8, top_db=None).astype(np.float32)
            for first in range(0, mel.shape[1] - window + 1, hop):
                network(torch.from_numpy(mel[None, :, first : first + window].copy()))
    for name, parts in kept.items():
        np.save(out / f"{name}.npy", np.concatenate(parts))
    for hook in hooks:
        hook.remove()
    return len(paths), time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    """Make the input, time the export and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--formats", default="", help="--format of the export; none by default")
    parser.add_argument("--model", default="cortex-z")
    parser.add_argument("--keep", type=Path, help="where the input is made, and found next time")
    parser.add_argument("--out", type=Path, default=Path("export.json"))
    given = parser.parse_args()
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
            table = stimuli.read_lists(lists)
            result[f"{name}_clips"] = int(table["clip"].nunique())
            result |= flat(name, seen)
            files = [path for path in target.rglob("*") if path.is_file()]
            result[f"{name}_written_mb"] = sum(path.stat().st_size for path in files) / 1e6
        result["grown_mb"] = result["export_peak_mb"] - result["tenth_peak_mb"]
        n, seconds, cpu = predecessors(run, root / f"lists-{per_genre}", 60, Path(scratch))
        result |= {"naive_clips": n, "naive_seconds_a_clip": seconds / n}
        result["naive_cpu_seconds_a_clip"] = cpu / n
        result["times_as_fast"] = seconds / n * result["export_clips"] / result["export_seconds"]
        result["times_less_cpu"] = cpu / n * result["export_clips"] / result["export_cpu_seconds"]
    targets = TARGETS | ({"export_seconds": GPU_TARGET_S} if torch.cuda.is_available() else {})
    report(result, targets, given.out)


if __name__ == "__main__":
    main()
