"""TODO: docstring."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from neuromusic.models.network import Network

BATCH = 64


MOST_THREADS = 8  # each holds the activations of a clip


T = TypeVar("T")


Made = TypeVar("Made")


def in_threads(function: Callable[[T], Made], items: Iterable[T]) -> Iterator[Made]:
    """Yield ``function(item)`` in order, computed side by side in a thread a core.

    torch keeps to one thread inside each, which is faster for the small networks and windows here
    than to share out every operation, and the result does not depend on the number of cores. Few
    items are held at a time.
    """
    workers = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun: deque[Future[Made]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                begun.append(pool.submit(function, item))
                if len(begun) > 2 * workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def log_probabilities(network: Network, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, classes) log-probabilities for windows (n, mels, frames) in dB."""
    device = network.band_mean.device
    parts = [
        torch.log_softmax(network(torch.from_numpy(windows[i : i + BATCH]).to(device)).double(), 1)
        for i in range(0, len(windows), BATCH)
    ]
    return torch.cat(parts).cpu().numpy()


def pool_windows(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a clip's log-probabilities: the mean over its windows (n, classes), normalised."""
    mean = log_p.mean(axis=0)
    return mean - np.logaddexp.reduce(mean)
