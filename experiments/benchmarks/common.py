"""Shared by the benchmarks: measure a process from outside, describe the hardware, write tables."""

import importlib.metadata
import json
import os
import platform
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

SAMPLING_S = 0.05  # interval at which the memory of a process is sampled


@dataclass(frozen=True)
class Measured:
    """Time and memory of a process and all its descendants."""

    seconds: float
    cpu_seconds: float
    peak_mb: float  # resident, summed over all processes; shared pages count once
    own_mb: float  # the part of it that is not backed by files


def measure(command: Sequence[object], log: Path | None = None, **environment: str) -> Measured:
    """Run a command and wait for it; raise RuntimeError with its output if it fails.

    Memory is the peak of the summed proportional set sizes of its processes (``smaps_rollup``),
    sampled every 50 ms, or more rarely if a sample takes more than 1 ms.
    """
    peak = {"Pss": 0.0, "Pss_Anon": 0.0}
    ended = threading.Event()
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env={**os.environ, **environment},
    )  # fmt: skip

    def watch() -> None:
        wait_s = SAMPLING_S
        while not ended.wait(wait_s):
            begun = time.perf_counter()
            samples = [_memory_mb(pid) for pid in _tree(process.pid)]
            for key in peak:
                peak[key] = max(peak[key], sum(sample.get(key, 0.0) for sample in samples))
            # To look at gigabytes takes time, during which the process cannot allocate memory.
            wait_s = max(SAMPLING_S, 50 * (time.perf_counter() - begun))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    watcher.join()
    if log:
        log.write_text(output, "utf-8")
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{output}")
    return Measured(seconds, used.ru_utime + used.ru_stime, peak["Pss"], peak["Pss_Anon"])


def _tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    pids = [pid]
    for parent in pids:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                pids += [int(child) for child in path.read_text().split()]
            except OSError:  # it has ended
                continue
    return pids


def _memory_mb(pid: int) -> dict[str, float]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has ended
        return {}
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def hardware() -> dict[str, Any]:
    """Return the number of cores and threads, the processor, the GPU, versions and the load."""
    import torch

    model = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model[0] if model else platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "load": os.getloadavg()[0],
    }


def report(result: Mapping[str, Any], targets: Mapping[str, float], out: Path) -> None:
    """Print one table, with target values as upper limits, and write it as JSON."""
    content = {**result, "targets": dict(targets), "hardware": hardware()}
    width = max(map(len, result))
    for key, value in result.items():
        text = f"{value:.2f}" if isinstance(value, float) else str(value)
        target = f"   target {targets[key]:g}" if key in targets else ""
        print(f"{key:{width}}  {text}{target}")
    print(f"{'hardware':{width}}  {content['hardware']}")
    out.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    print(f"wrote {out}")


def flat(prefix: str, measured: Measured) -> dict[str, float]:
    """Return the fields of a measurement, with a prefix before their names."""
    return {f"{prefix}_{key}": value for key, value in asdict(measured).items()}


def write_network(directory: Path, model: str = "cortex-z") -> Path:
    """Write a network with random weights, as if it had been trained on sound."""
    import pandas as pd

    from neuromusic.core.outputs import Step
    from neuromusic.design.orders import GENRES
    from neuromusic.features.frontends.mel import MelSpec
    from neuromusic.features.meta import SetMeta
    from neuromusic.features.prepared import PreparedSet
    from neuromusic.models.network import InputSpec
    from neuromusic.models.registry import create_model
    from neuromusic.training.config import Config
    from neuromusic.training.trained import WEIGHTS, save_weights, write_settings

    spec, config = MelSpec(), Config(model={"name": model})
    frames = round(config.data.window_s / spec.frame_s)
    network = create_model(model, InputSpec(spec.n_bands, frames, spec.frame_s, len(GENRES)), 0)
    network.band_mean.fill_(-45.0)  # roughly those of music
    network.band_std.fill_(15.0)
    meta = SetMeta.of_front_end("audio", spec, list(GENRES))
    empty = np.empty(0)
    data = PreparedSet(directory / "none", empty, pd.DataFrame(), meta, None)
    with Step("train", directory, {}, {"prepared": "none"}).directory() as part:
        write_settings(part, config)
        save_weights(part / WEIGHTS, network, config, data)
    return directory


def naive_mel(wave: np.ndarray) -> np.ndarray:
    """Return the input of the network of `write_network`, a log-mel, computed by librosa."""
    import librosa

    power = librosa.feature.melspectrogram(y=wave, sr=22050, n_fft=1024, hop_length=512, n_mels=128)
    return librosa.power_to_db(power, amin=1e-8, top_db=None).astype(np.float32)
