"""Startup time: how long a command takes until it begins its actual work.

    python experiments/benchmarks/start.py [--quick] [--cold] [--out FILE]

First `neuromusic --help`, as the installed script and as `python -m neuromusic`, compared with
`python -c "import click"`; targets: 0.25 s, and 3 times as long as that import. Then a cheap but
real call of each of ten commands on twenty clips: `..._first_s` is the time until it opens its
first input, `..._whole_s` the time until it ends (target 5 s), `..._cpu_s` its CPU time, which
depends less on the load of the machine. All numbers are medians of several calls. --cold also
measures some calls after dropping the files of the Python installation from the page cache
(posix_fadvise; pages mapped by other processes stay).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from common import report, write_network

from neuromusic.design.orders import GENRES, ORDER_FILES, design_orders, write_order
from neuromusic.stimuli.audio import RATE_HZ

TINY = """
[data]
window_s = 5.0
windows_per_epoch = 16
validation_runs = 0
test_runs = [2]
[model.options]
size = "tiny"
[train]
epochs = 1
batch_size = 16
"""
# Runs a command and writes the time at which it first opens a file below a folder.
WATCHED = """
import sys, time
folder, output = sys.argv[1:3]
del sys.argv[1:3]
is_open = False
def hook(event, arguments):
    global is_open
    if event != "open" or is_open or not isinstance(arguments[0], str):
        return
    if arguments[0].startswith(folder):
        is_open = True
        with open(output, "w") as file:
            file.write(str(time.time()))
sys.addaudithook(hook)
from neuromusic.cli.main import cli
cli()
"""
HELP = "python -m neuromusic --help"
CLICK = 'python -c "import click"'
COMMANDS = {
    "orders check": "orders check --train-order {0}/ExpTrnOrder.mat "
    "--test-order {0}/ExpValOrder.mat",
    "lists": "lists --train-order {0}/ExpTrnOrder.mat --test-order {0}/ExpValOrder.mat "
    "--clips {0}/clips --out {1}",
    "leaks": "leaks {0}/lists --artists {0}/artists.tsv --validation-runs 0",
    "prepare": "prepare --features {0}/features.npz --out {1}",
    "models": "models cortex-z",
    "train": "train {0}/tiny.toml --prepared {0}/prepared --out {1}",
    "evaluate": "evaluate {0}/trained",
    "export": "export {0}/network --lists {0}/lists --out {1}",
    "predict": "predict {0}/network {0}/clips/blues.00000_15s.wav --out {1}",
    "similar": "similar {0}/network --clip {0}/clips/blues.00000_15s.wav --among {0}/clips "
    "--index {1}",
}


def make_inputs(root: Path) -> None:
    """Write twenty clips of noise, their orders and lists, a prepared set and networks."""
    names = [f"{genre}.{number:05d}_15s.wav" for genre in GENRES for number in range(2)]
    (root / "clips").mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        wave = 0.1 * rng.standard_normal(15 * RATE_HZ)
        soundfile.write(root / "clips" / name, wave.clip(-1, 1), RATE_HZ)
    for order in design_orders(names, 0):
        write_order(order, root / ORDER_FILES[order.split])
    write_network(root / "network")
    mel = rng.normal(-40, 5, (20, 64, 97)).astype(np.float16)
    trial = {"run": np.repeat([1, 2], 10), "trial": np.tile(np.arange(1, 11), 2)}
    genre = np.array([name.split(".")[0] for name in names])
    np.savez(root / "features.npz", features=mel, clip=names, genre=genre, frame_s=0.155, **trial)
    rows = [f"{name.removesuffix('_15s.wav')}\t{name}\t\n" for name in names]
    (root / "artists.tsv").write_text("".join(["track\tartist_group\tfault\n", *rows]))
    (root / "tiny.toml").write_text(TINY)
    for name, out in (("lists", "lists"), ("prepare", "prepared"), ("train", "trained")):
        line = COMMANDS[name].format(root, root / out).split()
        subprocess.run([sys.executable, "-m", "neuromusic", *line], check=True)


def seconds(command: list[str]) -> tuple[float, float]:
    """Return the seconds and CPU seconds of a process; raise RuntimeError if it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        whole = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode > 1:  # 1: a check found a problem
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {output.read()}")
    return whole, used.ru_utime + used.ru_stime


def time_command(root: Path, line: str) -> tuple[float, float, float]:
    """Return the seconds until a command opens an input and until it ends, and its CPU seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        opened = Path(scratch) / "opened"
        arguments = line.format(root, Path(scratch) / "out").split()
        begin = time.time()
        whole, cpu = seconds([sys.executable, "-c", WATCHED, str(root), str(opened), *arguments])
        first = float(opened.read_text()) - begin if opened.is_file() else whole
    return first, whole, cpu


def drop_page_cache() -> None:
    """Drop the files of this Python and its packages from the page cache."""
    for base in {sys.prefix, sys.base_prefix}:
        for folder, _, names in os.walk(Path(base) / "lib"):
            for name in names:
                try:
                    file = os.open(os.path.join(folder, name), os.O_RDONLY)
                except OSError:  # a broken link
                    continue
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)


def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("start.json"))
    options = parser.parse_args()
    script = shutil.which("neuromusic")
    helps = {CLICK: [sys.executable, "-c", "import click"],
             HELP: [sys.executable, "-m", "neuromusic", "--help"]}  # fmt: skip
    if script:
        helps["neuromusic --help"] = [script, "--help"]
    result: dict[str, object] = {}
    targets = {f"{name}_s": 0.25 for name in helps if name != CLICK}
    times: dict[str, list[float]] = {name: [] for name in helps}
    for _ in range(5 if options.quick else 21):  # in turn, so that other load affects all
        for name, command in helps.items():
            times[name].append(seconds(command)[0])
    result |= {f"{name}_s": statistics.median(values) for name, values in times.items()}
    for name in [*helps][1:]:
        ratios = [ours / base for ours, base in zip(times[name], times[CLICK], strict=True)]
        result[f"{name}_ratio"] = statistics.median(ratios)
        targets[f"{name}_ratio"] = 3.0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_inputs(root)
        for name, line in COMMANDS.items():
            calls = [time_command(root, line) for _ in range(1 if options.quick else 3)]
            keys = (f"{name}_first_s", f"{name}_whole_s", f"{name}_cpu_s")
            medians = map(statistics.median, zip(*calls, strict=True))
            result |= dict(zip(keys, medians, strict=True))
            targets[f"{name}_whole_s"] = 5.0
        for name in ("lists", "predict", "train") if options.cold else ():
            drop_page_cache()
            keys = (f"{name}_cold_first_s", f"{name}_cold_whole_s", f"{name}_cold_cpu_s")
            result |= dict(zip(keys, time_command(root, COMMANDS[name]), strict=True))
    if options.cold:
        drop_page_cache()
        result["help_cold_s"] = seconds(helps[HELP])[0]
    report(result, targets, options.out)


if __name__ == "__main__":
    main()
