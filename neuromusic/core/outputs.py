"""Output directories that are complete or absent: steps, locks, full disks.

A `Step` is one run of a command into one directory. The directory is written beside its final place
and renamed at the end, so a killed command leaves nothing that looks finished.
"""

import contextlib
import errno
import glob
import logging
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromusic.core import plan
from neuromusic.core.errors import BusyError, InputError, ResourceError
from neuromusic.core.files import sha256, write_bytes
from neuromusic.core.records import (
    RECORD,
    is_current,
    read_record,
    record,
    why_other,
    write_record,
)

if TYPE_CHECKING:  # imported where it is used: `--help` must start fast
    from filelock import FileLock

log = logging.getLogger(__name__)

PLAN = "plan.json"  # in a directory that is not finished: what it is made from
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CAN_ASK = os.name != "nt"  # whether a process can be asked if it is alive


@dataclass(frozen=True)
class Step:
    """One run of a command into one output directory.

    Check, skip if done, write, record::

        check_target(out, "export")  # before the inputs are hashed, which takes time
        settings, places = arguments(network=network, lists=lists, formats=formats)
        step = Step(
            "export", out, settings, hash_inputs(files), places, function="export",
            overwrite=overwrite, work=plan.Work("activations of 540 clips", seconds, n_bytes),
        )
        if step.is_done():
            return out
        ...  # check everything else here
        with step.directory() as directory:
            ...  # write into directory

    Parameters
    ----------
    command : str
        Name of the command.
    out : Path
        The directory to make.
    settings : mapping
        What the result depends on besides the inputs: the function's own keyword arguments.
    inputs : mapping
        Name or path of each input -> its SHA-256.
    places : mapping
        Name of each path argument -> path, for `verify`.
    device : str
        Device that does the work.
    function : str
        Name of the public function that did it, so that `verify` can call it again.
    hashes : dict
        Known SHA-256 of outputs, by name; all other outputs are hashed at the end.
    overwrite : bool
        Replace an earlier output that was made with other settings, from other inputs or by another
        version; without it that is an error.
    work : Work, optional
        What the step computes, for dry runs and the check of the disk.

    Raises
    ------
    InputError
        If ``out`` holds anything but an earlier output of the same command, or one that differs and
        ``overwrite`` is False.
    """

    command: str
    out: Path
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    places: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"
    function: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    overwrite: bool = False
    work: plan.Work | None = None

    def __post_init__(self) -> None:
        check_target(self.out, self.command)
        is_up_to_date(self.out, self.record(), overwrite=self.overwrite)

    def record(self) -> dict[str, Any]:
        """Return what goes into ``provenance.json``, without the hashes of the outputs."""
        content = record(self.command, self.settings, self.inputs, self.device, self.places)
        return content | {"function": self.function} if self.function else content

    def is_done(self) -> bool:
        """Return whether ``out`` holds the result of exactly this step; if so, log it."""
        if not is_current(self.out, self.record()):
            return False
        log.info("%s is up to date: its inputs and settings are unchanged", self.out)
        return True

    @contextlib.contextmanager
    def directory(self, keep: bool = False) -> Iterator[Path]:
        """Yield a working directory beside ``out``; rename it to ``out`` if all goes well.

        An earlier output of the same command is replaced. Leftovers of killed processes are
        removed, and so is the working directory after an error.

        With ``keep`` the working directory survives errors other than the user's own (InputError),
        and is yielded again by the next step with the same command, settings, inputs and version
        (`PLAN` says which), so that the caller can resume.

        Raises BusyError if another process is writing ``out``; ResourceError, which like it is an
        InputError, if the disk is full or too small for the work; `DryRun`, before
        anything is written, in a dry run.
        """
        content = self.record()
        kept = self.out.parent / f".{self.out.name}.partial"
        inputs = plan.input_paths(self.inputs, self.places)
        plan.begin(self.out, self.work, inputs, plan.size_of(kept))
        with locked(self.out) as exclusive:
            _remove_orphans(self.out, exclusive)
            check_target(self.out, self.command)
            is_up_to_date(self.out, content, overwrite=self.overwrite)
            part = kept if keep else kept.with_name(f"{kept.name}-{os.getpid()}")
            _begin(part, content, keep)
            try:
                with naming_a_full_disk(self.out):
                    yield part
                    outputs = _hash_outputs(part, self.hashes)
                    (part / PLAN).unlink(missing_ok=True)
                    write_record(part, content | {"outputs": outputs})
                    _move(part, self.out)
            except BaseException as error:
                if keep and not _is_users(error):
                    error.add_note(
                        f"finished work is kept in {part}; the same command continues it"
                    )
                else:
                    shutil.rmtree(part, ignore_errors=True)
                raise


def check_target(directory: Path, command: str) -> None:
    """Raise InputError unless ``directory`` is free, empty or an earlier output of ``command``."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"{directory}: is a file; out must name a directory")
    if not any(directory.iterdir()):
        return
    old = read_record(directory)
    if old is None or old.get("command") != command:
        made_by = (old or {}).get("command")
        content = f"the output of 'neuromusic {made_by}'" if made_by else "something else"
        raise InputError(
            f"{directory}: contains {content}; choose another directory for out, or move that one "
            "away"
        )


def is_up_to_date(
    directory: Path, new: Mapping[str, Any], name: str = RECORD, overwrite: bool = False
) -> bool:
    """Return whether a directory holds what the record ``new`` describes.

    ``name`` is that of the record on disk. Raises InputError, which names the differences, if it
    describes something else and ``overwrite`` is False.
    """
    why = why_other(directory, new, name)
    if why and not overwrite:
        another = "choose another out, or " if name == RECORD else ""
        raise InputError(
            f"{directory}: {'' if name == RECORD else f'the files of {name} were '}{why}: "
            f"{another}replace it with overwrite=True (--overwrite)"
        )
    return is_current(directory, new, name)


def write_result(path: Path, content: str | bytes, overwrite: bool = False) -> None:
    """Write a file that a command adds somewhere.

    Raises InputError if it exists, its content differs and ``overwrite`` is False.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a directory; out must name a file")
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not overwrite and path.read_bytes() != data:
        raise InputError(
            f"{path}: exists, and its content differs: choose another out, or replace it with "
            "overwrite=True (--overwrite)"
        )
    write_bytes(path, data)


def remove_recorded(directory: Path, name: str) -> None:
    """Remove the files of a record in a directory, and then the record itself."""
    for file in (read_record(directory, name) or {}).get("outputs", {}):
        path = directory / file
        if path.resolve().is_relative_to(directory.resolve()):  # a record may come from others
            path.unlink(missing_ok=True)
    (directory / name).unlink(missing_ok=True)


def _hash_outputs(directory: Path, known: Mapping[str, str]) -> dict[str, str]:
    """Return relative path -> SHA-256 for all files but the record; reads those not ``known``."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    names = {path.relative_to(directory).as_posix(): path for path in paths}
    return {
        name: known.get(name) or sha256(path)
        for name, path in sorted(names.items())
        if name not in (RECORD, PLAN)
    }


def _begin(part: Path, content: Mapping[str, Any], keep: bool) -> None:
    """Make the working directory, or keep the one left by an interrupted, identical step."""
    if keep and is_current(part, content, PLAN):
        (part / RECORD).unlink(missing_ok=True)
        return
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if keep:
        write_record(part, content, PLAN)


def _move(part: Path, out: Path) -> None:
    if not out.exists():
        part.rename(out)
        return
    old = out.parent / f".{out.name}.partial-{os.getpid()}-old"
    out.rename(old)
    part.rename(out)
    shutil.rmtree(old)


def _remove_orphans(out: Path, exclusive: bool) -> None:
    """Remove what dead processes left, or all leftovers if we hold the lock exclusively."""
    for orphan in out.parent.glob(f".{glob.escape(out.name)}.partial-*"):
        owner = orphan.name.rsplit("partial-", 1)[1].split("-")[0]
        if owner.isdigit() and (exclusive or not is_alive(int(owner))):
            if orphan.name.endswith("-old") and not out.exists():
                orphan.rename(out)  # killed between the two renames of a replacement
            else:
                shutil.rmtree(orphan, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Return whether another process on this machine has this process ID.

    On Windows the answer is always yes, because ``os.kill`` would interrupt the process. What a
    killed process left is then removed by the next one that holds the lock.
    """
    if pid == os.getpid():
        return False
    if not CAN_ASK:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def locked(out: Path) -> Iterator[bool]:
    """Hold a lock on an output path; the kernel releases it if the process dies.

    The lock file is ``.NAME.lock`` beside ``out``; it holds the process ID and is removed at the
    end. Yields True; or False, after a warning, if the file system does not support locks.

    Raises BusyError if another process holds the lock, on this machine or, over NFS, on another;
    ResourceError if the lock file cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out}: cannot be created, because part of its path is a file") from None
    path = out.parent / f".{out.name}.lock"
    lock = _acquire(out, path)
    if lock is None:
        path.unlink(missing_ok=True)
        yield False
        return
    try:
        # Windows lets nobody write to a locked file, not even its owner.
        with contextlib.suppress(PermissionError):
            path.write_text(f"process {os.getpid()} on {platform.node()}\n", "utf-8", newline="\n")
        yield True
    finally:
        # While locked, so that a waiting process makes a new file; on Windows only afterwards.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
        lock.release()
        if os.name == "nt":
            with contextlib.suppress(PermissionError):  # another process has locked it since
                path.unlink(missing_ok=True)


def _acquire(out: Path, path: Path) -> "FileLock | None":
    """Lock the file ``path``; return None, after a warning, if locks are not supported."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        holder = _read_holder(path) or "another process"
        raise BusyError(
            f"{out}: is being written by {holder}; wait until it is done, stop it, or choose "
            "another directory for out"
        ) from None
    except OSError as error:
        if error.filename is not None:  # from open(2); flock(2) has no file name
            raise ResourceError(
                f"{out}: cannot be written ({error.strerror}); choose another location"
            ) from None
        log.warning(
            "%s: cannot be locked (%s); do not start a second process that writes the same "
            "directory",
            path,
            error.strerror,
        )
        return None
    return lock


def _read_holder(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")[:300].strip()
    except OSError:
        return ""


def _is_users(error: BaseException) -> bool:
    return isinstance(error, InputError) and not isinstance(error, ResourceError)


@contextlib.contextmanager
def add_resume_note(out: Path, marker: Path, note: str) -> Iterator[None]:
    """Add ``note`` to any error, if ``marker`` exists and the error is not the user's.

    The note says what stays in ``out`` and how to continue. Raises ResourceError if the disk is
    full.
    """
    try:
        with naming_a_full_disk(out):
            yield
    except BaseException as error:
        if marker.exists() and not _is_users(error):
            error.add_note(note)
        raise


@contextlib.contextmanager
def naming_a_full_disk(out: Path) -> Iterator[None]:
    """Raise ResourceError, naming the file, for any error that a full disk caused."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = _full_disk_error(error)
        if cause is None:
            raise
        free = shutil.disk_usage(plan.existing(out)).free / 2**20
        raise ResourceError(
            f"{cause.filename2 or cause.filename or out}: {cause.strerror} ({free:.0f} MiB "
            "free); make some space, or choose a location with more"
        ) from error


def _full_disk_error(error: BaseException | None) -> OSError | None:
    """Return the OSError of a full disk among an error's causes, or one quoted by a library."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return error
        for number in NO_SPACE:
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None
