"""How many cores this process may use, and how its threads wait for each other."""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
SPIN_COUNT = 1000  # what libgomp takes by itself if there are more threads than cores


def available_cores() -> int:
    """Return how many cores this process may use: those assigned to it, and its CPU quota.

    A container or a batch job may have a quota of fewer cores than it sees, or of part of one.
    """
    quota = cpu_quota()
    cores = assigned_cores()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def assigned_cores() -> int:
    """Return how many cores are assigned to this process; those of the machine if none are."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> float | None:
    """Return the CPU quota of this process in cores; None if there is none.

    It is the smallest quota of its cgroup and those above it, of version 1 or 2.
    """
    quotas = []
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = cgroups / controllers if controllers else cgroups
        folder = top / path.lstrip("/")
        for each in (folder, *folder.parents):
            quotas += _quotas_in(each)
            if each == top:
                break
    return min(quotas, default=None)


def _quotas_in(folder: Path) -> list[float]:
    """Return the quota that the files of a cgroup state, if any."""
    if (folder / "cpu.max").is_file():
        words = _text(folder / "cpu.max").split()
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [word for name in names for word in _text(folder / name).split()]
    try:
        quota_us, period_us = (float(word) for word in words)
    except ValueError:  # "max", or there are no such files
        return []
    return [quota_us / period_us] if quota_us > 0 and period_us > 0 else []


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:  # not Linux, or not readable
        return ""


def why_slow(cores: int | None = None, load: float | None = None) -> str:
    """Return that other processes compute on the cores of this one; empty if few do.

    ``load`` is the system's load average over a minute, which includes this process. Windows has
    no such number.
    """
    cores = available_cores() if cores is None else cores
    if load is None:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < cores + 0.5:
        return ""
    return (
        f"other processes compute: load average {load:.1f} on {cores} core{'s' * (cores > 1)}, so "
        "this takes longer"
    )


def set_thread_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads of torch wait without keeping a core busy; before torch is imported.

    By default, OpenMP's threads spin 300 000 times at the end of each loop before they sleep, so
    that two trainings on the same cores take many times as long as one. The number of threads is
    that of the cores, or of the CPU quota if it is smaller. It does not follow the load, because a
    training gives other bytes with another number of threads. What the user has set
    (OMP_NUM_THREADS, OMP_WAIT_POLICY, GOMP_SPINCOUNT) has precedence.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    cores = available_cores()
    if cores < assigned_cores():
        environment.setdefault("OMP_NUM_THREADS", str(cores))
