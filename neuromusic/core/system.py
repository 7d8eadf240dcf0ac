"""What a bug report needs about this machine: versions, devices, cores, memory; nothing personal.

Paths are reduced to their last part, and of the environment only numbers of threads and devices are
shown. torch is imported in a process of its own, so the report also works if torch does not.
"""

import contextlib
import functools
import json
import os
import platform
import re
import shutil
import struct
import subprocess  # nosec B404  # the command is a list of arguments, without a shell
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from neuromusic.core.cores import assigned_cores, available_cores, cpu_quota
from neuromusic.core.parallel import start_method
from neuromusic.core.version import __version__

TORCH_S = 120  # to import torch from a slow disk
# Numbers or short words; nothing that could be a path or a secret.
VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
HARMLESS = re.compile(r"[\w,.-]{1,40}")
# A path of at least two parts, with or without a drive; its last part is kept.
PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?[\\/]{1,2}(?!\s)(?:[^\\/:;\"'<>|\n]+[\\/])+")
FOR_DEVELOPERS = re.compile(r"extra == .(test|docs|release|fuzz)")
TORCH = """
import json, torch
cuda = torch.cuda.is_available()
devices = []
if cuda:
    for n in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(n)
        devices.append(f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
if torch.backends.mps.is_available():
    devices.append("Apple GPU (mps)")
print("\\n" + json.dumps({
    "build": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only",
    "threads": torch.get_num_threads(), "devices": devices,
    "cpu": torch.backends.cpu.get_cpu_capability(),
}))
"""


def system_report() -> str:
    """Return one line per fact about this machine and its packages, for `neuromusic --system`."""
    sections = (_python(), _machine(), _torch(), _packages())
    lines = [line for section in sections for line in section]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)


def _python() -> Iterator[tuple[str, str]]:
    yield "neuromusic", __version__
    bits = 8 * struct.calcsize("P")
    yield "python", f"{platform.python_version()} ({platform.python_implementation()}, {bits} bit)"
    yield "encoding", f"files {sys.getfilesystemencoding()}, output {_encoding()}"


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "unknown"


def _machine() -> Iterator[tuple[str, str]]:
    yield "system", platform.platform()
    yield "processor", processor().rpartition(":")[2].strip() or platform.machine()
    quota = cpu_quota()
    limit = "no quota" if quota is None else f"a quota of {quota:g}"
    yield "cores", f"{available_cores()} used of {assigned_cores()} ({limit})"
    memory = _memory_gib()
    yield "memory", f"{memory:.1f} GiB" if memory else "unknown"
    yield "workers", start_method()
    for name in VARIABLES:
        value = os.environ.get(name)
        if value is not None:
            yield name, value if HARMLESS.fullmatch(value) else "set"
    yield "ffmpeg", "installed" if shutil.which("ffmpeg") else "not installed"


@functools.cache
def processor() -> str:
    """Return the name of the processor; "" if the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib() -> float | None:
    """Return the memory of this machine; None on systems that do not tell."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return None


def _torch() -> Iterator[tuple[str, str]]:
    """Ask torch in another process, which may be killed by a damaged library."""
    command = [sys.executable, "-c", TORCH]
    try:
        done = subprocess.run(  # nosec B603
            command, capture_output=True, check=False, timeout=TORCH_S, stdin=subprocess.DEVNULL,
            text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        about = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, OSError):
        yield "torch works", f"no: it could not be imported in {TORCH_S} s"
        return
    except (ValueError, IndexError):
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        yield "torch works", f"no: {without_paths(reason[0])[:300]}"
        return
    yield "torch works", f"yes: {about['build']}, {about['threads']} threads, {about['cpu']}"
    for n, device in enumerate(about["devices"]):
        yield f"device {n}", device
    if not about["devices"]:
        yield "devices", "no GPU"


def without_paths(text: str) -> str:
    """Return a text in which paths, which may name people and projects, have their last part only.

    >>> without_paths("/home/ada/thesis/libtorch.so: undefined symbol")
    'libtorch.so: undefined symbol'
    """
    return PATH.sub("", text)


def _packages() -> Iterator[tuple[str, str]]:
    """Yield each package that neuromusic needs or may use when it runs, with its version."""
    try:
        required = metadata.requires("neuromusic") or []
    except metadata.PackageNotFoundError:
        yield "packages", "unknown: neuromusic is imported from a folder, not installed"
        return
    used = (line for line in required if not FOR_DEVELOPERS.search(line))
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in used)
    for name in sorted({match[0] for match in found if match} - {"neuromusic"}, key=str.lower):
        yield name, _version(name)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
