"""Large datasets: `experiment inspect` and `check`, and the index of a BIDS folder.

    python experiments/benchmarks/experiment.py [--quick] [--out FILE]

Writes a dataset of 100 subjects x 18 runs (1 800 events files of 25 sounds, one JSON file each) and
one of 10 000 files into a temporary directory. Targets: 10 s for `inspect` and for `check`, 3 s for
the index. Where pybids or ancpbids is installed, its index of the same folder is timed as well.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import measure, report

from neuromusic.design.bids import index_bids

TARGETS = {"inspect_s": 10.0, "check_s": 10.0, "index_s": 3.0}


def write_dataset(directory: Path, n_subjects: int, n_runs: int, n_rows: int = 25) -> None:
    """Write events and JSON files; each run plays all sounds in an order of its own."""
    directory.mkdir()
    (directory / "dataset_description.json").write_text(
        '{"Name": "benchmark", "BIDSVersion": "1.9.0"}'
    )
    rng = np.random.default_rng(0)
    for subject in range(1, n_subjects + 1):
        folder = directory / f"sub-{subject:03d}" / "func"
        folder.mkdir(parents=True)
        for run in range(1, n_runs + 1):
            stem = f"sub-{subject:03d}_task-listen_run-{run:02d}"
            lines = ["onset\tduration\tstim_file\tgenre"]
            for row, sound in enumerate(rng.permutation(n_rows)):
                lines.append(f"{12 * row}\t6\tsound_{sound:02d}.wav\tgenre_{sound % 5}")
            (folder / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
            (folder / f"{stem}_bold.json").write_text(
                '{"RepetitionTime": 2.0, "TaskName": "listen"}'
            )


def seconds(call: Callable[[], object]) -> float:
    """Return the shortest of three times."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the files")
    parser.add_argument("--out", type=Path, default=Path("experiment.json"))
    options = parser.parse_args()
    share = 10 if options.quick else 1
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "runs", 100 // share, 18)
        toml = folder / "experiment.toml"
        command = [sys.executable, "-m", "neuromusic", "experiment"]
        found = measure([*command, "inspect", folder / "runs", "--out", toml])
        figures |= {"inspect_s": found.seconds, "inspect_cpu_s": found.cpu_seconds}
        found = measure([*command, "check", toml, "--bids", folder / "runs"])
        figures |= {"check_s": found.seconds, "check_cpu_s": found.cpu_seconds}
        write_dataset(folder / "files", 250 // share, 20, 2)  # 2 files for each run
        figures["index_s"] = seconds(lambda: index_bids(folder / "files"))
        if importlib.util.find_spec("bids"):
            from bids import BIDSLayout

            figures["pybids_s"] = seconds(lambda: BIDSLayout(folder / "files"))
        if importlib.util.find_spec("ancpbids"):
            import ancpbids

            figures["ancpbids_s"] = seconds(lambda: ancpbids.load_dataset(str(folder / "files")))
    report(figures, TARGETS, options.out)


if __name__ == "__main__":
    main()
