"""What a step would do: dry runs, and the check that the disk has enough space.

A step says what it computes, how long that takes and how much it writes (`Work`) before it starts.
The estimates are rough: durations may be wrong by a factor of three, sizes by a tenth.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from neuromusic.core.errors import DryRun, ResourceError

_is_dry = ContextVar("_is_dry", default=False)


@dataclass(frozen=True)
class Work:
    """What a step computes, how long that takes, and how much it writes.

    Attributes
    ----------
    computes : str
        A phrase such as "log-mel of 4 860 sounds".
    seconds : float or None
        Estimated duration; None if it is not known.
    disk_bytes : int
        Estimated size of all files that it writes.
    """

    computes: str
    seconds: float | None = None
    disk_bytes: int = 0


@contextlib.contextmanager
def dry_run() -> Iterator[None]:
    """Make steps raise `DryRun` when their checks have passed, instead of starting to work."""
    token = _is_dry.set(True)
    try:
        yield
    finally:
        _is_dry.reset(token)


def is_dry_run() -> bool:
    """Return whether a dry run is active."""
    return _is_dry.get()


def begin(
    out: Path | None, work: Work | None, inputs: Iterable[Path] = (), present_bytes: int = 0
) -> None:
    """Check that the disk has space for the work; end a dry run.

    Call it when all inputs have been checked, before anything is written.

    Parameters
    ----------
    out : Path or None
        What the step writes; it need not exist. None for a step that only prints.
    work : Work or None
        None if nothing is known about it.
    inputs : iterable of Path
        Files and directories that it reads, for the report of a dry run.
    present_bytes : int
        Size of what an interrupted run has written already.

    Raises
    ------
    ResourceError
        If the disk is too small.
    DryRun
        If a dry run is active.
    """
    work = work or Work("")
    if out is not None:
        check_space(out, work.disk_bytes - present_bytes)
    if is_dry_run():
        raise DryRun(_report(out, work, inputs))


def check_space(out: Path, needed_bytes: int) -> None:
    """Raise ResourceError if the file system of ``out`` has less free space than is needed."""
    usage = shutil.disk_usage(existing(out))
    # Some network file systems report a size of 0 because they do not know it.
    if usage.total and usage.free < needed_bytes:
        raise ResourceError(
            f"{out}: needs about {size_text(needed_bytes)}, but the disk has only "
            f"{size_text(usage.free)} free; make some space, or choose a location with more"
        )


def existing(path: Path) -> Path:
    """Return a path, or the nearest directory above it that exists."""
    return path if path.exists() else existing(path.absolute().parent)


def input_paths(inputs: Mapping[str, str], places: Mapping[str, Path]) -> list[Path]:
    """Return the files and directories that a record's ``inputs`` stand for."""
    return [Path(places.get(key, key)) for key in inputs]


def _report(out: Path | None, work: Work, inputs: Iterable[Path]) -> str:
    files = [path for path in inputs if path.exists()]
    n_bytes = sum(size_of(path) for path in files)
    read = str(files[0]) if len(files) == 1 else f"{len(files)} files"
    lines = ["dry run: all checks passed; nothing was computed or written"]
    if files:
        lines.append(f"would read     {read} ({size_text(n_bytes)})")
    if work.computes:
        lines.append(f"would compute  {work.computes}")
    lines.append(f"would write    {_target_text(out)}")
    seconds = work.seconds
    lines.append(
        f"time           {'not known' if seconds is None else f'about {_duration(seconds)}'}"
    )
    if out is not None:
        free = size_text(shutil.disk_usage(existing(out)).free)
        lines.append(f"disk           about {size_text(work.disk_bytes)} ({free} free)")
    return "\n".join(lines)


def _target_text(out: Path | None) -> str:
    if out is None:
        return "nothing"
    is_present = out.is_file() or (out.is_dir() and any(out.iterdir()))
    return f"{out} (replaces what is there)" if is_present else str(out)


def _duration(seconds: float) -> str:
    from neuromusic.core.progress import duration

    return duration(max(1, seconds))


def size_of(path: Path) -> int:
    """Return the size of a file, or of all files in a directory; 0 if it does not exist."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size if path.exists() else 0


def size_text(n_bytes: float) -> str:
    """Return a size in kB, MB or GB, such as "1.2 GB"."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.1f} {name}"
    return f"{max(n_bytes, 0) / 1e3:.0f} kB"
