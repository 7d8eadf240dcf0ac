"""What the benchmarks share: a process measured from outside, the hardware, one table, JSON."""

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

EVERY_S = 0.05  # between two looks at the memory of a process


@dataclass(frozen=True)
class Measured:
    """What a process and all its descendants took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float  # resident, of all of them together; what they share counts once
    own_mb: float  # of it what is no page of a file


def measure(command: Sequence[object], log: Path | None = None, **environment: str) -> Measured:
    """Run a command to its end; raise RuntimeError with what it said if it fails.

    Memory is the largest sum over the processes of their proportional share (``smaps_rollup``),
    seen every 50 ms.
    """
    peak = {"Pss": 0.0, "Pss_Anon": 0.0}
    over = threading.Event()
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env={**os.environ, **environment},
    )  # fmt: skip

    def watch() -> None:
        while not over.wait(EVERY_S):
            now = [_memory_mb(pid) for pid in _tree(process.pid)]
            for key in peak:
                peak[key] = max(peak[key], sum(each.get(key, 0.0) for each in now))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    over.set()
    watcher.join()
    if log:
        log.write_text(said, "utf-8")
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{said}")
    return Measured(seconds, used.ru_utime + used.ru_stime, peak["Pss"], peak["Pss_Anon"])


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in path.read_text().split()]
            except OSError:  # it has ended
                continue
    return found


def _memory_mb(pid: int) -> dict[str, float]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has ended
        return {}
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def hardware() -> dict[str, Any]:
    """Return cores, processor, threads and GPU."""
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
    """Print one table, each figure beside the target that it is to stay below, and write JSON."""
    whole = {**result, "targets": dict(targets), "hardware": hardware()}
    width = max(map(len, result))
    for key, value in result.items():
        text = f"{value:.2f}" if isinstance(value, float) else str(value)
        target = f"   target {targets[key]:g}" if key in targets else ""
        print(f"{key:{width}}  {text}{target}")
    print(f"{'hardware':{width}}  {whole['hardware']}")
    out.write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
    print(f"wrote {out}")


def flat(prefix: str, measured: Measured) -> dict[str, float]:
    """Return the fields of a measurement with a prefix to their names."""
    return {f"{prefix}_{key}": value for key, value in asdict(measured).items()}
