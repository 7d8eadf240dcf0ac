"""Windows per second in training, compared with a plain loop like that of the predecessors.

    python experiments/benchmarks/training.py [--network cnn4-gru] [--device auto] [--quick]

Three loops train the network of an experiment on windows of one synthetic set (128 bands), with the
same number and size of batches. They run in alternation, each in its own process:

predecessors  float32, default torch settings; windows in memory, a DataLoader with workers; loss
              and hits are copied from the device after every step; ReLU before the pooling
bare          our batches, augmentation, optimiser and precision in a plain loop, without Lightning
fit           `neuromusic.training.fit.fit`, as `neuromusic train` calls it, including checkpoints

Targets: fit reaches at least 1.3 times the predecessors' windows per second on 2 cores, 5 times on
a GPU, and at least 0.9 times those of bare. On a GPU also: 26 epochs on a set of 4 800 rows in
60 s. OMP_NUM_THREADS sets the number of threads (default: one per core). On a busy machine only the
windows per CPU second with one thread are meaningful; they do not include the DataLoader's workers.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.deterministic
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from neuromusic.design.orders import GENRES
from neuromusic.features.prepared import open_prepared
from neuromusic.features.windows import cut_windows_on_device
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.training.batches import band_statistics, derive_seed, draw_windows, rows_as_tensor
from neuromusic.training.build import build_network
from neuromusic.training.config import Config, load_config
from neuromusic.training.fit import fit
from neuromusic.training.lightning import GenreTask
from neuromusic.training.selection import labels, select
from neuromusic.training.spectral_augment import augment_batch
from neuromusic.training.trained import use_full_precision

FRAME_S = 512 / 22050
FRAMES = 646  # in a clip of 15 s
LOOPS = ("predecessors", "bare", "fit")
TARGETS = {"cpu": 1.3, "cuda": 5.0}
LEAST_FIT_TO_BARE = 0.9  # ratio of windows per second
MOST_26_EPOCHS_S = 60.0  # on 4 800 rows, on one H200
EXPERIMENTS = Path(__file__).parents[1]


def make_set(n: int, directory: Path) -> Path:
    """Prepare ``n`` clips of noise as log-mel (128, 646), in twelve runs."""
    rng = np.random.default_rng(0)
    noise = rng.normal(-40, 10, (n, 128, FRAMES)).astype(np.float16)
    genre = np.resize(GENRES, n)
    np.savez(
        directory / "noise.npz",
        features=noise,
        clip=np.array([f"{g}.{i:05d}_15s.wav" for i, g in enumerate(genre)]),
        genre=genre,
        run=np.arange(n) * 12 // n + 1,
        trial=np.arange(n) % -(-n // 12) + 1,
        frame_s=FRAME_S,
    )
    out = directory / f"prepared-{n}"
    prepare_features(directory / "noise.npz", out=out)
    (directory / "noise.npz").unlink()
    return out


def with_early_relu(network: nn.Module) -> nn.Module:
    """Move ReLU before the pooling, as in the predecessors' network."""
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            for i in range(len(block) - 1):
                if isinstance(block[i], nn.MaxPool2d) and isinstance(block[i + 1], nn.ReLU):
                    block[i], block[i + 1] = block[i + 1], block[i]
    return network


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Seconds = list[tuple[float, float]]  # one pair per epoch: wall-clock time, CPU time


def timed(epoch: Callable[[], None], epochs: int, device: torch.device) -> Seconds:
    """Return the seconds of each epoch, after one epoch to warm up."""
    ends = []
    for _ in range(epochs + 1):
        epoch()
        synchronise(device)
        ends.append((time.perf_counter(), time.process_time()))
    return between(ends)


def between(ends: Seconds) -> Seconds:
    """Return the seconds from the end of each epoch to the end of the next."""
    return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(ends)]


def predecessors(config: Config, prepared: Path, epochs: int, device: torch.device) -> Seconds:
    """Train as the predecessors did."""
    torch.manual_seed(0)
    data, network = build_network(config, open_prepared(prepared))
    network = with_early_relu(network).to(device)
    chosen = select(data, config.data)
    window = network.spec.n_frames
    drawn = draw_windows(data, chosen.train, config, window, 0)
    rows, starts = (torch.cat(part) for part in zip(*drawn, strict=True))
    x = cut_windows_on_device(rows_as_tensor(data), rows, starts, window)
    y = torch.tensor(labels(data, data.classes))[rows]
    mean, std = band_statistics(data, chosen.train, config.data.normalisation)
    windows = TensorDataset((x - mean[:, None]) / std[:, None], y)
    batches = DataLoader(
        windows, config.train.batch_size, shuffle=True, drop_last=True,
        num_workers=min(4, len(os.sched_getaffinity(0))), pin_memory=device.type == "cuda",
    )  # fmt: skip
    s = config.train
    optimizer: torch.optim.Optimizer
    if s.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            network.parameters(), s.lr, s.momentum, weight_decay=s.weight_decay, nesterov=True,
        )  # fmt: skip
    else:
        optimizer = torch.optim.AdamW(network.parameters(), s.lr, weight_decay=s.weight_decay)

    def epoch() -> None:
        network.train()
        total, hits = 0.0, 0
        for x, y in batches:
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            logits = network(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            total += loss.item()
            hits += int((logits.argmax(1) == y).sum().item())

    return timed(epoch, epochs, device)


def bare(
    config: Config, prepared: Path, epochs: int, device: torch.device, compiler: str = ""
) -> Seconds:
    """Train with our batches, without Lightning; ``compiler`` is a backend of `torch.compile`."""
    data, network = build_network(config, open_prepared(prepared))
    chosen = select(data, config.data)
    network.band_mean, network.band_std = band_statistics(
        data, chosen.train, config.data.normalisation
    )
    network.to(device=device, memory_format=torch.channels_last).train()
    task = GenreTask(network, data, chosen, config)
    forward = torch.compile(network, backend=compiler) if compiler else network
    features, label = task.features.to(device), task.labels.to(device)
    configured = task.configure_optimizers()
    optimizer = configured["optimizer"]
    schedule = configured.get("lr_scheduler", {}).get("scheduler")
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(config.train.precision)
    scaler = torch.amp.GradScaler(device.type, enabled=kind is torch.float16)
    n_classes, clip_norm = network.spec.n_classes, config.train.clip_norm
    counts = {"epoch": 0, "step": 0}

    def epoch() -> None:
        batches = draw_windows(data, chosen.train, config, task.reach, counts["epoch"])
        sizes = [len(rows) for rows, _ in batches]
        rows, starts = (torch.cat(part).to(device) for part in zip(*batches, strict=True))
        for r, at in zip(rows.split(sizes), starts.split(sizes), strict=True):
            seed = derive_seed(config.train.seed, 2, counts["step"], 0)
            torch.manual_seed(seed)
            rng = torch.Generator(device).manual_seed(seed)
            x = cut_windows_on_device(features, r, at, task.reach) * task.scale
            y = F.one_hot(label[r], n_classes).float()
            x, y = augment_batch(x, y, config.augment, task.window, data.frame_s, rng)
            optimizer.zero_grad()
            with torch.autocast(device.type, kind, enabled=kind is not None):
                loss = F.cross_entropy(forward(x), y, label_smoothing=config.train.label_smoothing)
            scaler.scale(loss).backward()
            if clip_norm:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
            scaler.step(optimizer)
            scaler.update()
            if schedule is not None:
                schedule.step()
            counts["step"] += 1
        counts["epoch"] += 1

    use_full_precision()  # this and the next two lines as in fit
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    return timed(epoch, epochs, device)


def ours(config: Config, prepared: Path, epochs: int, device: torch.device) -> Seconds:
    """Train with `fit`; an epoch lasts from one checkpoint to the next."""
    train = config.train.model_copy(
        update={"epochs": epochs + 1, "accelerator": "gpu" if device.type == "cuda" else "cpu"}
    )
    ends: Seconds = []
    with tempfile.TemporaryDirectory() as folder:
        fit(
            config.model_copy(update={"train": train}),
            open_prepared(prepared),
            Path(folder) / "run",
            advance=lambda row: ends.append((time.perf_counter(), time.process_time())),
        )
    return between(ends)


def settings(network: str, batches: int, device: torch.device, batch: int | None) -> Config:
    """Return the settings of an experiment with ``batches`` batches per epoch and no validation."""
    path = Path(network) if network.endswith(".toml") else EXPERIMENTS / f"{network}.toml"
    config = load_config(path)
    size = batch or config.train.batch_size
    precision = "bf16-mixed" if device.type == "cuda" else "32-true"
    return load_config(
        path,
        (
            f"train.batch_size={size}",
            f"data.windows_per_epoch={batches * size}",
            "data.validation_runs=0",
            f"train.precision={precision}",
        ),
    )


def measure_loop(options: argparse.Namespace, device: torch.device) -> None:
    """Measure one loop and print its rates and peak memory as JSON."""
    config = settings(options.network, options.batches, device, options.batch)
    loops = {"predecessors": predecessors, "bare": bare, "fit": ours}
    if options.only == "predecessors":
        config = config.model_copy(
            update={"train": config.train.model_copy(update={"precision": "32-true"})}
        )
    seconds = loops[options.only](config, options.prepared, options.epochs, device)
    rates = [[config.data.windows_per_epoch / s for s in pair] for pair in seconds]
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"rates": rates, "peak_gb": peak_gb}))


def measure_all(options: argparse.Namespace, device: torch.device) -> dict[str, float | str]:
    """Measure all loops in alternation, each in its own process; return the results."""
    rates: dict[str, list[list[float]]] = {loop: [] for loop in LOOPS}
    memory = dict.fromkeys(LOOPS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        prepared = make_set(120 if options.quick else 480, Path(folder))
        for _ in range(options.rounds):
            for loop in LOOPS:
                # torch does not use large pages by default; neuromusic turns them on.
                pages = {"THP_MEM_ALLOC_ENABLE": "0" if loop == "predecessors" else "1"}
                process = subprocess.run(
                    [
                        sys.executable, __file__, "--only", loop, "--prepared", prepared,
                        "--network", options.network, "--device", device.type,
                        "--batches", str(options.batches), "--epochs", str(options.epochs),
                        *(["--batch", str(options.batch)] if options.batch else []),
                    ],
                    env={**os.environ, **pages}, capture_output=True, text=True, check=False,
                )  # fmt: skip
                if process.returncode:
                    raise SystemExit(f"{loop} failed:\n{process.stderr}")
                output = json.loads(process.stdout.strip().splitlines()[-1])
                rates[loop] += output["rates"]
                memory[loop] = max(memory[loop], output["peak_gb"])
        rate, cpu_rate = (
            {loop: statistics.median(pair[i] for pair in pairs) for loop, pairs in rates.items()}
            for i in (0, 1)
        )
        result: dict[str, float | str] = {f"{loop}_windows_per_s": rate[loop] for loop in LOOPS}
        result |= {f"{loop}_windows_per_cpu_s": cpu_rate[loop] for loop in LOOPS}
        result |= {f"{loop}_peak_gb": memory[loop] for loop in LOOPS}
        result["fit_to_predecessors"] = rate["fit"] / rate["predecessors"]
        result["fit_to_bare"] = rate["fit"] / rate["bare"]
        if device.type == "cuda" and not options.quick:
            config = settings(options.network, 1, device, options.batch)
            data = config.data.model_copy(update={"windows_per_epoch": 4800})
            config = config.model_copy(update={"data": data})
            seconds = ours(config, make_set(4800, Path(folder)), 25, device)
            result["seconds_26_epochs"] = sum(wall for wall, _ in seconds) * 26 / 25
        else:
            result["seconds_26_epochs"] = "not measured: no GPU, or --quick"
    return result


def main() -> None:
    """Measure everything, print one table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--network", default="cnn4-gru", help="TOML file, or name in experiments/")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--batches", type=int, help="batches per epoch (default: CPU 6, GPU 100)")
    parser.add_argument("--batch", type=int, help="windows per batch (default: the experiment's)")
    parser.add_argument("--epochs", type=int, help="timed epochs per round (default: 1)")
    parser.add_argument("--rounds", type=int, help="number of rounds (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one minute, to check that it works")
    parser.add_argument("--out", type=Path, default=Path("training.json"))
    parser.add_argument("--only", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--prepared", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    kind = ("cuda" if has_gpu else "cpu") if options.device == "auto" else options.device
    device = torch.device(kind)
    options.batches = options.batches or (2 if options.quick else 100 if kind == "cuda" else 6)
    options.batch = options.batch or (8 if options.quick else None)
    options.epochs = options.epochs or 1
    options.rounds = options.rounds or (1 if options.quick else 3)
    if options.only:
        measure_loop(options, device)
        return
    result = measure_all(options, device)
    result = {"network": options.network, "device": kind, **result}
    least = {"fit_to_predecessors": TARGETS[kind], "fit_to_bare": LEAST_FIT_TO_BARE}
    most = {"seconds_26_epochs": MOST_26_EPOCHS_S}
    width = max(map(len, result))
    for key, value in result.items():
        text = f"{value:8.2f}" if isinstance(value, float) else str(value)
        if isinstance(value, float) and key in least:
            text += (
                f"   target at least {least[key]}: {'met' if value >= least[key] else 'NOT MET'}"
            )
        if isinstance(value, float) and key in most:
            text += f"   target at most {most[key]}: {'met' if value <= most[key] else 'NOT MET'}"
        print(f"{key:{width}}  {text}")
    content = {**result, "least": least, "most": most, "hardware": common.hardware()}
    options.out.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    print(f"{'hardware':{width}}  {content['hardware']}\nwrote {options.out}")


if __name__ == "__main__":
    main()
