"""Settings, input files and command runners that several tests share."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import commands
import numpy as np
import pandas as pd

from neuromusic.design.orders import GENRES, TASK, Order, presentations
from neuromusic.fmri.simulation import sessions

# The smallest cortex-z, for tests in which the network itself does not matter.
TINY = {"size": "tiny"}
TINY_TOML = """
[data]
window_s = 5.0
hop_s = 2.5
windows_per_epoch = 64
validation_runs = 1
[model.options]
size = "tiny"
[train]
epochs = 3
batch_size = 16
ema = 0.9
[augment]
mixup = 0.3
time_masks = 1
mel_masks = 1
time_scale = 0.1
"""


def write_features(path: Path, runs: int = 3, seed: int = 0, first: int = 0) -> Path:
    """Write log-mel features of whole runs, ten clips each; each genre is louder in one band."""
    rng = np.random.default_rng(seed)
    genre = np.tile(GENRES, runs)
    features = rng.normal(-40, 5, (len(genre), 64, 97))
    for row, name in enumerate(genre):
        features[row, 6 * GENRES.index(name) : 6 * GENRES.index(name) + 6] += 15
    np.savez(
        path,
        features=features.astype(np.float16),
        clip=np.array([f"{g}.{first + i // 10:05d}_15s.wav" for i, g in enumerate(genre)]),
        genre=genre,
        run=np.repeat(np.arange(1, runs + 1), 10),
        trial=np.tile(np.arange(1, 11), runs),
        frame_s=0.155,
    )
    return path


def write_events(prepared: Path, bids: Path) -> Path:
    """Write the events of sub-A: the runs of a prepared set; test clips are repeated four times."""
    folder = bids / "sub-A/func"
    folder.mkdir(parents=True)
    data = pd.read_csv(prepared / "rows.tsv", sep="\t")
    for split, times in (("train", 1), ("test", 4)):
        runs = data[data["split"] == split].groupby("run")["clip"]
        order = Order(split, np.stack([np.tile(clips, times) for _, clips in runs]))
        for index, rows in presentations(order).groupby("run"):
            path = folder / f"sub-A_task-{TASK[split]}_run-{index:02d}_events.tsv"
            path.write_bytes(sessions.events_bytes(rows))
    return bids


def neuromusic(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a new process, forked (if possible) from one with torch."""
    if not hasattr(os, "fork"):
        return neuromusic_anew(*arguments, cwd=cwd)
    line = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as logs:
        process = commands.begin(Path(cwd), line, Path(logs))
        try:
            code = process.wait(600)
        finally:
            commands.stop_all(process.pid)
        assert code is not None, f"{line} took too long"
        out, err = (Path(logs, name).read_text() for name in ("stdout.txt", "stderr.txt"))
    return subprocess.CompletedProcess(line, code, out, err)


def neuromusic_anew(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, in a new Python interpreter."""
    program = ["-m", "neuromusic"]
    if arguments[:1] == ("neuromusic-bids",):  # the other command of the package
        code = "import sys; sys.argv.pop(0); from neuromusic.cli.bids_app import main; main()"
        program = ["-c", code]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
