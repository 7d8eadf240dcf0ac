"""Real commands under faults of a laboratory: kills, full disks, damaged files, lost workers."""

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import commands
import faults
import pytest
from faults import STEPS


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return faults.make_place(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def normal(place):
    """Return a function: step -> what it writes when undisturbed; each step runs once."""
    undisturbed = {}

    def get(step):
        if step.name not in undisturbed:
            undisturbed[step.name] = faults.undisturbed(place, step)
        return undisturbed[step.name]

    return get


@pytest.mark.parametrize("name", ["prepare", pytest.param("train", marks=pytest.mark.slow)])
def test_a_killed_command_can_be_repeated_and_gives_the_same_bytes(place, normal, name):
    assert faults.kill_at_random(place, STEPS[name], normal(STEPS[name]), 2) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STEPS))
def test_twenty_kills_at_random_moments(place, normal, name):
    assert faults.kill_at_random(place, STEPS[name], normal(STEPS[name]), 20) >= 10


def stop(place, step, normal, how, group, workers):
    """Stop a step by a signal at a random moment while it writes, then let it finish."""
    rng = random.Random(f"{faults.SEED} {step.name} {how} {group}")
    for _ in range(20):
        faults.clear(place, step)
        code, begun = faults.stop_at_random(place, step, normal, rng, how, group, workers)
        if not begun or (place / step.out / step.complete).exists():
            continue
        assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[how], faults.messages(place)
        output = faults.messages(place)
        assert output.count("stopped; ") == 1 and "Traceback" not in output
        assert "\n" not in output[output.index("stopped; ") :].strip()
        if step.again:
            kept = (place / step.out / "last.ckpt").exists()
            assert ("(neuromusic train --resume)" in output) == kept
        faults.check_nothing_looks_finished(place, step, normal.whole)
        assert faults.finish(place, step.command(workers, again=True)) == 0, faults.messages(place)
        assert faults.result(place, step) == normal.whole
        faults.check_tidy(place, step)
        return
    if normal.writing < 0.1:
        pytest.skip(
            f"{step.name} writes for {normal.writing * 1e3:.0f} ms; no signal arrived in that time"
        )
    pytest.fail("the steps finished before they were stopped; the machine is very busy")


@pytest.mark.parametrize(
    ("name", "how", "group", "workers"),
    [
        ("prepare", signal.SIGINT, True, 2),
        pytest.param("train", signal.SIGTERM, False, 1, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_command_reports_that_and_can_be_repeated(
    place, normal, name, how, group, workers
):
    stop(place, STEPS[name], normal(STEPS[name]), how, group, workers)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("group", [False, True], ids=["one", "group"])
@pytest.mark.parametrize("name", list(STEPS))
def test_every_command_can_be_stopped(place, normal, name, group, how):
    step = STEPS[name]
    for workers in (1, 2) if step.several else (1,):
        stop(place, step, normal(step), how, group, workers)


# Kilobytes of a disk that is too small for the output of the step, but holds a part of it.
TOO_SMALL = {"prepare": 400, "augment": 1100, "train": 300, "export": 600}


@pytest.fixture
def small_disk(place):
    """Return a function: KiB -> a directory that is a disk of that size."""
    disk = place / "disk"
    disk.mkdir()
    mounts = []

    def mount(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k,nr_inodes=1000", "tmpfs", str(disk)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"no disk can be mounted: {mounted.stderr.strip()}")
        mounts.append(disk)
        return disk

    yield mount
    if mounts:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    disk.rmdir()


def remount(disk, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def on_disk(step):
    """Return the step with its output on the small disk."""
    *before, last = step.arguments
    return replace(step, arguments=(*before, f"disk/{last}"), out=f"disk/{step.out}")


def check_refused(place, step, code, *words):
    # torch's own handlers at exit may fail as well if there is no memory.
    output = faults.messages(place).split("Exception ignored in atexit callback")[0]
    assert code == 2, output
    assert "Traceback" not in output
    errors = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    for word in words:
        assert word in errors[0]
    assert not (place / step.out / step.complete).exists()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "prepare")) for name in TOO_SMALL],
)
def test_a_full_disk_is_reported_and_the_step_can_be_repeated(place, normal, small_disk, name):
    step, whole = on_disk(STEPS[name]), normal(STEPS[name]).whole
    disk = small_disk(TOO_SMALL[name])
    faults.clear(place, step)
    code = faults.finish(place, step.command())
    check_refused(place, step, code, "disk/", "free", "make some space")
    remount(disk, "size=50m")
    assert faults.finish(place, step.command(again=True)) == 0, faults.messages(place)
    assert faults.result(place, step) == whole


@pytest.mark.parametrize(
    ("name", "limit"),
    [("prepare", 100_000), ("train", 60_000), ("report", 20_000),
     *(pytest.param(name, limit, marks=pytest.mark.slow)
       for name, limit in (("augment", 50_000), ("train", 200_000), ("export", 100_000)))],
)  # fmt: skip
def test_a_file_size_limit_is_reported_and_the_step_can_be_repeated(place, normal, name, limit):
    step = STEPS[name]
    whole = normal(step).whole
    faults.clear(place, step)
    code = faults.finish(place, step.command(), {"RLIMIT_FSIZE": limit})
    check_refused(place, step, code, step.out, "File too large", "MiB")
    assert faults.finish(place, step.command(again=True)) == 0, faults.messages(place)
    assert faults.result(place, step) == whole
    faults.check_tidy(place, step)


@pytest.mark.parametrize(
    "name", ["lists", "prepare", "train", "sweep", "export", "encode", "benchmark"]
)
def test_a_read_only_disk_is_reported(place, small_disk, name):
    step = on_disk(STEPS[name])
    disk = small_disk(1000)
    faults.clear(place, STEPS[name])
    remount(disk, "ro")
    check_refused(place, step, faults.finish(place, step.command()), "disk/")
    assert not list(disk.iterdir())


@pytest.fixture
def other_lists(place):
    """Copy the lists; return their first and last clip, which may be damaged."""
    shutil.copytree(place / "lists", place / "spoiled")
    clips = sorted((place / "spoiled").rglob("*.wav"))
    yield clips[0], clips[-1]
    shutil.rmtree(place / "spoiled")


PREPARE_OTHER = replace(STEPS["prepare"], arguments=("prepare", "spoiled", "--out", "set"))


def test_a_missing_clip_is_named(place, other_lists):
    first, _ = other_lists
    first.unlink()
    faults.clear(place, PREPARE_OTHER)
    code = faults.finish(place, PREPARE_OTHER.command())
    check_refused(place, PREPARE_OTHER, code, first.name, "does not exist")
    faults.check_tidy(place, PREPARE_OTHER)


@pytest.mark.parametrize("how", ["vanishes", "changes"])
def test_a_clip_that_vanishes_or_changes_during_the_preparation_is_named(place, other_lists, how):
    _, last = other_lists
    faults.clear(place, PREPARE_OTHER)
    process = faults.start(place, PREPARE_OTHER.command())
    has_begun = lambda: faults.has_begun(place, PREPARE_OTHER)  # noqa: E731
    assert commands.wait_until(has_begun, 60)
    if how == "vanishes":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:-2000] + bytes(2000))
    check_refused(place, PREPARE_OTHER, process.wait(), last.name)
    faults.check_tidy(place, PREPARE_OTHER)


@pytest.mark.parametrize(
    "name",
    [
        "prepare",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("augment", "train", "export")),
    ],
)
def test_a_second_process_cannot_write_the_same_directory(place, normal, name):
    step = STEPS[name]
    whole = normal(step).whole
    faults.clear(place, step)
    first = faults.start(place, step.command())
    assert commands.wait_until(lambda: faults.has_begun(place, step), 60)
    os.kill(first.pid, signal.SIGSTOP)  # so that the second starts before it ends
    second = faults.finish(place, step.command(again=True))
    output = faults.messages(place)
    os.kill(first.pid, signal.SIGCONT)
    assert second == 2 and f"is being written by process {first.pid} on" in output
    assert first.wait() == 0
    assert faults.result(place, step) == whole
    faults.check_tidy(place, step)


@pytest.mark.parametrize(
    "command", ["prepare", "lists", pytest.param("augment", marks=pytest.mark.slow)]
)
def test_a_pipe_in_place_of_a_clip_is_refused_at_once(place, other_lists, command):
    first, _ = other_lists
    first.unlink()
    os.mkfifo(first)
    step = {
        "prepare": PREPARE_OTHER,
        "augment": replace(STEPS["augment"], arguments=("augment", "spoiled"), out="spoiled"),
        "lists": replace(
            STEPS["lists"],
            arguments=("lists", "--from-folder", "spoiled", "--split", "3:0:1", "--clip-s", "2",
                       "--out", "l"),
        ),
    }[command]  # fmt: skip
    faults.clear(place, STEPS["prepare"])
    faults.clear(place, STEPS["lists"])
    faults.finish(place, ["--version"])  # starts the server
    began = time.monotonic()
    check_refused(place, step, faults.finish(place, step.command()), first.name)
    assert time.monotonic() - began < 60  # it does not wait for a writer


def begin_with_workers(place, step):
    """Start a step with two workers; return it and its fork server before it has workers.

    While torch is imported, the server may have another child: builds for CUDA call ldconfig. So
    this waits until the server imports numba, which comes after torch.
    """
    faults.clear(place, step)
    process = faults.start(place, step.command(workers=2))

    def loaded_servers():
        maps = {pid: Path(f"/proc/{pid}/maps") for pid in faults.servers(process.pid)}
        return [pid for pid, path in maps.items() if "llvmlite" in path.read_text()]

    servers = []
    assert commands.wait_until(lambda: servers.extend(loaded_servers()) or servers, 60)
    return process, servers[0]


def first_worker(server):
    """Return the first worker of a fork server, within microseconds of its start."""
    end = time.monotonic() + 60
    while not (workers := faults.children(server)):
        assert time.monotonic() < end
    return workers[0]


@pytest.mark.parametrize(
    ("name", "age_s"), [("prepare", 0.02), pytest.param("augment", 0, marks=pytest.mark.slow)]
)
def test_a_killed_worker_ends_the_command(place, normal, name, age_s):
    step = STEPS[name]
    whole = normal(step).whole
    process, server = begin_with_workers(place, step)
    worker = first_worker(server)
    time.sleep(age_s)
    os.kill(worker, signal.SIGKILL)
    check_ended_without_worker(place, step, process, whole)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_another_starts_ends_the_command(place, normal):
    step = STEPS["augment"]
    whole = normal(step).whole
    for _ in range(10):
        process, server = begin_with_workers(place, step)
        worker = first_worker(server)
        os.kill(server, signal.SIGSTOP)
        time.sleep(0.02)
        if faults.children(server) == [worker]:
            break
        commands.stop_all(process.pid)  # the other worker was faster
    else:
        pytest.skip("the other worker had started each time; the machine is very busy")
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.3)  # then the server sees an end and a start at once, the end first
    os.kill(server, signal.SIGCONT)
    check_ended_without_worker(place, step, process, whole)


def check_ended_without_worker(place, step, process, whole):
    code = process.wait(60)
    if code is None:
        commands.stop_all(process.pid)
    check_refused(place, step, code, "a worker process was killed", "fewer workers than 2")
    assert commands.wait_until(lambda: not commands.living(process.pid), 30)
    assert faults.finish(place, step.command(again=True)) == 0, faults.messages(place)
    assert faults.result(place, step) == whole
    faults.check_tidy(place, step)


def test_too_little_memory_is_reported(place, normal):
    step = STEPS["prepare"]
    whole = normal(step).whole
    faults.clear(place, step)
    limit = commands.server().memory() + 2**20
    code = faults.finish(place, step.command(), {"RLIMIT_AS": limit})
    check_refused(place, step, code, "memory")
    assert faults.finish(place, step.command(again=True)) == 0, faults.messages(place)
    assert faults.result(place, step) == whole


@pytest.fixture(scope="module")
def unfinished(place, normal):
    """The directory of a training that was killed after its first epoch."""
    step = STEPS["train"]
    for _ in range(5):
        faults.clear(place, step)
        process = faults.start(place, step.command())
        assert commands.wait_until((place / "run/last.ckpt").exists, 60)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if not (place / "run/provenance.json").exists():
            return shutil.copytree(place / "run", place / "unfinished")
    pytest.fail("the training ended before it could be killed")


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("last.ckpt", "cut"),
        ("last.ckpt", "empty"),
        ("last.ckpt", "flipped"),
        ("config.toml", "cut"),
    ],
)
def test_a_damaged_file_of_an_unfinished_training_is_named(place, unfinished, file, how):
    step = STEPS["train"]
    faults.clear(place, step)
    shutil.copytree(unfinished, place / "run")
    if file == "config.toml":  # it counts only if there is no plan, as in an older version
        (place / "run" / "plan.json").unlink()
    faults.damage(place / "run" / file, how)
    check_refused(place, step, faults.finish(place, step.command(again=True)), f"run/{file}")


def test_deleted_metrics_are_restored(place, normal, unfinished):
    step = STEPS["train"]
    faults.clear(place, step)
    shutil.copytree(unfinished, place / "run")
    (place / "run/metrics.csv").unlink()
    assert faults.finish(place, step.command(again=True)) == 0, faults.messages(place)
    assert faults.result(place, step) == normal(step).whole


@pytest.mark.parametrize("how", ["cut", "empty", "header"])
def test_damaged_weights_are_named(place, how):
    step = replace(STEPS["export"], arguments=("export", "bad", *STEPS["export"].arguments[2:]))
    faults.clear(place, step)
    shutil.copytree(place / "trained", place / "bad")
    faults.damage(place / "bad/model.safetensors", how)
    code = faults.finish(place, step.command())
    shutil.rmtree(place / "bad")
    check_refused(place, step, code, "bad/model.safetensors", "is not a readable file of weights")


@pytest.mark.parametrize("how", ["cut", "empty"])
def test_a_damaged_prepared_set_is_named(place, how):
    step = replace(STEPS["train"], arguments=("train", "tiny.toml", "--prepared", "bad-set",
                                              "--out", "run"))  # fmt: skip
    faults.clear(place, step)
    shutil.copytree(place / "prepared", place / "bad-set")
    faults.damage(place / "bad-set/features.npy", how)
    code = faults.finish(place, step.command())
    shutil.rmtree(place / "bad-set")
    check_refused(place, step, code, "bad-set/features.npy")
    assert not (place / "run").exists()
