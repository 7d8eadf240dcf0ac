"""Commands that read from a file system that stalls, fails or vanishes in the middle of a file."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import commands
import faults
import pytest
import stalling

STALL_S = 2.0  # how long reads wait
END_S = 10.0  # in which a command ends once it can
SLOW = pytest.mark.slow

# Of each step what it reads lies far away, and what it writes near.
STEPS = {
    name: replace(faults.STEPS[name], arguments=arguments)
    for name, arguments in {
        "lists": ("lists", "--from-folder", "../far/tree", *faults.STEPS["lists"].arguments[3:]),
        "prepare": ("prepare", "../far/lists", "--out", "set"),
        "augment": ("augment", "copy"),  # lists of links to what is far away
        "train": ("train", "tiny.toml", "--prepared", "../far/prepared", "--out", "run"),
        "export": ("export", "../far/trained", "--lists", "../far/order",
                   *faults.STEPS["export"].arguments[4:]),
    }.items()
}  # fmt: skip


class Far:
    """`stalling`, mounted."""

    def __init__(self, source: Path, place: Path) -> None:
        self.source, self.place = source, place
        place.mkdir()
        self.mount()

    def mount(self) -> None:
        """Mount it, again where it has vanished."""
        self.process = subprocess.Popen(
            [sys.executable, stalling.__file__, self.source, self.place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if not self.process.stdout.readline():
            reason = self.process.stderr.read().strip().splitlines()[-1]
            pytest.skip(f"no file system of FUSE can be mounted: {reason}")

    def tell(self, order="tell"):
        """Give an order; return its answer."""
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def vanish(self):
        self.process.stdin.write("vanish\n")
        self.process.stdin.close()
        self.process.wait()

    def come_back(self):
        """Answer everything, as if nothing had been."""
        if self.process.poll() is None:
            self.tell("go")
        else:
            stalling.unmount(self.place)
            self.mount()

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()
        stalling.unmount(self.place)


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened here")
    root = tmp_path_factory.mktemp("stall")
    (root / "source").mkdir()
    mounted = Far(root / "source", root / "far")
    yield mounted
    mounted.end()


@pytest.fixture(scope="module")
def place(far):
    """Where commands are typed; all that they read was moved to the source of ``far``."""
    root = far.source.parent / "place"
    faults.make_place(root)
    for path in root.iterdir():
        path.rename(far.source / path.name)
    shutil.copy(far.source / "tiny.toml", root)
    linked = [*STEPS["lists"].arguments[:-1], "lists", "--link", "sym"]
    assert faults.finish(root, linked) == 0, faults.said(root)
    return root


@pytest.fixture(autouse=True)
def is_back(far):
    yield
    far.come_back()


@pytest.fixture(scope="module")
def normal(place, far):
    """Return a function: step -> what it writes undisturbed, and the bytes that it reads."""
    done = {}

    def get(step):
        if step.name not in done:
            before = far.tell()["served"]
            faults.clear(place, step)
            assert faults.finish(place, step.command()) == 0, faults.said(place)
            n_bytes = far.tell()["served"] - before
            done[step.name] = faults.result(place, step), n_bytes
        return done[step.name]

    return get


def stall(place, far, step, n_bytes, workers=1):
    """Start a step whose reads wait after so many bytes; return it."""
    faults.clear(place, step)
    far.tell(f"stall {n_bytes}")
    process = faults.start(place, step.command(workers))
    waits = lambda: far.tell()["waiting"] or process.code() is not None  # noqa: E731
    assert commands.wait_until(waits, 60)
    assert far.tell()["waiting"], f"it was over before: {faults.said(place)}"
    return process


def check_goes_on(place, far, step, whole):
    """Assert that nothing looks finished, and that the next start gives the same."""
    assert not (place / step.out / step.complete).exists()
    far.come_back()
    assert faults.finish(place, step.command(again=True)) == 0, faults.said(place)
    assert faults.result(place, step) == whole
    faults.check_tidy(place, step)


# Which share of what a step reads comes before the stall: sounds are hashed, their heads are read,
# then each is read and hashed once more; a prepared set is opened, then mapped.
@pytest.mark.parametrize(
    ("name", "share", "workers"),
    [
        pytest.param("prepare", 0.75, 2, marks=SLOW),
        pytest.param("train", 0.3, 1, marks=SLOW),
        pytest.param("prepare", 0.75, 1, marks=SLOW),
        pytest.param("prepare", 0.15, 1, marks=SLOW),
        pytest.param("lists", 0.3, 1, marks=SLOW),
        pytest.param("lists", 0.7, 1, marks=SLOW),
        pytest.param("augment", 0.5, 1, marks=SLOW),
        pytest.param("augment", 0.5, 2, marks=SLOW),
        pytest.param("export", 0.1, 1, marks=SLOW),
        pytest.param("export", 0.7, 1, marks=SLOW),
    ],
)
def test_reads_that_wait_and_go_on(place, far, normal, name, share, workers):
    step = STEPS[name]
    whole, n_bytes = normal(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    time.sleep(STALL_S)
    assert process.code() is None
    far.tell("go")
    assert process.wait(60) == 0, faults.said(place)
    assert faults.result(place, step) == whole
    faults.check_tidy(place, step)


# The kernel lets who waits for a cached page, as on NFS, hear of nothing but SIGKILL.
@pytest.mark.parametrize(
    ("name", "share", "workers", "how"),
    [
        pytest.param("prepare", 0.75, 1, signal.SIGTERM, marks=SLOW),
        pytest.param("prepare", 0.75, 2, signal.SIGINT, marks=SLOW),
        pytest.param("prepare", 0.75, 1, signal.SIGINT, marks=SLOW),
        pytest.param("prepare", 0.75, 2, signal.SIGTERM, marks=SLOW),
        pytest.param("prepare", 0.15, 1, signal.SIGINT, marks=SLOW),
        pytest.param("prepare", 0.15, 1, signal.SIGTERM, marks=SLOW),
        pytest.param("lists", 0.7, 1, signal.SIGINT, marks=SLOW),
        pytest.param("augment", 0.5, 1, signal.SIGTERM, marks=SLOW),
        pytest.param("augment", 0.5, 2, signal.SIGINT, marks=SLOW),
        pytest.param("train", 0.3, 1, signal.SIGINT, marks=SLOW),
        pytest.param("train", 0.3, 1, signal.SIGTERM, marks=SLOW),
        pytest.param("export", 0.7, 1, signal.SIGTERM, marks=SLOW),
    ],
)
def test_a_signal_while_reads_wait(place, far, normal, name, share, workers, how):
    step = STEPS[name]
    whole, n_bytes = normal(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    os.kill(process.pid, how)
    at_once = process.wait(1.0) is not None
    far.tell("go")
    began = time.monotonic()
    code = process.wait(END_S)
    print(f"{name}, {how.name}: at once {at_once}, else {time.monotonic() - began:.2f} s after")
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[how], faults.said(place)
    assert commands.wait_until(lambda: not commands.living(process.pid), END_S)
    said = faults.said(place)
    assert said.count("stopped; ") == 1 and "Traceback" not in said
    assert "\n" not in said[said.index("stopped; ") :].strip()
    check_goes_on(place, far, step, whole)


@pytest.mark.parametrize(
    ("name", "share", "workers"),
    [
        pytest.param("prepare", 0.75, 2, marks=SLOW),
        pytest.param("prepare", 0.75, 1, marks=SLOW),
        pytest.param("train", 0.3, 1, marks=SLOW),
    ],
)
def test_a_kill_while_reads_wait(place, far, normal, name, share, workers):
    step = STEPS[name]
    whole, n_bytes = normal(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(END_S) == -signal.SIGKILL
    assert commands.wait_until(lambda: not commands.living(process.pid), END_S)
    check_goes_on(place, far, step, whole)


@pytest.mark.parametrize("how", ["fails", "vanishes"])
@pytest.mark.parametrize(
    ("name", "share", "workers"),
    [
        ("prepare", 0.75, 1),
        pytest.param("prepare", 0.75, 2, marks=SLOW),
        pytest.param("prepare", 0.15, 1, marks=SLOW),
        pytest.param("prepare", 0.35, 1, marks=SLOW),
        pytest.param("lists", 0.03, 1, marks=SLOW),
        pytest.param("lists", 0.3, 1, marks=SLOW),
        pytest.param("lists", 0.7, 1, marks=SLOW),
        pytest.param("augment", 0.5, 1, marks=SLOW),
        pytest.param("augment", 0.5, 2, marks=SLOW),
        pytest.param("train", 0.03, 1, marks=SLOW),
        pytest.param("export", 0.4, 1, marks=SLOW),
    ],
)
def test_reads_that_fail(place, far, normal, name, share, workers, how):
    step = STEPS[name]
    whole, n_bytes = normal(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    far.tell("fail 0") if how == "fails" else far.vanish()
    code, said = process.wait(END_S), faults.said(place)
    assert code == 2, (code, said)
    assert commands.wait_until(lambda: not commands.living(process.pid), END_S)
    assert "Traceback" not in said and said.count("Error: ") == 1
    (line,) = (line for line in said.splitlines() if line.startswith("Error: "))
    named = place / line.removeprefix("Error: ").partition(": ")[0]
    # What the kernel says of what was being read when all vanished is one of the first and last.
    aborted = [errno.EIO, errno.ENOTCONN, errno.ECONNABORTED]
    numbers = [errno.EIO] if how == "fails" else aborted
    assert any(os.strerror(number) in line for number in numbers)
    assert "type the same again" in line
    check_goes_on(place, far, step, whole)
    assert named.is_file() and named.resolve().is_relative_to(far.place)


# What is mapped into memory cannot fail: the kernel ends the process instead (mmap(2), SIGBUS).
# So it is read once before.
@pytest.mark.parametrize("how", ["fails", "vanishes"])
@pytest.mark.parametrize(
    ("name", "share"),
    [
        pytest.param("train", 0.3, marks=SLOW),
        pytest.param("train", 0.8, marks=SLOW),
        pytest.param("export", 0.1, marks=SLOW),
        pytest.param("export", 0.8, marks=SLOW),
    ],
)
def test_a_page_of_a_map_that_cannot_be_read(place, far, normal, name, share, how):
    step = STEPS[name]
    whole, n_bytes = normal(step)
    process = stall(place, far, step, int(share * n_bytes))
    far.tell("fail 0") if how == "fails" else far.vanish()
    code, said = process.wait(END_S), faults.said(place)
    assert code == 2, (code, said)
    (line,) = (line for line in said.splitlines() if line.startswith("Error: "))
    assert any(f"/{file}: " in line for file in ("features.npy", "model.safetensors"))
    assert "type the same again" in line
    check_goes_on(place, far, step, whole)
