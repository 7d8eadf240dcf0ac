"""TODO: docstring."""

import contextlib
import errno
import fcntl
import glob
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError, ResourceError
from neuromusic.core.files import sha256, write_text
from neuromusic.core.records import RECORD, SAME, _read_json, read_record, write_record

PLAN = "plan.json"  # in a directory that is not finished


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def hash_outputs(directory: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return path below the directory -> SHA-256 for every file in it but its record.

    Those in ``known`` are not read.
    """
    known = known or {}
    paths = (path for path in directory.rglob("*") if path.is_file())
    names = {path.relative_to(directory).as_posix(): path for path in paths}
    return {
        name: known.get(name) or sha256(path)
        for name, path in sorted(names.items())
        if name not in (RECORD, PLAN)
    }


def check_target(directory: Path, command: str) -> None:
    """Raise InputError unless ``directory`` is free, empty, or an earlier output of ``command``."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"{directory}: is a file; --out must name a directory")
    if not any(directory.iterdir()):
        return
    old = read_record(directory)
    if old is None or old.get("command") != command:
        made_by = (old or {}).get("command")
        holds = f"the output of 'neuromusic {made_by}'" if made_by else "something else"
        raise InputError(
            f"{directory}: holds {holds}; choose another --out, or move that away first"
        )


@contextlib.contextmanager
def new_directory(out: Path, made: Mapping[str, Any], keep: bool = False) -> Iterator[Path]:
    """Give a directory beside ``out`` to write into; rename it to ``out`` when all went well.

    An earlier output of the same command is replaced. What a killed process left beside it is
    removed; so is the new directory on any error.

    With ``keep`` it stays, except on InputError for what the user gave, and is given again at the
    next start from the same command, settings, inputs and version (`PLAN` in it says which): the
    caller finds in it what it had written, and goes on.

    Hashes of what was written that the caller puts into ``made["outputs"]`` are believed, all other
    files are hashed at the end.

    Raises InputError where ``out`` holds anything else, or where another process makes it now;
    ResourceError, an InputError too, where there is no space left.
    """
    out = Path(out)
    with locked(out) as alone:
        _remove_orphans(out, alone)
        check_target(out, made["command"])
        part = out.parent / f".{out.name}.partial{'' if keep else f'-{os.getpid()}'}"
        _begin(part, made, keep)
        try:
            with _naming_lack_of_space(out):
                yield part
                outputs = hash_outputs(part, made.get("outputs"))
                (part / PLAN).unlink(missing_ok=True)
                write_record(part, dict(made) | {"outputs": outputs})
                _move(part, out)
        except BaseException as error:
            if keep and not _is_users(error):
                error.add_note(f"what is done is kept in {part}; the same command goes on")
            else:
                shutil.rmtree(part, ignore_errors=True)
            raise


def _begin(part: Path, made: Mapping[str, Any], keep: bool) -> None:
    # Through JSON, so that tuples and lists compare as they are on disk.
    plan = json.loads(json.dumps({key: made[key] for key in SAME}))
    if keep and _read_json(part / PLAN) == plan:
        (part / RECORD).unlink(missing_ok=True)
        return
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if keep:
        write_text(part / PLAN, json.dumps(plan, indent=2, sort_keys=True) + "\n")


def _move(part: Path, out: Path) -> None:
    if not out.exists():
        part.rename(out)
        return
    old = out.parent / f".{out.name}.partial-{os.getpid()}-old"
    out.rename(old)
    part.rename(out)
    shutil.rmtree(old)


def _remove_orphans(out: Path, alone: bool) -> None:
    """Remove what dead processes left; all that is there where this one is ``alone``."""
    for orphan in out.parent.glob(f".{glob.escape(out.name)}.partial-*"):
        owner = orphan.name.rsplit("partial-", 1)[1].split("-")[0]
        if owner.isdigit() and (alone or not is_alive(int(owner))):
            if orphan.name.endswith("-old") and not out.exists():
                orphan.rename(out)  # killed between the two renames of a replacement
            else:
                shutil.rmtree(orphan, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Say whether another process of this machine with this number lives."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def locked(out: Path) -> Iterator[bool]:
    """Hold a lock on what is to be made at ``out``; the kernel drops it when the process dies.

    Yields False, after a word on stderr, where the file system knows no locks. Raises InputError
    where another process holds it, on this machine or, over NFS, on another.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out}: cannot be made, for a part of its path is a file") from None
    path = out.parent / f".{out.name}.lock"
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ResourceError(
                f"{out}: cannot be written ({error.strerror}); choose another place"
            ) from None
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(file, 300, 0).decode("utf-8", "replace").strip()
                raise InputError(
                    f"{out}: is being written by {holder or 'another process'}; wait until it is "
                    "done, stop it, or choose another --out"
                ) from None
            except OSError as error:
                print(
                    f"warning: {path}: cannot be locked ({error.strerror}); start no second "
                    "process that makes the same",
                    file=sys.stderr,
                )
                path.unlink(missing_ok=True)
                yield False
                return
            # The one before removes its file when it is done: then this is the lock of nothing.
            if not _is_same_file(file, path):
                continue
            os.truncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
            try:
                yield True
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(file)


def _is_same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _is_users(error: BaseException) -> bool:
    return isinstance(error, InputError) and not isinstance(error, ResourceError)


@contextlib.contextmanager
def kept(out: Path, sign: Path, text: str) -> Iterator[None]:
    """Add ``text``, what stays in ``out`` and how to go on, to whatever stops the work.

    Where ``sign`` is there. Raises ResourceError where there is no space left.
    """
    try:
        with _naming_lack_of_space(out):
            yield
    except BaseException as error:
        if sign.exists() and not _is_users(error):
            error.add_note(text)
        raise


@contextlib.contextmanager
def _naming_lack_of_space(out: Path) -> Iterator[None]:
    """Raise ResourceError, naming the file, for whatever an error on a full disk looks like."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        found = _lack_of_space(error)
        if found is None:
            raise
        free = shutil.disk_usage(_existing(out)).free / 2**20
        raise ResourceError(
            f"{found.filename2 or found.filename or out}: {found.strerror} ({free:.0f} MiB are "
            "free); make space, or choose a place with more"
        ) from error


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.absolute().parent)


def _lack_of_space(error: BaseException | None) -> OSError | None:
    """Return the OSError that says so, be it a cause or only quoted by another library."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return error
        for number in NO_SPACE:
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None
