"""Show a cache of activations, limit its size, or empty it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from neuromusic.core.cache import SETTINGS, clear_entries, entries, is_part, limit_of, set_limit
from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path
from neuromusic.core.folders import why_no_folder


@dataclass(frozen=True)
class CacheState:
    """What a cache contains.

    Attributes
    ----------
    n_entries : int
        Number of entries: responses of one network to one sound.
    n_bytes : int
        Size of all files.
    limit_gb : float
        Limit of the size, in GB.
    oldest, newest : datetime or None
        When the entries were used that were not used for the longest and the shortest time.
    """

    n_entries: int
    n_bytes: int
    limit_gb: float
    oldest: datetime | None
    newest: datetime | None


def cache(
    directory: Path | str, *, limit_gb: float | None = None, clear: bool = False
) -> CacheState:
    """Show a cache of activations (see `caching`), limit its size, or empty it.

    Parameters
    ----------
    directory : str or Path
        Directory of the cache.
    limit_gb : float, optional
        New limit of its size in GB (1e9 bytes). If the entries are larger together, those that were
        not used for the longest time are removed. A new cache has a limit of 20 GB.
    clear : bool
        Remove all entries.

    Returns
    -------
    CacheState
        What the cache contains afterwards.

    Raises
    ------
    InputError
        If the directory is not a cache, or the limit is not above 0.

    Examples
    --------
    >>> import neuromusic as nm
    >>> with nm.caching("small_cache"):
    ...     responses = nm.activations("network", "npz_lists")
    >>> state = nm.cache("small_cache", limit_gb=2)
    >>> state.n_entries > 0, state.limit_gb
    (True, 2.0)
    """
    directory = as_path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: {why_no_folder(directory)}; expected a cache")
    if not (directory / SETTINGS).is_file():
        raise InputError(f"{directory}: is not a cache, because it has no {SETTINGS}")
    if limit_gb is not None:
        if not 0 < limit_gb < float("inf"):
            raise InputError(f"limit_gb={limit_gb:g}: expected gigabytes above 0")
        set_limit(directory, limit_gb)
    if clear:
        clear_entries(directory)
    return _state(directory)


def _state(directory: Path) -> CacheState:
    found = [entry for entry in entries(directory) if not is_part(entry)]
    used = [datetime.fromtimestamp(entry.used_s) for entry in found]
    return CacheState(
        len(found), sum(entry.n_bytes for entry in found), limit_of(directory),
        min(used, default=None), max(used, default=None),
    )  # fmt: skip
