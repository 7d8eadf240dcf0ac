"""Measure everything that needs a GPU, each measurement beside the predecessors' way.

    python experiments/benchmarks/gpu.py --out gpu.json
    python experiments/benchmarks/gpu.py --small --device cpu --out gpu.json  # a check
    python experiments/benchmarks/gpu.py --only training,export --out gpu.json

`gpu.sh` prepares a node without internet access and calls this script. Each measurement is one
function that yields rows (`gpu_measurements.py`). It runs in a process of its own, which is killed
after its time limit; the rows until then are kept, an error is recorded, and the next measurement
starts. All of them together take less than nine minutes (the small form may take longer on a busy
CPU). The JSON file is written again after each measurement.

A ratio says how many times as fast ours is as the baseline. The time of `prepare` and `export` is
that of the whole command, including its start. In the small form only agreement and determinism
are judged, because its sizes are too small for times.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpu_measurements import MEASUREMENTS, Job, Row, peak_mb

TOTAL_S = 520.0  # for all measurements together
LEAST_S = 5.0  # a measurement is not started with less time than this
CORRECTNESS = ("log units", "equal")  # units of rows that are judged in the small form too
PRELOADED = ["neuromusic.training.fit", "neuromusic.pipeline.prepare"]


# --- The GPU --------------------------------------------------------------------------------------


def nvidia_smi(fields: str) -> list[str] | None:
    """Return what nvidia-smi reports on the first GPU, or None if it cannot."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    return [field.strip() for field in process.stdout.splitlines()[0].split(",")]


def card_mb(device: str) -> float | None:
    """Return the memory that all processes use on the GPU, in MB."""
    fields = nvidia_smi("memory.used") if device == "cuda" else None
    try:
        return float(fields[0]) * 1.048576 if fields else None
    except ValueError:  # such as "[N/A]" on a part of a card
        return None


# --- Running the measurements ---------------------------------------------------------------------


def work(name: str, job: Job, connection: Connection) -> None:
    """Run one measurement in this process and send its rows, its peak memory and its error."""
    os.setsid()  # so that it can be killed together with the processes that it starts
    error = None
    try:
        for row in MEASUREMENTS[name][0](job):
            connection.send(row)
    except BaseException:
        error = traceback.format_exc()
    connection.send({"torch_peak_mb": peak_mb(job.device), "error": error})


def run_measurement(name: str, job: Job) -> tuple[list[Row], dict[str, Any]]:
    """Run one measurement in a process of its own; return its rows and what happened.

    After the time limit, the process and all that it started are killed.
    """
    # A process that was forked cannot use CUDA; on a CPU it saves the imports.
    context = multiprocessing.get_context("spawn" if job.device == "cuda" else "forkserver")
    receiver, sender = context.Pipe(duplex=False)
    start, before = time.perf_counter(), card_mb(job.device)
    process = context.Process(target=work, args=(name, job, sender))
    process.start()
    sender.close()
    rows: list[Row] = []
    outcome: dict[str, Any] = {"torch_peak_mb": None, "error": None}
    most: float | None = None
    finished = False
    while not finished:
        used = card_mb(job.device)
        if used is not None and before is not None:
            most = max(most or 0.0, used - before)
        if time.perf_counter() - start > job.limit_s:
            outcome["error"] = f"killed after {job.limit_s:.0f} s"
            break
        finished = receive(receiver, rows, outcome)
    end(process)
    seconds = time.perf_counter() - start
    return rows, {"seconds": seconds, "limit_s": job.limit_s, "card_peak_mb": most, **outcome}


def receive(receiver: Connection, rows: list[Row], outcome: dict[str, Any]) -> bool:
    """Wait a second for a row or the outcome; return whether the measurement has finished."""
    try:
        if not receiver.poll(1.0):
            return False
        message = receiver.recv()
    except EOFError:
        outcome["error"] = "the process ended without a result"
        return True
    if isinstance(message, Row):
        rows.append(message)
        return False
    outcome.update(message)
    return True


def end(process: Any) -> None:
    """End a measurement's process, with all that it started."""
    process.join(2.0)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # all have ended, or it has not become a group yet
        process.kill()
    process.join()


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Run the measurements one after the other and return the report."""
    content: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": options.device,
        "small": options.small,
        "rows": [],
        "measurements": {},
    }
    slack = 3.0 if options.small else 1.0  # a test may run on a busy machine
    start = time.perf_counter()
    for name in options.only:
        left_s = slack * TOTAL_S - (time.perf_counter() - start)
        rows, outcome = [], {"error": "not started: no time was left"}
        if left_s > LEAST_S:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                limit_s = min(slack * MEASUREMENTS[name][1], left_s)
                job = Job(options.device, options.small, Path(folder), limit_s)
                rows, outcome = run_measurement(name, job)
        content["rows"] += [{"measurement": name, **asdict(judged(row, options))} for row in rows]
        content["measurements"][name] = outcome
        content["seconds"] = time.perf_counter() - start
        seconds = outcome.get("seconds", 0.0)
        print(f"{name}: {seconds:.1f} s {outcome['error'] or ''}", file=sys.stderr, flush=True)
        write(content, options.out)
    content["hardware"] = describe_hardware()
    write(content, options.out)
    return content


def judged(row: Row, options: argparse.Namespace) -> Row:
    """Return a row without a verdict, if it is a time of the small form."""
    return replace(row, met=None) if options.small and row.unit not in CORRECTNESS else row


def write(content: dict[str, Any], path: Path) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def describe_hardware() -> dict[str, Any]:
    """Return the hardware, the driver, and the versions of CUDA and cuDNN."""
    import common
    import torch

    fields = nvidia_smi("driver_version,memory.total") or [None, None]
    return {
        **common.hardware(),
        "driver": fields[0],
        "gpu_memory_mib": fields[1],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


# --- The table ------------------------------------------------------------------------------------


def print_table(content: dict[str, Any]) -> None:
    """Print the rows, the memory and the errors of all measurements, and the hardware."""
    table = [["name", "value", "unit", "baseline", "ratio", "target", "met"]]
    for row in content["rows"]:
        met = {None: "", True: "yes", False: "NO"}[row["met"]]
        numbers = [text(row["value"]), row["unit"], text(row["baseline"]), text(row["ratio"])]
        table.append([row["name"], *numbers, row["target"], met])
    for name, outcome in content["measurements"].items():
        peak = outcome.get("card_peak_mb")
        if peak is not None:
            table.append([f"GPU memory: {name}", text(peak), "MB", "", "", "", ""])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    for name, outcome in content["measurements"].items():
        if outcome["error"]:
            print(f"ERROR in {name}: {outcome['error'].strip()}")
    print(f"hardware: {content['hardware']}\n{content['seconds']:.0f} s in total")


def text(value: float | None) -> str:
    """Return a number in four significant digits, or nothing."""
    return "" if value is None else f"{value:.4g}"


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, to check the script")
    parser.add_argument("--only", help=f"some of {','.join(MEASUREMENTS)}")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    options = parser.parse_args()
    options.only = options.only.split(",") if options.only else list(MEASUREMENTS)
    unknown = [name for name in options.only if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"--only {','.join(unknown)}: choose from {','.join(MEASUREMENTS)}")
    return options


def main() -> None:
    """Measure everything, print one table and write JSON; exit with 1 after an error."""
    options = parse_arguments()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the commands use the GPU if there is one
        multiprocessing.set_forkserver_preload(PRELOADED)
    content = run_all(options)
    print_table(content)
    print(f"wrote {options.out}")
    if any(outcome["error"] for outcome in content["measurements"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
