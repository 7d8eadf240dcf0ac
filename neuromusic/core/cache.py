"""A cache of arrays on disk: one file per entry, named by its key, within a limit of size.

The key of an entry is the SHA-256 of everything that its arrays depend on, so an entry is never out
of date. A file is written beside its place and renamed, so several processes can fill one cache. A
cache only saves time: if it is full, damaged or cannot be written, the arrays are computed again.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path, is_unreachable, read_npz
from neuromusic.core.plan import is_dry_run
from neuromusic.core.records import read_plain_json

if TYPE_CHECKING:  # numpy is imported where it is used: `--help` must start fast
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

FORMAT = 1  # of the entries; part of every key
SETTINGS = "cache.json"
SUFFIX = ".npz"
NAME = re.compile(r"[0-9a-f]{64}\.npz|\.[0-9a-f]{64}\.partial-.*")  # of an entry, or a part of it
ABOUT = "about"  # array of an entry: JSON with its key, the names and the SHA-256 of its arrays
LIMIT_GB = 20.0
KEPT = 0.9  # share of the limit that is left when entries are removed
RECOUNT = 500  # entries after which the files are counted again: other processes write too
ABANDONED_S = 3600.0  # age of a part of a file, after which the process that wrote it is gone

Arrays = dict[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Entry:
    """A file of a cache."""

    path: Path
    n_bytes: int
    used_s: float  # when it was last written or read, in s since 1970


class Cache:
    """A cache in a directory, which is made with the first entry.

    Safe to use from several threads and processes. Everything that goes wrong with the disk is
    reported once, as a warning.

    Raises InputError if the directory contains something else.
    """

    def __init__(self, directory: Path) -> None:
        _check_directory(directory)
        self.directory = directory
        self.limit_bytes = round(limit_of(directory) * 1e9)
        self.n_found = 0
        self.n_stored = 0
        self._lock = threading.Lock()
        self._n_bytes = 0  # of all entries, as far as this process knows
        self._can_write = True
        self._reported: set[str] = set()

    def get(self, key: str) -> Arrays | None:
        """Return the arrays of an entry, or None. One that is damaged is removed."""
        path = self._path(key)
        try:
            arrays = read_entry(path, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except InputError as error:
            log.warning("%s; removed, and computed again", error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        except OSError as error:
            self.warn_once(f"cannot be read ({error.strerror}); computing instead")
            return None
        with contextlib.suppress(OSError):  # the cache of another user may be read-only
            os.utime(path)
        with self._lock:
            self.n_found += 1
        return arrays

    def put(self, key: str, arrays: Mapping[str, "NDArray[Any]"]) -> None:
        """Store the arrays of an entry; without effect if it cannot be written, or in a dry run."""
        needed = sum(array.nbytes for array in arrays.values())
        if not self._can_write or needed > KEPT * self.limit_bytes or is_dry_run():
            return
        try:
            n_bytes = self._write(self._path(key), key, arrays)
        except OSError as error:
            self._can_write = False
            self.warn_once(f"cannot be written ({error.strerror}); going on without storing")
            return
        with self._lock:
            if self.n_stored % RECOUNT == 0:
                self._n_bytes = sum(entry.n_bytes for entry in entries(self.directory))
            else:
                self._n_bytes += n_bytes
            self.n_stored += 1
            if self._n_bytes > self.limit_bytes:
                self._n_bytes = shrink(self.directory, self.limit_bytes)

    def warn_once(self, message: str) -> None:
        """Log a warning about this cache, unless it has been logged."""
        with self._lock:
            is_new = message not in self._reported
            self._reported.add(message)
        if is_new:
            log.warning("cache %s: %s", self.directory, message)

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / f"{key}{SUFFIX}"

    def _write(self, path: Path, key: str, arrays: Mapping[str, "NDArray[Any]"]) -> int:
        """Write an entry completely or not at all; return its size."""
        import numpy as np

        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / SETTINGS).exists():
            _write_settings(self.directory, LIMIT_GB)
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{key}.partial-{os.getpid()}-{threading.get_ident()}")
        about = json.dumps({"key": key, "names": list(arrays), "sha256": digest_of(arrays)})
        numbered = {str(number): array for number, array in enumerate(arrays.values())}
        part.unlink(missing_ok=True)  # of an earlier process with this number
        try:
            with open(part, "xb") as file:
                np.savez(file, **{ABOUT: np.array(about)}, **numbered)  # type: ignore[arg-type]
                n_bytes = file.tell()
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        return n_bytes


# --- Entries --------------------------------------------------------------------------------------


def digest_of(arrays: Mapping[str, "NDArray[Any]"]) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes."""
    import numpy as np

    state = hashlib.sha256()
    for name, array in arrays.items():
        state.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        state.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return state.hexdigest()


def read_entry(path: Path, key: str) -> Arrays:
    """Return the arrays of a file of a cache.

    Raises InputError if the file is damaged, or is not the entry of this key; OSError if it is
    missing or cannot be read.
    """
    try:
        stored = read_npz(path)
        about = json.loads(str(stored.pop(ABOUT)[()]))
        arrays = {str(name): stored[str(number)] for number, name in enumerate(about["names"])}
        is_whole = about["key"] == key and about["sha256"] == digest_of(arrays)
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError):
        is_whole = False
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError) or is_unreachable(error):
            raise
        is_whole = False
    if not is_whole:
        raise InputError(f"{path}: is not an entry of a cache, or damaged")
    return arrays


def entries(directory: Path) -> Iterator[Entry]:
    """Yield the entries of a cache, and partial files that killed processes left behind."""
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as folders:
        for folder in folders:
            if not re.fullmatch("[0-9a-f]{2}", folder.name) or not folder.is_dir():
                continue
            with os.scandir(folder.path) as files:
                for file in files:
                    if not NAME.fullmatch(file.name):
                        continue
                    with contextlib.suppress(FileNotFoundError):  # removed by another process
                        about = file.stat(follow_symlinks=False)
                        yield Entry(Path(file.path), about.st_size, about.st_mtime)


def is_part(entry: Entry) -> bool:
    """Return whether a file is a part of an entry that is being written, or was abandoned."""
    return entry.path.name.startswith(".")


def shrink(directory: Path, limit_bytes: int) -> int:
    """Remove the entries that were not used for the longest time; return the size of the others.

    If the cache is larger than its limit, it is then smaller by a tenth, so that not every entry
    that is stored removes one.
    """
    found = sorted(entries(directory), key=lambda entry: entry.used_s)
    total = sum(entry.n_bytes for entry in found)
    is_full = total > limit_bytes
    for entry in found:
        if is_part(entry):
            is_surplus = time.time() - entry.used_s > ABANDONED_S
        else:
            is_surplus = is_full and total > KEPT * limit_bytes
        if is_surplus:
            with contextlib.suppress(FileNotFoundError):
                entry.path.unlink()
            total -= entry.n_bytes
    return total


# --- The directory --------------------------------------------------------------------------------


def _check_directory(directory: Path) -> None:
    """Raise InputError if a directory is a file, or contains anything but a cache."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is a file; expected the directory of a cache, or a new one")
    try:
        is_other = (
            directory.is_dir()
            and any(not path.name.startswith(".") for path in directory.iterdir())
            and not (directory / SETTINGS).exists()  # last: another process may be making it
        )
    except PermissionError:
        return  # a warning follows
    if is_other:
        raise InputError(
            f"{directory}: contains something else than a cache; choose a new directory, or that "
            "of an earlier cache"
        )


def limit_of(directory: Path) -> float:
    """Return the limit of a cache in GB (1e9 bytes): its own, or LIMIT_GB."""
    try:
        limit = (read_plain_json(directory / SETTINGS) or {}).get("limit_gb")
    except OSError:
        return LIMIT_GB
    if isinstance(limit, int | float) and 0 < limit < float("inf"):
        return float(limit)
    return LIMIT_GB


def set_limit(directory: Path, gb: float) -> None:
    """Set the limit of a cache, and remove what exceeds it."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_settings(directory, gb)
    shrink(directory, round(gb * 1e9))


def clear_entries(directory: Path) -> None:
    """Remove all entries of a cache; its limit stays."""
    for entry in entries(directory):
        entry.path.unlink(missing_ok=True)


def _write_settings(directory: Path, gb: float) -> None:
    part = directory / f".{SETTINGS}.partial-{os.getpid()}-{threading.get_ident()}"
    try:
        part.write_text(
            json.dumps({"format": FORMAT, "limit_gb": gb}) + "\n", "utf-8", newline="\n"
        )
        os.replace(part, directory / SETTINGS)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


# --- The cache in use -----------------------------------------------------------------------------

_current: ContextVar[Cache | None] = ContextVar("_current", default=None)


def current() -> Cache | None:
    """Return the cache of the innermost `caching`, or None."""
    return _current.get()


@contextlib.contextmanager
def caching(directory: Path | str) -> Iterator[Cache]:
    """Store the activations of networks in a cache, and take those that it contains.

    Inside this context, `encode`, `encode_sounds`, `encode_timed`, `export`, `activations`,
    `simulate`, `similar` and `benchmark` compute the activations of a network for a sound once. The
    results are the same bytes as without a cache. docs/how-to/networks.md says what is stored, and
    for which networks.

    Parameters
    ----------
    directory : str or Path
        Directory of the cache; it is made if it does not exist. Several processes may share it.

    Returns
    -------
    context manager
        Its value is the cache, which counts what was found (``n_found``) and stored
        (``n_stored``).

    Raises
    ------
    InputError
        If the directory contains something else than a cache.

    Examples
    --------
    >>> import neuromusic as nm
    >>> with nm.caching("cache") as cache:
    ...     out = nm.export("network", "npz_lists", out="exported_once")
    ...     out = nm.export("network", "npz_lists", out="exported_twice")
    >>> cache.n_found == cache.n_stored
    True
    """
    cache = Cache(as_path(directory))
    token = _current.set(cache)
    try:
        yield cache
    finally:
        _current.reset(token)
        if cache.n_found or cache.n_stored:
            log.info(
                "cache %s: %d found, %d stored", cache.directory, cache.n_found, cache.n_stored
            )
