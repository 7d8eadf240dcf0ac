"""Call a function many times in parallel: in worker processes, GPU threads or a Dask cluster."""

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from neuromusic.core.errors import InputError, ResourceError, need_package

if TYPE_CHECKING:  # multiprocessing is imported where it is used: `--help` must start fast
    from multiprocessing.process import BaseProcess

Calls = Iterable[tuple[Any, ...]]  # one tuple of arguments per call
MOST_GPU_THREADS = 4  # more would take turns at Python's lock; 16 were slower than 4 on an H200


@dataclass(frozen=True)
class Machine:
    """Where work is done.

    Parameters
    ----------
    workers : int
        Number of processes; with a GPU, of threads that feed it.
    device : {"cpu", "cuda"}
        Device on which to compute.
    dask : str, optional
        Address of a Dask scheduler that distributes the work instead, such as ``tcp://node1:8786``.

    Raises
    ------
    InputError
        By the functions that take it, if there is no such device, if the package dask is not
        installed, or if the scheduler cannot be reached.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.Machine(workers=4)
    Machine(workers=4, device='cpu', dask=None)
    """

    workers: int = 1
    device: str = "cpu"  # or "cuda"
    dask: str | None = None

    @property
    def has_worker_processes(self) -> bool:
        """Whether other processes of this computer do the work."""
        return self.dask is None and self.device == "cpu" and self.workers != 1

    @property
    def is_this_process(self) -> bool:
        """Whether this process does the work, alone or with threads that feed a GPU."""
        return self.dask is None and not self.has_worker_processes


@dataclass(frozen=True)
class Shared:
    """A large argument of many calls: workers of a Dask cluster receive its ``value`` once."""

    value: Any


def run_calls(
    function: Callable[..., Any], calls: Calls, machine: Machine, preload: Sequence[str] = ()
) -> Iterator[Any]:
    """Call a function once per tuple of arguments and yield the results in the same order.

    At most a few results per worker are held at a time. The workers of a Dask cluster must have
    neuromusic installed, and read and write the same files under the same paths.

    Parameters
    ----------
    function : callable
        Must be importable by name, as must its arguments and results (they are pickled).
    calls : iterable of tuple
        The arguments of each call; consumed only as fast as the results are. Of `Shared`
        arguments, the value is passed.
    machine : Machine
        Where the calls are made.
    preload : sequence of str
        Modules that worker processes need; see `WorkerPool`.

    Raises
    ------
    ResourceError
        If a worker was killed or had too little memory.
    InputError
        If the Dask scheduler does not answer.
    """
    if machine.dask is not None:
        yield from _run_on_dask(function, calls, machine.dask)
        return
    calls = (tuple(each.value if isinstance(each, Shared) else each for each in call)
             for call in calls)  # fmt: skip
    if machine.has_worker_processes:
        with _explaining_lost_workers(machine), WorkerPool(machine.workers, preload) as pool:
            yield from _in_order(pool.submit, function, calls, 2 * machine.workers)
    elif machine.device != "cpu":  # a GPU has one process; its threads read files and wait for it
        n_threads = min(machine.workers, MOST_GPU_THREADS)
        with _explaining_lost_workers(machine), ThreadPoolExecutor(n_threads) as threads:
            submit = _deferring_signals(threads.submit)
            yield from _in_order(submit, function, calls, 2 * n_threads)
    else:
        yield from (function(*call) for call in calls)


def warm_up(machine: Machine, preload: Sequence[str]) -> None:
    """Start the fork server of a later `run_calls` now, if there will be one (not on Windows).

    It imports ``preload`` in the background while this process does something else.
    """
    if machine.has_worker_processes and start_method() == "forkserver":
        _start_fork_server(preload)


def start_method() -> str:
    """Return how worker processes start: "forkserver", or "spawn" on systems without forks."""
    import multiprocessing

    methods = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in methods else "spawn"


def _in_order(
    submit: Callable[..., Any], function: Callable[..., Any], calls: Calls, most_waiting: int
) -> Iterator[Any]:
    """Submit the calls and yield their results in order; cancel the rest after an error."""
    waiting: deque[Any] = deque()
    try:
        for call in calls:
            waiting.append(submit(function, *call))
            if len(waiting) > most_waiting:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextlib.contextmanager
def _explaining_lost_workers(machine: Machine) -> Iterator[None]:
    try:
        yield
    except (BrokenExecutor, MemoryError) as error:
        what = "ran out of memory" if isinstance(error, MemoryError) else "was killed"
        raise ResourceError(
            f"a worker process {what}; if memory is short, use fewer workers than {machine.workers}"
        ) from error


# --- Worker processes -----------------------------------------------------------------------------


class WorkerPool:
    """Worker processes that are forked from a server which has imported what they need.

    Importing torch and loading the compiled functions takes seconds and hundreds of megabytes. The
    fork server (`multiprocessing`, start method "forkserver") does it once; workers start in
    milliseconds and share its memory. Windows cannot fork, so there each worker imports for itself.
    A `ProcessPoolExecutor` does the rest, with four differences:

    * Ctrl-C and SIGTERM reach the main process only, which then ends the workers. A signal that
      arrives while a process is being started takes effect just afterwards.
    * Workers do not execute the user's script again, since none of the work is defined in it.
    * Workers end when the main process is gone, however it ended.
    * If a worker is killed, all are, and `BrokenExecutor` is raised; nothing waits forever.

    Parameters
    ----------
    n_workers : int
        Number of processes.
    preload : sequence of str
        Names of the modules that the server imports before the first worker is forked. It has no
        effect without a fork server, or if this process has started one before.
    """

    def __init__(self, n_workers: int, preload: Sequence[str] = ()) -> None:
        import multiprocessing

        method = start_method()
        if method == "forkserver":
            _start_fork_server(preload)
        else:
            _start_resource_tracker()
        self._others = set(multiprocessing.active_children())
        context = multiprocessing.get_context(method)
        self._executor = ProcessPoolExecutor(n_workers, context, _follow_parent)

    def __enter__(self) -> "WorkerPool":
        return self

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Schedule a call; starts another worker if all are busy and the pool is not full.

        Raises BrokenExecutor if a worker was killed.
        """
        with _signals_deferred(), _without_main():
            try:
                return self._executor.submit(function, *arguments)
            except (OSError, EOFError) as error:
                # If the executor notices the dead worker while it starts another one, it closes
                # the pipes of both: "handle is closed", an OSError without a number.
                if isinstance(error, ConnectionError | EOFError) or error.errno is None:
                    raise BrokenExecutor("a worker was killed while it started") from error
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, BrokenExecutor):
            # The executor (of Python 3.11) ends the workers that it lists, then waits for all of
            # them. A worker that was starting while another was killed is not listed: it would
            # wait forever.
            for process in self._workers():
                process.kill()
        self._executor.shutdown()

    def _workers(self) -> "list[BaseProcess]":
        import multiprocessing

        return [child for child in multiprocessing.active_children() if child not in self._others]


def _start_fork_server(preload: Sequence[str]) -> None:
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(list(preload))
    _start_resource_tracker()
    # Ctrl-C in a terminal goes to the server and the workers too: they inherit the blocked signals.
    with _without_main(), _signals_deferred():
        forkserver.ensure_running()


def _start_resource_tracker() -> None:
    """Start multiprocessing's helper before any worker: it unblocks the signals when it starts."""
    if os.name != "posix":  # there is none
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()


def _follow_parent() -> None:
    """Set up a worker: it ends on SIGTERM and when the main process ends."""
    import multiprocessing
    from multiprocessing.connection import wait

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    else:  # Windows: Ctrl-C goes to the workers too, and no mask keeps it from them
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM only afterwards: a half-started process would print a traceback.

    The signals are blocked, because processes and threads started here inherit the mask. They are
    also recorded by a handler, because another thread of this process may still receive them, and
    because Windows cannot block them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread handles signals
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    noted: list[int] = []
    handlers = {n: signal.signal(n, lambda number, _: noted.append(number)) for n in numbers}
    can_block = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers) if can_block else set()
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


def _deferring_signals(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``submit`` so that the threads it starts leave signals to the main thread."""

    def deferring(function: Callable[..., Any], *arguments: Any) -> Any:
        with _signals_deferred():
            return submit(function, *arguments)

    return deferring


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the user's script from new processes, which would execute it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# --- Dask -----------------------------------------------------------------------------------------


def _same(value: Any) -> Any:
    return value


def _run_on_dask(function: Callable[..., Any], calls: Calls, address: str) -> Iterator[Any]:
    need_package("distributed", "dask")
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise InputError(
            f"dask={address!r}: no scheduler answers there ({error}); start one with "
            "'dask scheduler' and workers with 'dask worker ADDRESS'"
        ) from None
    with client:
        most_waiting = 4 * max(1, sum(client.nthreads().values()))

        # A task of its own, so that another worker can have the value if the first one dies.
        sent: dict[int, tuple[Shared, Any]] = {}

        def on_worker(argument: Any) -> Any:
            if not isinstance(argument, Shared):
                return argument
            if id(argument) not in sent:
                sent.clear()  # calls that share an argument follow one another
                sent[id(argument)] = argument, client.submit(_same, argument.value, pure=False)
            return sent[id(argument)][1]

        def submit(*call: Any) -> Any:
            # Not pure: the same arguments may mean files that have changed since.
            return client.submit(*map(on_worker, call), pure=False)

        try:
            yield from _in_order(submit, function, calls, most_waiting)
        except KilledWorker as error:
            raise ResourceError(
                f"dask={address!r}: the same work killed several workers ({error}); give them more "
                "memory"
            ) from None
