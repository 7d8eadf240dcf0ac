"""Faults that happen to a laboratory, done to real commands: kills, full disks, damaged files."""

import random
import signal

import faults
import pytest
from faults import STEPS

SEED = 2026


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return faults.make_place(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def normal(place):
    """Return a function: step -> what it writes undisturbed; each is done once."""
    done = {}

    def get(step):
        if step.name not in done:
            done[step.name] = faults.undisturbed(place, step)
        return done[step.name]

    return get


def kill(place, step, normal, times):
    """Kill a step so often at random, each time gone on with; return how often it had begun."""
    rng = random.Random(f"{SEED} {step.name}")
    kills = begun_kills = 0
    for attempt in range(3 * times):
        faults.clear(place, step)
        group = bool(attempt % 2)
        workers = 2 if step.several and attempt % 4 == 3 else 1
        code, begun = faults.stop_at_random(
            place, step, normal, rng, signal.SIGKILL, group, workers
        )
        if code == 0:  # this moment came too late
            continue
        assert code == -signal.SIGKILL
        faults.check_nothing_looks_finished(place, step, normal.whole)
        assert faults.finish(place, step.command(workers, again=True)) == 0, faults.said(place)
        assert faults.result(place, step) == normal.whole
        faults.check_tidy(place, step)
        kills += 1
        begun_kills += begun
        if kills == times:
            break
    assert kills == times, "the moments came too late; the machine is very busy"
    print(f"{step.name}: killed {kills} times, {begun_kills} of them while it wrote")
    return begun_kills


@pytest.mark.parametrize("name", ["prepare", "train"])
def test_a_killed_command_goes_on_to_the_same_bytes(place, normal, name):
    assert kill(place, STEPS[name], normal(STEPS[name]), 2) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STEPS))
def test_twenty_kills_at_random_moments(place, normal, name):
    assert kill(place, STEPS[name], normal(STEPS[name]), 20) >= 10


def stop(place, step, normal, how, group, workers):
    """Stop a step by a signal at a random moment while it writes, and go on."""
    rng = random.Random(f"{SEED} {step.name} {how} {group}")
    for _ in range(5):
        faults.clear(place, step)
        code, begun = faults.stop_at_random(place, step, normal, rng, how, group, workers)
        if not begun or (place / step.out / step.complete).exists():
            continue
        assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[how], faults.said(place)
        said = faults.said(place)
        assert said.count("stopped; ") == 1 and "Traceback" not in said
        assert "\n" not in said[said.index("stopped; ") :].strip()
        if step.again:
            kept = (place / step.out / "last.ckpt").exists()
            assert ("--resume goes on" in said) == kept
        faults.check_nothing_looks_finished(place, step, normal.whole)
        assert faults.finish(place, step.command(workers, again=True)) == 0, faults.said(place)
        assert faults.result(place, step) == normal.whole
        faults.check_tidy(place, step)
        return
    pytest.fail("the moments came too late; the machine is very busy")


@pytest.mark.parametrize(
    ("name", "how", "group", "workers"),
    [("prepare", signal.SIGINT, True, 2), ("train", signal.SIGTERM, False, 1)],
)
def test_a_stopped_command_says_so_and_goes_on(place, normal, name, how, group, workers):
    stop(place, STEPS[name], normal(STEPS[name]), how, group, workers)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("group", [False, True], ids=["one", "group"])
@pytest.mark.parametrize("name", list(STEPS))
def test_every_command_can_be_stopped(place, normal, name, group, how):
    step = STEPS[name]
    for workers in (1, 2) if step.several else (1,):
        stop(place, step, normal(step), how, group, workers)
