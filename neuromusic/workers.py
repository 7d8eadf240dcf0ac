"""Work shared out to processes that end with this one, however it ends."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

from neuromusic.errors import ResourceError

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]  # as joblib.delayed makes it
WATCH_S = 0.5


def in_workers(calls: Iterable[Call], workers: int) -> Iterator[Any]:
    """Return the results of joblib's delayed ``calls``, in their order, from so many processes.

    Raises ResourceError where a worker was killed or had not enough memory.
    """
    from joblib import Parallel

    # Joblib's word to who stops listening early: here, because the command is stopped.
    warnings.filterwarnings("ignore", message=r"\d+ tasks (which were still|have been success)")
    processes = {"initializer": _end_with, "initargs": (os.getpid(),)} if workers > 1 else {}
    parallel = Parallel(n_jobs=workers, return_as="generator", batch_size=1, **processes)
    resource_tracker.ensure_running()  # when it starts, it unblocks the signal
    # Ctrl-C in a terminal goes to the workers too: they are started with the signal blocked, which
    # they inherit; what comes meanwhile is delivered to this process when it is unblocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        results = parallel(calls)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _told_of_memory(results, workers)


def _told_of_memory(results: Iterator[Any], workers: int) -> Iterator[Any]:
    try:
        yield from results
    except (BrokenProcessPool, MemoryError) as error:
        what = "lacked memory" if isinstance(error, MemoryError) else "was killed"
        remedy = f"take fewer --workers than {workers}" if workers > 1 else "close other programs"
        raise ResourceError(f"a worker process {what}; if memory is short, {remedy}") from error


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone; an idle worker would wait on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
