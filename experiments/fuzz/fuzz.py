"""Fuzz a reader: no broken file may cause a traceback, a hang or excessive memory.

Needs the extra ``fuzz`` (atheris, Linux). The reader is called in a child process, so that a crash
of a C library is noticed and counted; the child is then started again.

    python experiments/fuzz/fuzz.py mat --runs 100000
"""

import argparse
import atexit
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import targets  # noqa: E402

MOST_BYTES = 16_384  # of one input
HANG_S = 20  # wall time after which libFuzzer ends a child; the times reported are CPU times
MOST_STARTS = 50
SLOW_MS = 1000


class Tally:
    """Results of one child; written to a file repeatedly, because a crash may end it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inputs = 0
        self.refused = 0
        self.slowest_ms = 0.0
        self.base_mb = peak_mb()
        self.faults: dict[str, str] = {}  # description -> name of the kept input

    def write(self) -> None:
        """Write the results as JSON."""
        results = {k: v for k, v in vars(self).items() if k != "path"}
        self.path.write_text(json.dumps(results | {"peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def keep(folder: Path, target: str, content: bytes) -> str:
    """Write an input to a folder; return its file name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{target}-{hashlib.sha256(content).hexdigest()[:12]}"
    (folder / name).write_bytes(content)
    return name


def fault_of(read: Callable[[Path], None], path: Path, tally: Tally) -> str | None:
    """Read a file; return a description of anything but success or a good InputError, or None."""
    from neuromusic.core.errors import InputError

    before, began = peak_mb(), time.process_time()
    fault = None
    try:
        read(path)
    except InputError as error:
        tally.refused += 1
        text = str(error)
        if not text.isprintable() or len(text) > 2000 or str(path) not in text:
            fault = f"a message that is not one short line with the file's name: {text[:60]!r}"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
    took_ms = 1000 * (time.process_time() - began)
    tally.slowest_ms = max(tally.slowest_ms, took_ms)
    if took_ms > SLOW_MS:
        fault = f"{took_ms / 1000:.0f} s"
    if peak_mb() > before + 100:
        fault = f"{peak_mb() - before:.0f} MB more"
    return fault


def end(tally: Tally) -> None:
    """Write the tally at the end of a child, and stop libFuzzer's alarm, which could kill it."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    tally.write()


def child(target: str, work: Path, kept: Path) -> None:
    """Run libFuzzer on one reader; this function does not return."""
    import atheris

    with atheris.instrument_imports(include=["neuromusic", "tomllib", "soundfile", "scipy.io"]):
        importlib.import_module(targets.MODULES[target])
    read = targets.READERS[target]
    path = work / "input"
    count = os.open(work / "count", os.O_RDWR | os.O_CREAT)
    for seed in targets.SEEDS[target]():  # imports all modules before memory is measured
        path.write_bytes(seed)
        fault_of(read, path, Tally(work / "tally.json"))
    tally = Tally(work / "tally.json")
    tally.write()  # from here on a crash counts as a fault, not as a failed start

    def try_input(content: bytes) -> None:
        path.write_bytes(content)
        tally.inputs += 1
        os.pwrite(count, str(tally.inputs).encode(), 0)
        fault = fault_of(read, path, tally)
        if fault and fault not in tally.faults:
            tally.faults[fault] = keep(kept, target, content)
            tally.write()
        if tally.inputs % 500 == 0:
            tally.write()

    def mutate(content: bytes, most_bytes: int, seed: int) -> bytes:
        keep_valid = random.Random(seed).random() < 0.7  # the header, or the checksums
        header = targets.HEADERS.get(target, b"")
        if header and keep_valid and content.startswith(header):
            return header + atheris.Mutate(content[len(header) :], most_bytes - len(header))
        mutated = atheris.Mutate(content, most_bytes)
        if target in ("spreadsheet", "cached") and keep_valid:
            return targets.stored(mutated)[:most_bytes]
        return targets.fix_checksums(mutated) if keep_valid and mutated[:4] == b"OggS" else mutated

    flags = json.loads((work / "flags.json").read_text())
    atheris.Setup([sys.argv[0], *flags], try_input, custom_mutator=mutate)
    atexit.register(end, tally)
    atheris.Fuzz()


def fuzz(target: str, runs: int, kept: Path, seed: int) -> dict[str, object]:
    """Try ``runs`` inputs on a reader; a new child is started after each crash."""
    began = time.monotonic()
    totals = Totals()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        work = Path(name)
        write_seeds(target, work, seed)
        while totals.inputs < runs and totals.starts < MOST_STARTS:
            write_flags(work, runs - totals.inputs, seed + totals.starts + 1)
            code, log = run_child(target, work, kept)
            totals.add(work, log)
            if code:
                reason = f"exit {code}" + (" (hang)" if "ALARM" in log else "")
                totals.faults[f"the process ended: {reason}"] = keep(
                    kept, target, (work / "input").read_bytes()
                )
                shutil.copy(work / "log", kept / f"{target}.log")
    return {"target": target, **totals.summary(round(time.monotonic() - began))}


class Totals:
    """Results of all children."""

    def __init__(self) -> None:
        self.inputs = self.refused = self.starts = 0
        self.slowest_ms = self.base_mb = self.peak_mb = 0.0
        self.coverage: list[int] = []  # as libFuzzer counts it, in order
        self.faults: dict[str, str] = {}

    def add(self, work: Path, log: str) -> None:
        """Add the results of a child that has ended."""
        if not (work / "tally.json").is_file():
            raise SystemExit(f"the fuzzer did not start:\n{log[-3000:]}")
        tally = json.loads((work / "tally.json").read_text())
        count = work / "count"  # more recent than the tally, if the child crashed
        self.starts += 1
        self.inputs += int(count.read_text()) if count.is_file() else 0
        self.refused += tally["refused"]
        self.slowest_ms = max(self.slowest_ms, tally["slowest_ms"])
        self.base_mb = self.base_mb or tally["base_mb"]
        self.peak_mb = max(self.peak_mb, tally["peak_mb"])
        self.coverage += [int(number) for number in re.findall(r"cov: (\d+)", log)]
        self.faults |= tally["faults"]

    def summary(self, seconds: int) -> dict[str, object]:
        """Return all results."""
        first, last = (self.coverage[0], max(self.coverage)) if self.coverage else (0, 0)
        return {
            "inputs": self.inputs, "refused": self.refused, "seconds": seconds,
            "seed_coverage": first, "new_coverage": last - first,
            "slowest_ms": round(self.slowest_ms), "base_mb": round(self.base_mb),
            "peak_mb": round(self.peak_mb), "starts": self.starts, "faults": self.faults,
        }  # fmt: skip


def write_seeds(target: str, work: Path, seed: int) -> None:
    """Write the seeds, damaged copies of them, and the dictionary for libFuzzer."""
    (work / "corpus").mkdir()
    (work / "seeds").mkdir()
    rng = np.random.default_rng(seed)
    for number, content in enumerate(targets.SEEDS[target]()):
        (work / f"seeds/{number}").write_bytes(content)
        for part, broken in enumerate(targets.damaged(content, rng)):
            (work / f"seeds/{number}-{part}").write_bytes(broken)
    words = ["".join(f"\\x{byte:02x}" for byte in word) for word in targets.WORDS[target]]
    (work / "words").write_text("".join(f'"{word}"\n' for word in words))


def write_flags(work: Path, runs: int, seed: int) -> None:
    """Write the flags for libFuzzer in the next child, and remove the results of the last one."""
    flags = [
        f"-atheris_runs={runs}", f"-seed={seed}", f"-timeout={HANG_S}",
        "-rss_limit_mb=4096", f"-max_len={MOST_BYTES}", f"-dict={work / 'words'}",
        f"-artifact_prefix={work}/", "-print_final_stats=0",
        str(work / "corpus"), str(work / "seeds"),
    ]  # fmt: skip
    (work / "flags.json").write_text(json.dumps(flags))
    for old in ("count", "tally.json"):
        (work / old).unlink(missing_ok=True)


def run_child(target: str, work: Path, kept: Path) -> tuple[int, str]:
    """Run libFuzzer in a child process; return its exit code and what it logged."""
    with open(work / "log", "w+b") as log:
        ended = subprocess.run(
            [sys.executable, __file__, target, "--child", str(work), "--keep", str(kept)],
            stdout=log, stderr=log, check=False,
        )  # fmt: skip
        log.seek(0)
        return ended.returncode, log.read().decode("utf-8", "replace")


def main() -> None:
    """Fuzz one reader and print the results as JSON; exit with 1 if there are faults."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=list(targets.READERS))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-found"), help="folder for inputs that cause faults"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.target, arguments.child, arguments.keep)
    results = fuzz(arguments.target, arguments.runs, arguments.keep, arguments.seed)
    print(json.dumps(results, indent=2))
    sys.exit(bool(results["faults"]))


if __name__ == "__main__":
    main()
