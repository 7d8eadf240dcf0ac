"""Parallel calls: order, lost workers, signals, and nothing left running."""

import importlib.util
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import threading
import time

import commands
import pytest

from neuromusic.core.errors import InputError, ResourceError
from neuromusic.core.parallel import Machine, run_calls
from neuromusic.features import PRELOAD

MACHINES = [Machine(), Machine(workers=2), Machine(workers=2, device="cuda")]


def run(machine, function, calls):
    return list(run_calls(function, calls, machine))


@pytest.mark.parametrize("machine", MACHINES)
def test_results_come_in_the_order_of_the_calls(machine):
    calls = [(number, 3) for number in range(20)]
    assert run(machine, operator.mul, calls) == [3 * number for number in range(20)]


@pytest.mark.parametrize("machine", MACHINES)
def test_an_error_in_a_call_is_raised_where_the_results_are_used(machine):
    with pytest.raises(ZeroDivisionError):
        run(machine, operator.truediv, [(1, 1), (1, 0), (1, 1)])


@pytest.mark.parametrize("machine", MACHINES[1:])
def test_calls_are_consumed_only_as_fast_as_results(machine):
    consumed = []

    def calls():
        for number in range(100):
            consumed.append(number)
            yield number, 1

    results = run_calls(operator.mul, calls(), machine)
    assert next(results) == 0
    assert len(consumed) <= 6
    results.close()


def test_work_is_done_in_other_processes_only_with_several_workers_on_the_cpu():
    calls = [()] * 6
    assert set(run(Machine(), os.getpid, calls)) == {os.getpid()}
    assert set(run(Machine(2, "cuda"), os.getpid, calls)) == {os.getpid()}
    assert os.getpid() not in run(Machine(2), os.getpid, calls)
    assert threading.get_ident() not in run(Machine(2, "cuda"), threading.get_ident, calls)


@pytest.mark.parametrize("end", [os._exit, signal.raise_signal])
def test_a_killed_worker_is_reported_and_no_other_is_left(end):
    before = multiprocessing.active_children()
    with pytest.raises(ResourceError, match=r"a worker process was killed; .*workers than 2"):
        run(Machine(2), end, [(signal.SIGKILL,)] * 4)
    assert multiprocessing.active_children() == before


@pytest.mark.posix
def test_signal_handlers_and_the_main_module_are_restored():
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    main = sys.modules["__main__"]
    run(Machine(2), operator.neg, [(1,), (2,)])
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert sys.modules["__main__"] is main
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}


SCRIPT = """
import sys, time
from neuromusic.core.parallel import Machine, run_calls
print("the script is executed", flush=True)
for _ in run_calls(time.sleep, [(0.01,)] * 4 + [(60,)] * 2, Machine(2)):
    print("result", flush=True)
"""


def start_script(tmp_path, script=SCRIPT):
    """Start a script without ``if __name__``, in a session of its own; wait for two results."""
    path = tmp_path / "script.py"
    path.write_text(script)
    process = subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    lines = [process.stdout.readline() for _ in range(3)]
    assert lines == ["the script is executed\n", "result\n", "result\n"], process.stderr.read()
    return process


@pytest.mark.posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_main_process(tmp_path, number):
    """Those that are busy for a minute; SIGINT goes to the whole group, as from a terminal."""
    process = start_script(tmp_path)
    time.sleep(0.2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
        time.sleep(0.2)  # the pool waits for its workers, as before any other error
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
    else:
        os.kill(process.pid, number)
    try:
        process.wait(20)
        assert commands.wait_until(lambda: not commands.living(process.pid), 20)
    finally:
        commands.stop_all(process.pid)
    output, errors = process.communicate()
    assert "executed" not in output
    assert errors.count("Traceback") <= 1  # that of the main process


@pytest.mark.slow  # it waits for ten seconds
def test_a_missing_dask_scheduler_is_reported():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"dask='tcp://127\.0\.0\.1:9': no scheduler answers"):
        run(Machine(dask="tcp://127.0.0.1:9"), operator.neg, [(1,)])


def test_the_preloaded_modules_exist():
    """A misspelt name would only make workers slow: the server ignores import errors."""
    assert all(importlib.util.find_spec(name) for name in PRELOAD)
