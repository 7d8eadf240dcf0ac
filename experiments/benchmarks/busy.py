"""How much longer commands take side by side, and next to a process that computes.

    python experiments/benchmarks/busy.py [--work train prepare encode] [--at-once 1 2 3] [--quick]

Each command runs in processes of its own, on data that is made first. A round runs all numbers in
turn: one process alone, two at once, three, and one beside a loop of numpy that keeps one core
busy. The figures are medians of the rounds, as ratios to one process alone. Targets on two
cores: two at once take at most 2.2 times as long as one, and one alone at most 1.05 times as long
as with ``--before``: the environment in which waiting threads spin (libgomp's own default).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import soundfile

import neuromusic as nm
from neuromusic.stimuli.audio import RATE_HZ

WORKS = ("train", "prepare", "encode", "crossval", "sweep")
BEFORE = {"GOMP_SPINCOUNT": "300000"}  # what libgomp does by itself on as many cores as threads
BURN = "import numpy as np\nx = np.ones((200, 200))\nwhile True:\n    x @ x"
CLASSES, CLIPS, CLIP_S = 4, 6, 10.0


def main() -> None:
    """Print the table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--at-once", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one small round, as a test")
    parser.add_argument("--out", type=Path, default=Path("busy.json"))
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data(root)
        results = {
            work: measured(root, work, args.at_once, rounds, 1 if args.quick else 4)
            for work in args.work
        }
    print("| work | processes | seconds | ratio to one alone |\n" + "| --- " * 4 + "|")
    for work, each in results.items():
        for key, took_s in each.items():
            print(f"| {work} | {key} | {took_s:.1f} | {took_s / each['1 at once']:.2f} |")
    args.out.write_text(json.dumps({"hardware": common.hardware(), "seconds": results}, indent=2))


def make_data(root: Path) -> None:
    """Write sounds, lists, a prepared set, a trained network and responses."""
    rng = np.random.default_rng(0)
    for genre in range(CLASSES):
        (root / f"sounds/g{genre}").mkdir(parents=True)
        for clip in range(CLIPS):
            wave = 0.1 * rng.standard_normal(round(CLIP_S * RATE_HZ))
            name = f"{1 + clip % 2}-g{genre}.{clip:05d}.wav"  # two folds
            soundfile.write(root / f"sounds/g{genre}/{name}", wave, RATE_HZ)
    lists = nm.make_file_lists(
        nm.Corpus("folder", root / "sounds", folds=True),
        split=None,
        clip_s=CLIP_S,
        out=root / "lists",
    )
    nm.prepare(lists, out=root / "prepared", machine=nm.Machine(workers=1))
    settings = {"data": {"window_s": 5.0, "validation_runs": 0, "windows_per_epoch": 32},
                "train": {"epochs": 1, "batch_size": 16}}  # fmt: skip
    nm.train(nm.Config.model_validate(settings), root / "prepared", out=root / "network")
    names = sorted(path.name for path in (root / "sounds").rglob("*.wav"))
    lines = [f"{name}\t{rng.standard_normal():.4f}\n" for name in names]
    (root / "responses.tsv").write_text("sound\tarea\n" + "".join(lines))
    (root / "wav").mkdir()
    for path in (root / "sounds").rglob("*.wav"):
        (root / "wav" / path.name).symlink_to(path)


def measured(
    root: Path, work: str, at_once: list[int], rounds: int, epochs: int
) -> dict[str, float]:
    """Return setting -> median over the rounds of the seconds until all processes have ended."""
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for n in at_once:
            key = f"{n} at once"
            found.setdefault(key, []).append(seconds(root, work, n, f"{number}-{n}", epochs))
        burner = subprocess.Popen([sys.executable, "-c", BURN], env={**os.environ, **ONE_THREAD})
        try:
            beside = seconds(root, work, 1, f"{number}-b", epochs)
        finally:
            burner.kill()
            burner.wait()
        found.setdefault("beside a process that computes", []).append(beside)
        spinning = seconds(root, work, 1, f"{number}-s", epochs, **BEFORE)
        found.setdefault("1 at once, threads spin", []).append(spinning)
    return {key: statistics.median(each) for key, each in found.items()}


ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def seconds(root: Path, work: str, n: int, name: str, epochs: int, **environment: str) -> float:
    """Return how long n processes take that begin together."""
    environment = {**os.environ, **environment}
    start = time.perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "neuromusic", *command(work, f"{work}-{name}-{k}", epochs)],
            cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for k in range(n)
    ]  # fmt: skip
    for process in running:
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(errors)
    return time.perf_counter() - start


def command(work: str, out: str, epochs: int) -> list[str]:
    """Return the arguments of a command that writes ``out``."""
    settings = ["--set", "data.window_s=5", "--set", "data.validation_runs=0",
                "--set", "data.windows_per_epoch=160", "--set", f"train.epochs={epochs}",
                "--set", "train.batch_size=16"]  # fmt: skip
    return {
        "train": ["train", "cortex-z", "--prepared", "prepared", "--out", out, *settings],
        "crossval": ["crossval", "cortex-z", "--prepared", "prepared", "--folds", "2",
                     "--out", out, *settings],
        "sweep": ["sweep", "sweep-cortex", "--prepared", "prepared", "--trials", "2",
                  "--storage", f"sqlite:///{out}.db", "--out", out, *settings,
                  "--set", "data.validation_runs=1"],
        "prepare": ["prepare", "lists", "--out", out],
        "encode": ["encode", "network", "--sounds", "wav", "--responses", "responses.tsv",
                   "--splits", "2", "--out", out],
    }[work]  # fmt: skip


if __name__ == "__main__":
    main()
