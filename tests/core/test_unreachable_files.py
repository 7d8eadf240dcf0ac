"""Commands whose input disk stalls, fails or vanishes in the middle of a file."""

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
END_S = 10.0  # within which a command must end once it can
SLOW = pytest.mark.slow

# Each step reads from the file system that stalls, and writes to a local disk.
STEPS = {
    name: replace(faults.STEPS[name], arguments=arguments)
    for name, arguments in {
        "lists": ("lists", "--from-folder", "../far/tree", *faults.STEPS["lists"].arguments[3:]),
        "prepare": ("prepare", "../far/lists", "--out", "set"),
        "augment": ("augment", "copy"),  # lists of links to remote clips
        "train": ("train", "tiny.toml", "--prepared", "../far/prepared", "--out", "run"),
        "export": ("export", "../far/trained", "--lists", "../far/order",
                   *faults.STEPS["export"].arguments[4:]),
    }.items()
}  # fmt: skip


class RemoteDisk:
    """The mounted file system of `stalling`."""

    def __init__(self, source: Path, place: Path) -> None:
        self.source, self.place = source, place
        place.mkdir()
        self.mount()

    def mount(self) -> None:
        """Mount it, also after it has vanished."""
        self.process = subprocess.Popen(
            [sys.executable, stalling.__file__, self.source, self.place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if not self.process.stdout.readline():
            reason = self.process.stderr.read().strip().splitlines()[-1]
            pytest.skip(f"a FUSE file system cannot be mounted: {reason}")

    def send(self, command="status"):
        """Send a command and return the answer."""
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def vanish(self):
        self.process.stdin.write("vanish\n")
        self.process.stdin.close()
        self.process.wait()

    def come_back(self):
        """Answer all reads again."""
        if self.process.poll() is None:
            self.send("go")
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
    mounted = RemoteDisk(root / "source", root / "far")
    yield mounted
    mounted.end()


@pytest.fixture(scope="module")
def place(far):
    """Working directory of the commands; their inputs are moved to the source of ``far``."""
    root = far.source.parent / "place"
    faults.make_place(root)
    for path in root.iterdir():
        path.rename(far.source / path.name)
    shutil.copy(far.source / "tiny.toml", root)
    linked = [*STEPS["lists"].arguments[:-1], "lists", "--link", "sym"]
    assert faults.finish(root, linked) == 0, faults.messages(root)
    return root


@pytest.fixture(autouse=True)
def come_back_afterwards(far):
    yield
    far.come_back()


@pytest.fixture(scope="module")
def undisturbed(place, far):
    """Return a function: step -> what it writes undisturbed, and how many bytes it reads."""
    results = {}

    def get(step):
        if step.name not in results:
            before = far.send()["served"]
            faults.clear(place, step)
            assert faults.finish(place, step.command()) == 0, faults.messages(place)
            n_bytes = far.send()["served"] - before
            results[step.name] = faults.result(place, step), n_bytes
        return results[step.name]

    return get


def stall(place, far, step, n_bytes, workers=1):
    """Start a step, let its reads wait after ``n_bytes``, and return it once one waits."""
    faults.clear(place, step)
    far.send(f"stall {n_bytes}")
    process = faults.start(place, step.command(workers))
    waits_or_ended = lambda: far.send()["waiting"] or process.code() is not None  # noqa: E731
    assert commands.wait_until(waits_or_ended, 60)
    assert far.send()["waiting"], f"it ended before: {faults.messages(place)}"
    return process


def check_can_continue(place, far, step, whole):
    """Assert that nothing looks finished, and that the next start gives the same result."""
    assert not (place / step.out / step.complete).exists()
    far.come_back()
    assert faults.finish(place, step.command(again=True)) == 0, faults.messages(place)
    assert faults.result(place, step) == whole
    faults.check_tidy(place, step)


# ``share`` of the bytes that a step reads come before the stall: sounds are hashed, their headers
# are read, then each is read and hashed once more; a prepared set is opened, then mapped.
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
def test_a_stall_only_delays_a_command(place, far, undisturbed, name, share, workers):
    step = STEPS[name]
    whole, n_bytes = undisturbed(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    time.sleep(STALL_S)
    assert process.code() is None
    far.send("go")
    assert process.wait(60) == 0, faults.messages(place)
    assert faults.result(place, step) == whole
    faults.check_tidy(place, step)


# As over NFS, a process that waits for a cached page reacts to no signal but SIGKILL.
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
def test_a_signal_during_a_stall_ends_the_command_cleanly(
    place, far, undisturbed, name, share, workers, how
):
    step = STEPS[name]
    whole, n_bytes = undisturbed(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    os.kill(process.pid, how)
    process.wait(1.0)
    far.send("go")
    code = process.wait(END_S)
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[how], faults.messages(place)
    assert commands.wait_until(lambda: not commands.living(process.pid), END_S)
    output = faults.messages(place)
    assert output.count("stopped; ") == 1 and "Traceback" not in output
    assert "\n" not in output[output.index("stopped; ") :].strip()
    check_can_continue(place, far, step, whole)


@pytest.mark.parametrize(
    ("name", "share", "workers"),
    [
        pytest.param("prepare", 0.75, 2, marks=SLOW),
        pytest.param("prepare", 0.75, 1, marks=SLOW),
        pytest.param("train", 0.3, 1, marks=SLOW),
    ],
)
def test_a_kill_during_a_stall_leaves_nothing_running(
    place, far, undisturbed, name, share, workers
):
    step = STEPS[name]
    whole, n_bytes = undisturbed(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(END_S) == -signal.SIGKILL
    assert commands.wait_until(lambda: not commands.living(process.pid), END_S)
    check_can_continue(place, far, step, whole)


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
def test_a_failed_read_names_the_file_and_the_command_can_be_repeated(
    place, far, undisturbed, name, share, workers, how
):
    step = STEPS[name]
    whole, n_bytes = undisturbed(step)
    process = stall(place, far, step, int(share * n_bytes), workers)
    far.send("fail 0") if how == "fails" else far.vanish()
    code, output = process.wait(END_S), faults.messages(place)
    assert code == 2, (code, output)
    assert commands.wait_until(lambda: not commands.living(process.pid), END_S)
    assert "Traceback" not in output and output.count("Error: ") == 1
    (line,) = (line for line in output.splitlines() if line.startswith("Error: "))
    named = place / line.removeprefix("Error: ").partition(": ")[0]
    # If the disk vanishes, pending reads give EIO or ECONNABORTED, later ones ENOTCONN.
    aborted = [errno.EIO, errno.ENOTCONN, errno.ECONNABORTED]
    numbers = [errno.EIO] if how == "fails" else aborted
    assert any(os.strerror(number) in line for number in numbers)
    assert "run the same command again" in line
    check_can_continue(place, far, step, whole)
    assert named.is_file() and named.resolve().is_relative_to(far.place)


# A read from mapped memory cannot fail: the kernel kills the process instead (mmap(2), SIGBUS).
# Therefore mapped files are read once before.
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
def test_a_failed_read_of_a_mapped_file_names_the_file(place, far, undisturbed, name, share, how):
    step = STEPS[name]
    whole, n_bytes = undisturbed(step)
    process = stall(place, far, step, int(share * n_bytes))
    far.send("fail 0") if how == "fails" else far.vanish()
    code, output = process.wait(END_S), faults.messages(place)
    assert code == 2, (code, output)
    (line,) = (line for line in output.splitlines() if line.startswith("Error: "))
    assert any(f"/{file}: " in line for file in ("features.npy", "model.safetensors"))
    assert "run the same command again" in line
    check_can_continue(place, far, step, whole)
