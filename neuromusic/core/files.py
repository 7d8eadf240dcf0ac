"""Read and write single files: size limits, clear errors, unreachable disks, hashes.

Files from other people are treated as data: their size, their structure and the names inside them
are checked before use. Nothing is ever unpickled.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from neuromusic.core.errors import InputError
from neuromusic.core.folders import check_name, is_unsafe, windows_fault

if TYPE_CHECKING:  # numpy is imported where it is used: `--help` must start fast
    from numpy.typing import NDArray

T = TypeVar("T")

MOST_NAME_BYTES = 255  # in a file name, on every common file system
MOST_JSON_BYTES = 64_000_000
# How much a .zip or .npz may grow: deflate compresses at most a thousandfold, real arrays tenfold.
FREE_BYTES = 100_000_000
MOST_GROWTH = 50
MOST_RACES = 20  # how often `retried` calls again

# By name, because each system lacks some of them.
UNREACHABLE = frozenset(
    getattr(errno, name)
    for name in (
        "EIO", "ENOTCONN", "ESTALE", "ETIMEDOUT", "ECONNABORTED", "ECONNRESET", "EHOSTDOWN",
        "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "EREMOTEIO",
    )
    if hasattr(errno, name)
)  # fmt: skip
UNREACHABLE_REMEDY = (
    "the disk or network that holds this file does not respond; when it does, run the same command "
    "again"
)


def as_path(value: str | Path) -> Path:
    """Return a path in which ``~`` and ``~user`` stand for home directories, as in a shell.

    Raises InputError if there is no such user, or the path is not valid UTF-8 or contains control
    characters.
    """
    check_name(value)
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise InputError(
            f"{value}: there is no such home directory; write ./{value} if the name begins with ~"
        ) from None


# --- Files that cannot be reached -----------------------------------------------------------------


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error means that a disk or network does not respond."""
    return isinstance(error, OSError) and error.errno in UNREACHABLE


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Add the file name to an OSError that has none, as those of read(2) do.

    An InputError is replaced by the OSError that `check_reachable` raises, if it raises one.
    """
    try:
        yield
    except InputError:
        check_reachable(path)
        raise
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def check_reachable(path: Path) -> None:
    """Raise OSError, naming the file, if it exists but cannot be read to its end.

    Call it when a library reports a damaged or unknown file: an unreachable one looks the same.
    """
    try:
        if not Path(path).is_file():
            return
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except OSError as error:
        if is_unreachable(error):
            raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def readable(path: Path, kind: str, remedy: str = "") -> Iterator[None]:
    """Turn any error from reading a file into an InputError "PATH: is not a readable KIND (...)".

    Libraries raise many different exceptions for broken files, so all are caught. Passed on
    unchanged: InputError, and the OSError of a file that is missing, forbidden or unreachable.
    """
    try:
        with reading(path):
            yield
    except (InputError, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:
        if is_unreachable(error):
            raise
        check_reachable(path)
        reason = _cut(str(error)) or type(error).__name__
        what_to_do = f"; {remedy}" if remedy else ""
        raise InputError(f"{path}: is not a readable {kind} ({reason}){what_to_do}") from None


# --- Limits and names -----------------------------------------------------------------------------


def check_size(path: Path, most_bytes: int, what: str) -> None:
    """Raise InputError if a file is larger than ``what`` can be."""
    size = path.stat().st_size
    if size > most_bytes:
        raise InputError(f"{path}: is {_size(size)}; {what} may be at most {_size(most_bytes)}")


def _size(n_bytes: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.3g} {name}"
    return f"{n_bytes / 1e3:.3g} kB"


def check_file_name(name: object, where: str) -> str:
    """Return a name that is safe to use inside a directory.

    Separators, ``..``, control characters, absolute paths and more than 255 bytes are refused with
    an InputError that starts with ``where``; so is, on Windows, what Windows does not allow.
    """
    good = (
        isinstance(name, str)
        and name.strip() not in ("", ".", "..")
        and not any(character in "/\\" or is_unsafe(character) for character in name)
        and len(name.encode("utf-8", "surrogatepass")) <= MOST_NAME_BYTES
    )
    if not good:
        raise InputError(
            f"{where}: {_short(name)} is not a plain name; expected one without /, \\ and control "
            f"characters, and of at most {MOST_NAME_BYTES} bytes"
        )
    if os.name == "nt" and (why := windows_fault(str(name))):
        raise InputError(f"{where}: {_short(name)} {why}, which Windows does not allow; rename it")
    return str(name)


def _short(value: object) -> str:
    return _cut(repr(value), 80)


def _cut(text: str, most: int = 500) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def check_links(directory: Path) -> None:
    """Raise InputError if a link in a directory points outside it.

    Otherwise writing into a directory that someone else sent could overwrite files elsewhere.
    """
    root = Path(directory).resolve()
    for folder, folders, files in os.walk(root):  # does not follow links
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise InputError(
                    f"{path}: is a link that points outside {directory}; replace it with the file"
                )


def check_zip(path: Path) -> None:
    """Raise InputError if an archive would unpack to far more than its size.

    Raises zipfile.BadZipFile or OSError if the file is not an archive.
    """
    with zipfile.ZipFile(path) as file:
        unpacked = sum(entry.file_size for entry in file.infolist())
    if unpacked > FREE_BYTES and unpacked > MOST_GROWTH * path.stat().st_size:
        raise InputError(
            f"{path}: {path.stat().st_size / 1e6:.1f} MB would unpack to {unpacked / 1e6:.0f} MB; "
            "arrays do not compress that well"
        )


# --- Readers --------------------------------------------------------------------------------------


def read_json(path: Path, remedy: str = "") -> Any:
    """Read a JSON file.

    Raises InputError if it is too large, nested too deeply or not JSON; FileNotFoundError if it
    does not exist.
    """
    check_size(path, MOST_JSON_BYTES, "such a JSON file")
    with readable(path, "JSON file", remedy):
        return json.loads(path.read_text("utf-8"))


def retried(read: Callable[[], T]) -> T:
    """Return what ``read`` returns; call it again if a race in Python 3.11 makes it fail.

    numpy reads headers with `ast`, which raises SystemError now and then while other threads parse
    (python/cpython issue 106905).
    """
    for _ in range(MOST_RACES):
        try:
            return read()
        except SystemError as error:
            if "recursion depth mismatch" not in str(error):
                raise
    return read()


def read_npz(
    path: Path, remedy: str = "", names: Collection[str] | None = None
) -> dict[str, "NDArray[Any]"]:
    """Read the arrays of an .npz file: all, or those of ``names`` that exist.

    Raises InputError if it is not an .npz file, holds pickled objects or would unpack to far more
    than its size; FileNotFoundError if it does not exist.
    """
    import numpy as np

    def read() -> dict[str, "NDArray[Any]"]:
        with np.load(path, allow_pickle=False) as file:
            found = [name for name in file.files if names is None or name in names]
            return {name: file[name] for name in found}

    with readable(path, ".npz file", remedy):
        check_zip(path)
        return retried(read)


def names_in(array: "NDArray[Any]", where: str) -> list[Any]:
    """Return the entries of an array of names; bytes, as older programs store text, become text.

    Raises InputError, starting with ``where``, for bytes that are not UTF-8.
    """
    entries: list[Any] = array.ravel().tolist()
    try:
        return [entry.decode() if isinstance(entry, bytes) else entry for entry in entries]
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: has a name that is not UTF-8, {_short(error.object)}") from None


def open_array(path: Path, remedy: str = "") -> "NDArray[Any]":
    """Map an .npy file into memory, copy on write.

    Raises InputError if the file is not an array or not as long as its header says. This finds a
    truncated file without reading it; `verify` reads all of it.
    """
    import numpy as np

    def declared_bytes() -> int:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(file)
            return file.tell() + math.prod(shape) * dtype.itemsize

    with readable(path, ".npy file", remedy):
        expected, size = retried(declared_bytes), path.stat().st_size
        if size != expected:
            raise ValueError(f"it has {size} bytes, but its header declares {expected}")
        array: NDArray[Any] = retried(lambda: np.load(path, mmap_mode="c", allow_pickle=False))
    return array


# --- Hashes and writing ---------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file: fast; detects accidental damage but not tampering."""
    crc = 0
    with reading(path), open(path, "rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: completely or not at all, with the same bytes everywhere."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: completely or not at all."""
    part = path.with_name(f".{path.name}.partial")
    part.unlink(missing_ok=True)  # it may be a link to a file elsewhere
    part.write_bytes(content)
    os.replace(part, path)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, indented by two spaces."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8", newline="\n")
