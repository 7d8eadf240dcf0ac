"""Run commands as real processes, stop or damage them, and compare what they leave behind."""

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
import pandas as pd
import soundfile
from commands import Process, begin, living, stop_all, wait_until
from conftest import RATE_HZ, tone_clip
from helpers import TINY_TOML, write_events, write_features

from neuromusic.design.orders import Order, write_order
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline.lists import make_file_lists, make_lists
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.simulate import simulate
from neuromusic.pipeline.train import train
from neuromusic.stimuli.corpora import Corpus

SEED = 2026
# Files that differ between equal steps: they contain times.
WITH_TIMES = {"seconds.csv", "last.ckpt"}
SWEEP_TOML = """
[sweep]
sampler = "random"
pruner = "none"
[sweep.space]
train.lr = {low = 1e-4, high = 1e-2, log = true}
"""


@dataclass(frozen=True)
class Step:
    """A command to stop, what it writes, and how it is continued."""

    name: str
    arguments: tuple[str, ...]
    out: str
    complete: str  # the file that is written last
    again: tuple[str, ...] = ()  # further arguments of the next start
    several: bool = False  # has --workers

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
        Step(
            "benchmark",
            ("benchmark", "benchmark.toml", "--out", "bench"),
            "bench",
            "provenance.json",
            several=True,
        ),
        Step(
            "report",
            ("report", "trained", "order", "--figures", "svg", "--out", "page/report.html"),
            "page",
            "report.html",
        ),
    )
}  # fmt: skip


def make_place(root: Path) -> Path:
    """Write what the steps read: eight clips of 2 s, features of whole runs, a trained network.

    And features of two other networks, and responses to the clips, for the benchmark.
    """
    for index, genre in enumerate(("blues", "rock")):
        (root / "tree" / genre).mkdir(parents=True)
        for number in range(4):
            path = root / "tree" / genre / f"{genre}.{number:05d}.wav"
            soundfile.write(path, tone_clip(index, number, 2.0), RATE_HZ, subtype="PCM_16")
    corpus = Corpus("folder", root / "tree")
    make_file_lists(corpus, split="3:0:1", clip_s=2.0, link="copy", out=root / "lists")
    features = write_features(root / "train.npz")
    test = write_features(root / "test.npz", 1, 1, 50)
    prepared = prepare_features(features, test=test, out=root / "prepared")
    (root / "tiny.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 6"))
    (root / "sweep.toml").write_text(TINY_TOML.replace("epochs = 3", "epochs = 2") + SWEEP_TOML)
    settings = tomllib.loads(TINY_TOML)
    settings["train"]["epochs"] = 1
    network = train(settings, prepared, out=root / "trained")
    write_orders(prepared.rows, root)
    write_events(network.prepared, root / "events")
    planted = Planted(voxels=5, noise_voxels=5)
    simulate(network, bids=root / "events", planted=planted, out=root / "data")
    write_benchmark(root)
    return root


def write_benchmark(root: Path) -> None:
    """Write features of two networks for 20 sounds, responses, and the settings of a benchmark."""
    rng = np.random.default_rng(SEED)
    (root / "sounds").mkdir()
    lines = ["sound\tarea"]
    for number in range(20):
        name = f"s{number:02d}"
        soundfile.write(root / f"sounds/{name}.wav", rng.uniform(-0.3, 0.3, RATE_HZ), RATE_HZ)
        lines.append(f"{name}\t{rng.normal():.3f}")
        for network in ("one", "two"):
            (root / f"features/{network}").mkdir(parents=True, exist_ok=True)
            np.savez(root / f"features/{network}/{name}.npz", layer=rng.normal(size=(50, 6)),
                     frame_s=0.02, first_frame_s=0.01)  # fmt: skip
    (root / "responses.tsv").write_text("\n".join(lines) + "\n")
    (root / "responses.toml").write_text('sounds = "sounds"\nresponses = "responses.tsv"\n')
    networks = "".join(f'[networks.{n}]\nfeatures = "features/{n}"\n' for n in ("one", "two"))
    data = '[datasets.noise]\ndescription = "responses.toml"\n'
    (root / "benchmark.toml").write_text(f'protocol = "ours"\nsplits = 2\n{networks}{data}')


def write_orders(rows: pd.DataFrame, root: Path) -> None:
    """Write the order files of a prepared set and, as "order", its lists without any clip."""
    for split, n_repeats in (("train", 1), ("test", 4)):
        runs = rows[rows["split"] == split].groupby("run")["clip"]
        order = Order(split, np.stack([np.tile(clips, n_repeats) for _, clips in runs]))
        write_order(order, root / f"{split}.mat")
    (root / "none").mkdir()
    make_lists(
        train_order=root / "train.mat", test_order=root / "test.mat", clips=root / "none",
        allow_missing=True, out=root / "order",
    )  # fmt: skip


def clear(root: Path, step: Step) -> None:
    """Remove what a step wrote, so that it can start anew."""
    for path in [root / step.out, *root.glob(f".{step.out}.*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if step.name == "augment":
        shutil.copytree(root / "lists", root / step.out, symlinks=True)
    if step.name in ("sweep", "report"):
        (root / step.out).mkdir()  # the sweep's database and the page are written there


def start(root: Path, command: list[str], limits: dict[str, int] | None = None) -> Process:
    """Start a command in a session of its own, with resource limits.

    Its output goes to stdout.txt and stderr.txt.
    """
    return begin(root, command, root, limits)


def messages(root: Path) -> str:
    """Return what the last command wrote to stderr, without progress bars."""
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
    """Return the child processes of a process; see proc_pid_task_children(5)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def servers(session: int) -> list[int]:
    """Return the fork servers of a session, from which workers are forked."""
    line = "/proc/{}/cmdline"
    return [p for p in children(session) if b"forkserver" in Path(line.format(p)).read_bytes()]


def damage(path: Path, how: str) -> None:
    """Truncate a file to half, empty it, or flip a bit in its middle or its safetensors header."""
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content.clear()
    else:
        content[40 if how == "header" else len(content) // 2] ^= 0x10
    path.write_bytes(content)


def has_begun(root: Path, step: Step) -> bool:
    """Return whether a step has begun to write."""
    if step.name == "augment":
        return any((root / step.out).rglob("*_*.wav")) or any(root.rglob(".*.partial.wav"))
    if step.name == "sweep":
        return any((root / step.out).glob("trial-*"))
    if step.name == "report":
        return any((root / step.out).iterdir())
    return (root / step.out).exists() or any(root.glob(f".{step.out}.partial*"))


def result(root: Path, step: Step) -> dict[str, str]:
    """Return file -> SHA-256 for all that a step wrote, without times."""
    folder = root / step.out
    return {
        str(path.relative_to(folder)): hashlib.sha256(_without_times(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in WITH_TIMES and ".db" not in path.suffix
    }


def _without_times(path: Path) -> bytes:
    if not path.name.endswith("provenance.json"):
        return path.read_bytes()
    record = json.loads(path.read_text())
    record.pop("places")
    if path.name != "provenance.json":  # that of `augment`, which works in a copy of the lists
        record.pop("inputs")
    outputs = record.get("outputs", {})
    for name in WITH_TIMES & set(outputs):
        del outputs[name]
    return json.dumps(record).encode()


def check_nothing_looks_finished(root: Path, step: Step, whole: dict[str, str]) -> bool:
    """Assert that a step that looks finished is; return whether it looks finished."""
    if (root / step.out / step.complete).exists():
        assert result(root, step) == whole
        return True
    if step.name == "sweep":
        for path in (root / step.out).glob("trial-*/provenance.json"):
            name = path.parent.name
            files = {k: v for k, v in result(root, step).items() if k.startswith(f"{name}/")}
            assert files == {k: v for k, v in whole.items() if k.startswith(f"{name}/")}
    return False


def check_tidy(root: Path, step: Step) -> None:
    """Assert that no half-written files are left."""
    assert not [path.name for path in root.glob(f".{step.out}.*")]
    assert {path.name for path in (root / step.out).rglob(".*")} <= {".bidsignore", ".baselines"}


@dataclass
class Undisturbed:
    """What a step writes if it is not stopped, and how long it takes."""

    whole: dict[str, str]
    seconds: float  # from start to end
    writing: float  # from the first visible file to the end


def undisturbed(root: Path, step: Step, workers: int = 1) -> Undisturbed:
    """Run a step to its end."""
    clear(root, step)
    began = time.monotonic()
    process = start(root, step.command(workers))
    assert wait_until(lambda: has_begun(root, step) or process.code() is not None, 300)
    began_writing = time.monotonic()
    assert process.wait() == 0, messages(root)
    ended = time.monotonic()
    check_tidy(root, step)
    return Undisturbed(result(root, step), ended - began, ended - began_writing)


def stop_at_random(
    root: Path, step: Step, normal: Undisturbed, rng: random.Random, how: signal.Signals,
    group: bool, workers: int,
) -> tuple[int, bool]:  # fmt: skip
    """Start a step and signal it at a random moment; return its exit code and if it was writing.

    One time in four the moment is anywhere, otherwise while the step writes. With ``group`` all of
    its processes get the signal. None of them is alive afterwards.
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
        assert wait_until(lambda: not living(process.pid), 30), "workers are still running"
    finally:
        stop_all(process.pid)
    return code, begun


def kill_at_random(place: Path, step: Step, normal: Undisturbed, times: int) -> int:
    """Kill a step at random moments, let it finish; return how often it was writing when killed.

    This is done ``times`` times, in groups and alone, with one worker or two.
    """
    rng = random.Random(f"{SEED} {step.name}")
    kills = begun_kills = 0
    for attempt in range(3 * times):
        clear(place, step)
        group = bool(attempt % 2)
        workers = 2 if step.several and attempt % 4 == 3 else 1
        code, begun = stop_at_random(place, step, normal, rng, signal.SIGKILL, group, workers)
        if code == 0:  # it had finished before that moment
            continue
        assert code == -signal.SIGKILL
        check_nothing_looks_finished(place, step, normal.whole)
        assert finish(place, step.command(workers, again=True)) == 0, messages(place)
        assert result(place, step) == normal.whole
        check_tidy(place, step)
        kills += 1
        begun_kills += begun
        if kills == times:
            break
    assert kills == times, "the steps finished before they were stopped; the machine is very busy"
    print(f"{step.name}: killed {kills} times, {begun_kills} of them while it wrote")
    return begun_kills
