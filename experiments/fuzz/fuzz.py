"""Give a reader a great many broken files: no traceback, no hang, no flood of memory.

Needs the extra ``fuzz`` (atheris, Linux). In a run the readers are called in one child process, so
that a crash of a C library is seen and counted; the child is started again and goes on.

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

MOST_BYTES = 16_384  # of an input
HANG_S = 20  # wall seconds after which libFuzzer ends a child; what is reported is CPU time
MOST_STARTS = 50
SLOW_MS = 1000


class Tally:
    """What one child has seen; written to a file as it grows, for a crash may end it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.inputs = 0
        self.refused = 0
        self.slowest_ms = 0.0
        self.base_mb = peak_mb()
        self.faults: dict[str, str] = {}  # what went wrong -> the kept input

    def write(self) -> None:
        """Write all numbers."""
        known = {k: v for k, v in vars(self).items() if k != "place"}
        self.place.write_text(json.dumps(known | {"peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Return the most memory that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def keep(folder: Path, target: str, content: bytes) -> str:
    """Keep an input; return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{target}-{hashlib.sha256(content).hexdigest()[:12]}"
    (folder / name).write_bytes(content)
    return name


def fault_of(read: Callable[[Path], None], path: Path, tally: Tally) -> str | None:
    """Read a file; return what a user must not see of it, or None."""
    from neuromusic.core.errors import InputError

    before, began = peak_mb(), time.process_time()
    fault = None
    try:
        read(path)
    except InputError as error:
        tally.refused += 1
        text = str(error)
        if not text.isprintable() or len(text) > 2000 or str(path) not in text:
            fault = f"a message that is not one line with the file's name: {text[:60]!r}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}"
    took_ms = 1000 * (time.process_time() - began)
    tally.slowest_ms = max(tally.slowest_ms, took_ms)
    if took_ms > SLOW_MS:
        fault = f"{took_ms / 1000:.0f} s"
    if peak_mb() > before + 100:
        fault = f"{peak_mb() - before:.0f} MB more"
    return fault


def end(tally: Tally) -> None:
    """Write the tally at the end of a child, and call off libFuzzer's alarm, or it may kill it."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    tally.write()


def child(target: str, work: Path, kept: Path) -> None:
    """Run libFuzzer on one reader; does not return."""
    import atheris

    with atheris.instrument_imports(include=["neuromusic", "tomllib", "soundfile", "scipy.io"]):
        importlib.import_module(targets.MODULES[target])
    read = targets.READERS[target]
    path = work / "input"
    count = os.open(work / "count", os.O_RDWR | os.O_CREAT)
    for seed in targets.SEEDS[target]():  # so that all modules are there before memory is measured
        path.write_bytes(seed)
        fault_of(read, path, Tally(work / "tally.json"))
    tally = Tally(work / "tally.json")
    tally.write()  # a crash among the first inputs is one, and no fuzzer that does not start

    def one(content: bytes) -> None:
        path.write_bytes(content)
        tally.inputs += 1
        os.pwrite(count, str(tally.inputs).encode(), 0)
        fault = fault_of(read, path, tally)
        if fault and fault not in tally.faults:
            tally.faults[fault] = keep(kept, target, content)
            tally.write()
        if tally.inputs % 500 == 0:
            tally.write()

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        rest = random.Random(seed).random() < 0.7
        if target == "events" and rest and content.startswith(targets.HEADER):
            rows = content[len(targets.HEADER) :]
            return targets.HEADER + atheris.Mutate(rows, most - len(targets.HEADER))
        out = atheris.Mutate(content, most)
        return targets.mend_sums(out) if rest and out[:4] == b"OggS" else out

    flags = json.loads((work / "flags.json").read_text())
    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutate)
    atexit.register(end, tally)
    atheris.Fuzz()


def fuzz(target: str, runs: int, kept: Path, seed: int) -> dict[str, object]:
    """Give ``runs`` inputs to a reader; return the numbers."""
    began = time.monotonic()
    whole: dict[str, object] = {"target": target, "inputs": 0, "refused": 0}
    slowest, base, peak, cover, faults = 0.0, 0.0, 0.0, [], {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        work = Path(name)
        (work / "corpus").mkdir()
        (work / "seeds").mkdir()
        rng = np.random.default_rng(seed)
        for number, content in enumerate(targets.SEEDS[target]()):
            (work / f"seeds/{number}").write_bytes(content)
            for part, broken in enumerate(targets.damaged(content, rng)):
                (work / f"seeds/{number}-{part}").write_bytes(broken)
        words = ["".join(f"\\x{byte:02x}" for byte in word) for word in targets.WORDS[target]]
        (work / "words").write_text("".join(f'"{word}"\n' for word in words))
        done = refused = starts = 0
        while done < runs and starts < MOST_STARTS:
            flags = [
                f"-atheris_runs={runs - done}", f"-seed={seed + starts + 1}", f"-timeout={HANG_S}",
                "-rss_limit_mb=4096", f"-max_len={MOST_BYTES}", f"-dict={work / 'words'}",
                f"-artifact_prefix={work}/", "-print_final_stats=0",
                str(work / "corpus"), str(work / "seeds"),
            ]  # fmt: skip
            (work / "flags.json").write_text(json.dumps(flags))
            for old in ("count", "tally.json"):
                (work / old).unlink(missing_ok=True)
            with open(work / "log", "w+b") as log:
                ended = subprocess.run(
                    [sys.executable, __file__, target, "--child", str(work), "--keep", str(kept)],
                    stdout=log, stderr=log, check=False,
                )  # fmt: skip
                log.seek(0)
                text = log.read().decode("utf-8", "replace")
            starts += 1
            cover += [int(found) for found in re.findall(r"cov: (\d+)", text)]
            seen = int((work / "count").read_text()) if (work / "count").is_file() else 0
            if not (work / "tally.json").is_file():
                raise SystemExit(f"the fuzzer did not start:\n{text[-3000:]}")
            told = json.loads((work / "tally.json").read_text())
            done += seen
            refused += told["refused"]
            slowest, base = max(slowest, told["slowest_ms"]), base or told["base_mb"]
            peak = max(peak, told["peak_mb"])
            faults |= told["faults"]
            if ended.returncode:
                why = f"exit {ended.returncode}" + (" (hang)" if "ALARM" in text else "")
                faults[f"the process ended: {why}"] = keep(
                    kept, target, (work / "input").read_bytes()
                )
                shutil.copy(work / "log", kept / f"{target}.log")
    return whole | {
        "inputs": done, "refused": refused, "seconds": round(time.monotonic() - began),
        "seed_coverage": cover[0] if cover else 0,
        "new_coverage": max(cover) - cover[0] if cover else 0,
        "slowest_ms": round(slowest), "base_mb": round(base), "peak_mb": round(peak),
        "starts": starts, "faults": faults,
    }  # fmt: skip


def main() -> None:
    """Fuzz one reader and print a line for each number; exit 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=list(targets.READERS))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="for what crashes")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.target, given.child, given.keep)
    numbers = fuzz(given.target, given.runs, given.keep, given.seed)
    print(json.dumps(numbers, indent=2))
    sys.exit(bool(numbers["faults"]))


if __name__ == "__main__":
    main()
