"""Commands as real processes that are stopped, and what they left; for test_faults."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from commands import Process, begin, living, stop_all, wait_until
from conftest import RATE_HZ, tone_clip
from helpers import TINY_TOML, write_events, write_features

from neuromusic.design.orders import Order, write_order
from neuromusic.features.prepared import open_prepared
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline import lists, prepare, simulate
from neuromusic.pipeline.train import make_run
from neuromusic.stimuli.corpora import folder as folder_corpus
from neuromusic.training.config import make_config
from neuromusic.training.trained import load_network

# Not of the result: the clock, and checkpoints, which hold it.
NEVER_THE_SAME = {"seconds.csv", "last.ckpt"}
SWEEP_TOML = """
[sweep]
sampler = "random"
pruner = "none"
[sweep.space]
train.lr = {low = 1e-4, high = 1e-2, log = true}
"""


def quiet(text):
    """Say nothing."""


@dataclass(frozen=True)
class Step:
    """A command that is stopped, what it writes, and how it is gone on with."""

    name: str
    arguments: tuple[str, ...]
    out: str
    complete: str  # the file that comes last
    again: tuple[str, ...] = ()  # what the next start adds
    several: bool = False  # takes --workers

    def command(self, workers: int = 1, again: bool = False) -> list[str]:
        """Return the arguments of the command."""
        return [
            *self.arguments,
            *(["--workers", str(workers)] if self.several else []),
            *(self.again if again else ()),
        ]


STEPS = {
    step.name: step
    for step in (
        Step(
            "lists",
            ("lists", "--from-folder", "tree", "--split", "3:0:1", "--clip-s", "2", "--out", "l"),
            "l",
            "provenance.json",
        ),
        Step(
            "prepare",
            ("prepare", "lists", "--out", "set"),
            "set",
            "provenance.json",
            several=True,
        ),
        Step("augment", ("augment", "copy"), "copy", "variants.tsv", several=True),
        Step(
            "train",
            ("train", "tiny.toml", "--prepared", "prepared", "--out", "run"),
            "run",
            "provenance.json",
            again=("--resume",),
        ),
        Step(
            "sweep",
            ("sweep", "sweep.toml", "--trials", "3", "--storage", "sqlite:///sweep/sweep.db",
             "--prepared", "prepared", "--out", "sweep"),
            "sweep",
            "provenance.json",
        ),
        Step(
            "export",
            ("export", "trained", "--lists", "order", "--format", "spm,hdf5", "--out", "export"),
            "export",
            "provenance.json",
        ),
        Step(
            "encode",
            ("encode", "trained", "--bids", "data",
             "--roi", "all", "--atlas", "data/derivatives/truth/areas.nii.gz",
             "--components", "4", "--out", "encoding"),
            "encoding",
            "provenance.json",
        ),
    )
}  # fmt: skip


def make_place(root: Path) -> Path:
    """Make everything that the steps read: eight clips of 2 s, log-mel of runs, a network."""
    for index, genre in enumerate(("blues", "rock")):
        (root / "tree" / genre).mkdir(parents=True)
        for number in range(4):
            path = root / "tree" / genre / f"{genre}.{number:05d}.wav"
            soundfile.write(path, tone_clip(index, number, 2.0), RATE_HZ, subtype="PCM_16")
    files = folder_corpus.table(root / "tree")
    lists.make_file_lists(files, "3:0:1", 0, 2.0, root / "lists", "copy", quiet)
    train = write_features(root / "train.npz")
    test = write_features(root / "test.npz", 1, 1, 50)
    prepared = prepare.make_prepared_features(train, test, root / "prepared", quiet)
    (root / "tiny.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 6"))
    (root / "sweep.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 2") + SWEEP_TOML)
    tree = tomllib.loads(TINY_TOML)
    tree["train"]["epochs"] = 1
    make_run(make_config(tree, "tiny"), prepared, root / "trained", False, quiet)
    rows = open_prepared(prepared).rows
    (root / "none").mkdir()
    for split, times in (("train", 1), ("test", 4)):
        runs = rows[rows["split"] == split].groupby("run")["clip"]
        order = Order(split, np.stack([np.tile(clips, times) for _, clips in runs]))
        write_order(order, root / f"{split}.mat")
    lists.make_lists(
        root / "train.mat", root / "test.mat", root / "none", root / "order", True, "hard", quiet
    )
    write_events(load_network(root / "trained").prepared, root / "events")
    planted = Planted(voxels=5, noise_voxels=5)
    simulate.simulate(root / "trained", root / "events", None, planted, 0, root / "data", quiet)
    return root


def clear(root: Path, step: Step) -> None:
    """Make the place as it was before the step."""
    for path in [root / step.out, *root.glob(f".{step.out}.*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if step.name == "augment":
        shutil.copytree(root / "lists", root / step.out, symlinks=True)
    if step.name == "sweep":
        (root / step.out).mkdir()  # where its database lies


def start(root: Path, command: list[str], limits: dict[str, int] | None = None) -> Process:
    """Start a command in a session of its own; what it says goes to stdout.txt and stderr.txt.

    With resource limits.
    """
    return begin(root, command, root, limits)


def said(root: Path) -> str:
    """Return what the last command said on stderr, without progress bars."""
    lines = (root / "stderr.txt").read_text().splitlines()
    return "\n".join(line for line in lines if "━" not in line)


def finish(root: Path, command: list[str], limits: dict[str, int] | None = None) -> int | None:
    """Run a command to its end and return its exit code, or None if it took too long."""
    process = start(root, command, limits)
    try:
        return process.wait()
    finally:
        stop_all(process.pid)


def children(pid: int) -> list[int]:
    """Return the processes that another has started; see proc_pid_task_children(5)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def servers(session: int) -> list[int]:
    """Return the fork servers of a session, of which workers are copies."""
    line = "/proc/{}/cmdline"
    return [p for p in children(session) if b"forkserver" in Path(line.format(p)).read_bytes()]


def damage(path: Path, how: str) -> None:
    """Cut a file in half, empty it, flip a bit in its middle or in the header of safetensors."""
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content.clear()
    else:
        content[40 if how == "header" else len(content) // 2] ^= 0x10
    path.write_bytes(content)


def has_begun(root: Path, step: Step) -> bool:
    """Say whether a step has begun to write."""
    if step.name == "augment":
        return any((root / step.out).rglob("*_*.wav")) or any(root.rglob(".*.partial.wav"))
    if step.name == "sweep":
        return any((root / step.out).glob("trial-*"))
    return (root / step.out).exists() or any(root.glob(f".{step.out}.partial*"))


def result(root: Path, step: Step) -> dict[str, str]:
    """Return file -> SHA-256 of all that a step wrote, but for what tells the time."""
    folder = root / step.out
    return {
        str(path.relative_to(folder)): hashlib.sha256(_timeless(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NEVER_THE_SAME and ".db" not in path.suffix
    }


def _timeless(path: Path) -> bytes:
    if not path.name.endswith("provenance.json"):
        return path.read_bytes()
    made = json.loads(path.read_text())
    made.pop("places")
    if path.name != "provenance.json":  # of the copy of the lists that is worked in
        made.pop("inputs")
    outputs = made.get("outputs", {})
    for name in NEVER_THE_SAME & set(outputs):
        del outputs[name]
    return json.dumps(made).encode()


def check_nothing_looks_finished(root: Path, step: Step, whole: dict[str, str]) -> bool:
    """Assert that what looks finished is; return whether it does."""
    if (root / step.out / step.complete).exists():
        assert result(root, step) == whole
        return True
    if step.name == "sweep":
        for path in (root / step.out).glob("trial-*/provenance.json"):
            name = path.parent.name
            there = {k: v for k, v in result(root, step).items() if k.startswith(f"{name}/")}
            assert there == {k: v for k, v in whole.items() if k.startswith(f"{name}/")}
    return False


def check_tidy(root: Path, step: Step) -> None:
    """Assert that nothing half-written lies about."""
    assert not [path.name for path in root.glob(f".{step.out}.*")]
    assert not list((root / step.out).rglob(".*"))


@dataclass
class Undisturbed:
    """What a step writes when nobody stops it, and how long it takes."""

    whole: dict[str, str]
    seconds: float  # from start to end
    writing: float  # from the first sign of it to the end


def undisturbed(root: Path, step: Step, workers: int = 1) -> Undisturbed:
    """Run a step to its end."""
    clear(root, step)
    began = time.monotonic()
    process = start(root, step.command(workers))
    assert wait_until(lambda: has_begun(root, step) or process.code() is not None, 300)
    writes = time.monotonic()
    assert process.wait() == 0, said(root)
    ended = time.monotonic()
    check_tidy(root, step)
    return Undisturbed(result(root, step), ended - began, ended - writes)


def stop_at_random(
    root: Path, step: Step, normal: Undisturbed, rng: random.Random, how: signal.Signals,
    group: bool, workers: int,
) -> tuple[int, bool]:  # fmt: skip
    """Start a step, signal it at a random moment; return its exit code and if it had begun.

    One in four at any moment, the others while it writes. No process of it is alive afterwards.
    """
    process = start(root, step.command(workers))
    if rng.random() < 0.25:
        time.sleep(rng.uniform(0, normal.seconds))
    else:
        assert wait_until(lambda: has_begun(root, step) or process.code() is not None, 300)
        time.sleep(rng.uniform(0, normal.writing))
    begun = has_begun(root, step)
    try:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how) if group else os.kill(process.pid, how)
        code = process.wait(60)
        assert wait_until(lambda: not living(process.pid), 30), "workers are left"
    finally:
        stop_all(process.pid)
    return code, begun
