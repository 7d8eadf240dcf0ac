"""Train networks that differ from each other, several at once, and score each and their mean.

    python experiments/members.py artists prepared --artists artists.tsv --out members
    python experiments/members.py runs prepared --artists artists.tsv --out members-runs
    python experiments/members.py esc10 prepared-esc10 --out members-esc10

Each member is a cross-validation over the same four folds: of artists, of scanner runs, or those
of ESC-10. Members differ in the seed, the length of the windows, the network or one part of the
recipe. Nothing is chosen by looking at the folds: every member has its row, and so has the mean of
the probabilities of all seeds and of all members. A member that is not ready after ``--limit-s``
is left out, in the order below, and the exit code is 1; the next call continues its training.
"""

import argparse
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.stats.intervals import accuracy_ci95

FOLDS = 4
SEEDS = {f"seed {seed}": ["{recipe}", f"train.seed={seed}"] for seed in range(5)}
OTHERS = {
    "large": ["{recipe}", "model.options.size=large"],
    "long windows": ["{recipe}", "data.window_s={long_s}", "data.hop_s={long_hop_s}"],
    "short windows": ["{recipe}", "data.window_s={short_s}", "data.hop_s={short_hop_s}"],
    "averaged weights": ["{recipe}", "train.ema=0.998"],
    "cortex-r": ["{recipe}", "model.name=cortex-r"],
    "less dropout and mixup": ["{recipe}", "model.options.dropout=0.28", "augment.mixup=0.06"],
    "bands": ["bands", "data.window_s={middle_s}", "data.hop_s={middle_hop_s}"],
    "twice as long": ["{recipe}", "train.epochs=160"],
    "cortex-rt": ["{recipe}", "model.name=cortex-rt"],
}
ORDER = (
    "seed 0", "large", "long windows", "short windows", "seed 1", "averaged weights", "cortex-r",
    "seed 2", "less dropout and mixup", "bands", "seed 3", "seed 4", "twice as long", "cortex-rt",
)  # fmt: skip
MUSIC = {"recipe": "cortex", "long_s": "13", "long_hop_s": "1", "short_s": "3.7",
         "short_hop_s": "0.925", "middle_s": "7.4", "middle_hop_s": "1.85"}  # fmt: skip
SOUNDS = {"recipe": "esc10", "long_s": "3.2", "long_hop_s": "0.5", "short_s": "1.5",
          "short_hop_s": "0.5", "middle_s": "2.5", "middle_hop_s": "0.5"}  # fmt: skip


def main() -> None:
    """Train what is missing and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["artists", "runs", "esc10"])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--artists", type=Path, help="artist table; for artists and runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default=",".join(ORDER), help="members, separated by commas")
    parser.add_argument("--limit-s", type=float, default=float("inf"))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        help="a setting of all members, such as train.epochs=1",
    )
    args = parser.parse_args()
    if (args.what == "esc10") == (args.artists is not None):
        parser.error("--artists: is needed for artists and runs, and only there")
    names = args.only.split(",")
    unknown = sorted(set(names) - set(ORDER))
    if unknown:
        parser.error(f"--only {unknown[0]}: expected some of {', '.join(ORDER)}")
    train_all(names, args)
    tables = read_members(args.out)
    if not tables:
        sys.exit(f"no member was ready after {args.limit_s:g} s; see the logs in {args.out}")
    print_table(tables, by_artist=args.what == "artists")
    if not set(names) <= set(tables):
        sys.exit(f"not ready: {', '.join(sorted(set(names) - set(tables)))}")


def train_all(names: Sequence[str], args: argparse.Namespace) -> None:
    """Cross-validate members, ``args.processes`` at a time, until the time is over."""
    args.out.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + args.limit_s
    commands = {name: command(name, args) for name in names}

    def train(name: str) -> None:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return
        started_s = time.monotonic()
        with open(args.out / f"{name}.log", "w", encoding="utf-8") as log:
            try:
                code = subprocess.run(
                    commands[name], stdout=log, stderr=log,
                    timeout=None if left_s == float("inf") else left_s,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                code = -1
        seconds = time.monotonic() - started_s
        print(f"{name}: {seconds:.0f} s, exit {code}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(args.processes) as threads:
        deque(threads.map(train, names), maxlen=0)


def command(name: str, args: argparse.Namespace) -> list[str]:
    """Return the command that cross-validates a member."""
    words = MUSIC if args.what != "esc10" else SOUNDS
    recipe, *settings = [text.format(**words) for text in (SEEDS | OTHERS)[name]]
    found = [sys.executable, "-m", "neuromusic", "crossval", recipe,
             "--prepared", str(args.prepared), "--folds", str(FOLDS),
             "--out", str(args.out / name)]  # fmt: skip
    if args.artists:
        found += ["--artists", str(args.artists)]
    if args.what == "artists":
        found += ["--group", "artist"]
    return [*found, *(part for each in [*settings, *args.set] for part in ("--set", each))]


def read_members(out: Path) -> dict[str, pd.DataFrame]:
    """Return the predictions of all members that are ready, with the clips in the same order."""
    paths = {name: out / name / "predictions.tsv" for name in ORDER}
    return {
        name: pd.read_csv(path, sep="\t").sort_values("clip")
        for name, path in paths.items()
        if path.is_file()
    }


def print_table(tables: Mapping[str, pd.DataFrame], by_artist: bool) -> None:
    """Print the accuracy of each member, of all seeds together and of all members together."""
    first = next(iter(tables.values()))
    classes = sorted(set(first["genre"]))
    groups = first["artist" if by_artist else "clip"].to_numpy()
    sets = {name: [name] for name in tables}
    sets["mean of the seeds"] = [name for name in tables if name in SEEDS]
    sets["mean of all"] = list(tables)
    print("| member | accuracy (95 % interval) | folds |\n| --- | --- | --- |")
    for label, names in sets.items():
        if not names:
            continue
        mean = np.mean([tables[name][classes].to_numpy() for name in names], axis=0)
        hits = np.array(classes)[mean.argmax(1)] == first["genre"].to_numpy()
        low, high = accuracy_ci95(hits, groups)
        folds = pd.Series(hits).groupby(first["fold"].to_numpy()).mean()
        of_folds = " ".join(f"{value:.3f}"[1:] for value in folds)
        count = f" ({len(names)})" if len(names) > 1 else ""
        print(f"| {label}{count} | {hits.mean():.3f} ({low:.3f} to {high:.3f}) | {of_folds} |")


if __name__ == "__main__":
    main()
