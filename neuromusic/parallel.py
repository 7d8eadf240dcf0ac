"""The same work side by side: in processes here, in threads beside a GPU, or on a Dask cluster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from neuromusic.errors import InputError, ResourceError, need_package
from neuromusic.workers import in_workers


@dataclass(frozen=True)
class Machine:
    """Where work is done: so many processes, a device, or a Dask cluster by its address."""

    workers: int = 1
    device: str = "cpu"  # or "cuda"
    dask: str | None = None


def run_calls(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], machine: Machine
) -> Iterator[Any]:
    """Call a function with each of many tuples of arguments; yield its results in their order.

    A few results for each worker wait for their turn, no more. The workers of a Dask cluster must
    have neuromusic, and see the same files under the same paths.

    Raises ResourceError where a worker was killed, InputError where the cluster does not answer.
    """
    if machine.dask is not None:
        yield from _run_on_dask(function, calls, machine.dask)
        return
    from joblib import Parallel, delayed

    delayed_calls = (delayed(function)(*call) for call in calls)
    if machine.device == "cpu":
        yield from in_workers(delayed_calls, machine.workers)
        return
    # A GPU has one process; its threads read files and wait for it.
    threads = Parallel(machine.workers, prefer="threads", return_as="generator", batch_size=1)
    yield from threads(delayed_calls)


def _run_on_dask(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], address: str
) -> Iterator[Any]:
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
        waiting: deque[Any] = deque()
        try:
            for call in calls:
                # Not pure: the same arguments can mean other files than a day before.
                waiting.append(client.submit(function, *call, pure=False))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KilledWorker as error:
            raise ResourceError(
                f"--dask {address}: the same clip killed several workers ({error}); give them more "
                "memory"
            ) from None
        finally:
            client.cancel(list(waiting))
