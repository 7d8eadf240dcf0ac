"""The same work side by side: in processes here, in threads beside a GPU, or on a Dask cluster."""

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from neuromusic.core.errors import InputError, ResourceError, need_package

Calls = Iterable[tuple[Any, ...]]  # the arguments of each


@dataclass(frozen=True)
class Machine:
    """Where work is done: so many processes, a device, or a Dask cluster by its address."""

    workers: int = 1
    device: str = "cpu"  # or "cuda"
    dask: str | None = None

    @property
    def is_this_process(self) -> bool:
        """Whether the process that asks does the work, too, alone or by its threads."""
        return self.dask is None and (self.workers == 1 or self.device != "cpu")


def run_calls(function: Callable[..., Any], calls: Calls, machine: Machine) -> Iterator[Any]:
    """Call a function with each of many tuples of arguments; yield its results in their order.

    A few results for each worker wait for their turn, no more. The workers of a Dask cluster must
    have neuromusic, and see (and write) the same files under the same paths.

    Raises ResourceError where a worker was killed or had not enough memory, InputError where the
    cluster does not answer.
    """
    if machine.dask is not None:
        yield from _run_on_dask(function, calls, machine.dask)
    elif machine.is_this_process and machine.device == "cpu":
        yield from (function(*call) for call in calls)
    else:
        try:
            with _pool(machine) as pool:

                def submit(*call: Any) -> Any:
                    with _undisturbed():
                        try:
                            return pool.submit(*call)
                        except (ConnectionError, EOFError) as error:
                            raise BrokenExecutor("killed before it heard of any work") from error

                yield from _in_order(submit, function, calls, 2 * machine.workers)
        except (BrokenExecutor, MemoryError) as error:
            what = "lacked memory" if isinstance(error, MemoryError) else "was killed"
            raise ResourceError(
                f"a worker process {what}; if memory is short, take fewer --workers than "
                f"{machine.workers}"
            ) from error


def _in_order(
    submit: Callable[..., Any], function: Callable[..., Any], calls: Calls, ahead: int
) -> Iterator[Any]:
    waiting: deque[Any] = deque()
    try:
        for call in calls:
            waiting.append(submit(function, *call))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextlib.contextmanager
def _pool(machine: Machine) -> Iterator[Executor]:
    if machine.device != "cpu":  # a GPU has one process; its threads read files and wait for it
        with ThreadPoolExecutor(machine.workers) as threads:
            yield threads
        return
    import multiprocessing

    warm_up(machine)
    context = multiprocessing.get_context("forkserver")
    others = multiprocessing.active_children()
    with _no_main(), ProcessPoolExecutor(machine.workers, context, _end_with_parent) as pool:
        try:
            yield pool
        except BrokenExecutor:
            # The pool (of Python 3.11) ends the workers it knows, then waits for all of them: in
            # vain, if one was being born while another was killed.
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()
            raise


def warm_up(machine: Machine) -> None:
    """Let a server make itself ready for the work (`ahead`), of which workers will be copies.

    They need less memory so, and start sooner, above all if this is called early.
    """
    if machine.is_this_process or machine.dask is not None:
        return
    from multiprocessing import forkserver, resource_tracker

    forkserver.set_forkserver_preload(["neuromusic.features.preload"])
    resource_tracker.ensure_running()  # when it starts, it unblocks the signal
    # Ctrl-C in a terminal goes to the server and the workers too: they are born deaf to it.
    with _no_main(), _undisturbed():
        forkserver.ensure_running()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: a process that is half started would complain.

    They are blocked, for what is started here inherits that; and noted, for another thread of this
    process may get them all the same.
    """
    if threading.current_thread() is not threading.main_thread():  # it gets no signals
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    noted: list[int] = []
    before = {n: signal.signal(n, lambda number, _: noted.append(number)) for n in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Keep new processes from running the user's script again: none of the work is in it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _end_with_parent() -> None:
    """End this process when the one that wants its results is gone."""
    import multiprocessing
    from multiprocessing.connection import wait

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_on_dask(function: Callable[..., Any], calls: Calls, address: str) -> Iterator[Any]:
    need_package("distributed", "dask")
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise InputError(
            f"--dask {address}: no scheduler answers there ({error}); start one with "
            "'dask scheduler' and workers with 'dask worker ADDRESS'"
        ) from None
    with client:
        ahead = 4 * max(1, sum(client.nthreads().values()))

        def submit(*call: Any) -> Any:
            # Not pure: the same arguments can mean other files than a day before.
            return client.submit(*call, pure=False)

        try:
            yield from _in_order(submit, function, calls, ahead)
        except KilledWorker as error:
            raise ResourceError(
                f"--dask {address}: the same clip killed several workers ({error}); give them more "
                "memory"
            ) from None
