"""Directories that are whole or not there, and the record of how each was made."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import platform
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from neuromusic import __version__
from neuromusic.errors import InputError, ResourceError
from neuromusic.reading import reading

RECORD = "provenance.json"
PLAN = "plan.json"  # in a directory that is not finished
SAME = ("command", "settings", "inputs", "code_version")  # what makes two outputs the same
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PACKAGES = (
    "numpy", "scipy", "librosa", "numba", "soundfile", "soxr", "torch", "torchaudio", "pandas",
)  # fmt: skip


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file: against accidents, not against malice."""
    crc = 0
    with reading(path), open(path, "rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def hash_inputs(paths: Iterable[Path]) -> dict[str, str]:
    """Return path -> SHA-256 for files, sorted by path."""
    ordered = sorted(paths)
    with ThreadPoolExecutor() as pool:  # a thread that hashes leaves the others free to run
        return dict(zip(map(str, ordered), pool.map(sha256, ordered), strict=True))


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


def record(
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    device: str = "cpu",
    places: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Return what goes into ``provenance.json``; ``settings`` hold the seed where there is one.

    ``places`` (name -> path) say where a step that is done again finds its input. No result depends
    on them, nor on the directory in which the command was typed, which is kept beside them.
    """
    places = {"cwd": Path(), **(places or {})}
    return {
        "command": command,
        "settings": dict(settings),
        "inputs": dict(inputs),
        "code_version": __version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": device,
        "places": {name: os.path.abspath(path) for name, path in places.items()},
    }


def read_record(directory: Path, name: str = RECORD) -> dict[str, Any] | None:
    """Return the record of a finished directory, or None where there is none."""
    return _read_json(directory / name)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        with reading(path):
            loaded = json.loads(path.read_text("utf-8"))
    # RecursionError: of brackets in brackets without end.
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def write_record(directory: Path, made: Mapping[str, Any], name: str = RECORD) -> None:
    """Write ``provenance.json`` into a directory; the last thing that is written there.

    What a later command adds to a directory has a record of another ``name``.
    """
    write_text(directory / name, _as_json(made))


def _as_json(made: Mapping[str, Any]) -> str:
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def record_hash(directory: Path) -> str:
    """Return the SHA-256 of a finished directory's record without its places.

    It stands for the whole directory, wherever that lies: the record holds the hash of each file.
    """
    made = read_record(directory) or {}
    text = _as_json({key: value for key, value in made.items() if key != "places"})
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(directory: Path, made: Mapping[str, Any]) -> bool:
    """Say whether a finished directory came from this command, settings, inputs and version."""
    old = read_record(directory)
    # Through JSON, so that tuples and lists compare as they are on disk.
    new = json.loads(json.dumps(dict(made)))
    return old is not None and all(old.get(key) == new[key] for key in SAME)


def places_of(path: Path, near: Path) -> Iterator[Path]:
    """Yield where a file or directory may lie now: at ``path``, or by its name close to ``near``.

    A project that was copied whole keeps the way from one of its directories to another: the ends
    of ``path``, longest first, are tried below ``near`` and the directories above it.
    """
    yield path
    parts = path.parts[1:] if path.is_absolute() else path.parts
    for above in [near.absolute(), *near.absolute().parents][:4]:
        for length in range(min(len(parts), 6), 0, -1):
            yield above.joinpath(*parts[-length:])


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


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(f".{path.name}.partial")
    part.unlink(missing_ok=True)  # it may be a link to elsewhere
    part.write_text(text, "utf-8")
    os.replace(part, path)
