"""Files that somebody was sent are data: how large they may be, and where their names may lead."""

import contextlib
import errno
import hashlib
import json
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.errors import InputError

pass

MOST_NAME_BYTES = 255  # of a file name, on every common file system
MOST_JSON_BYTES = 64_000_000
# What a .zip or .npz may grow to: deflate shrinks at most a thousandfold, real arrays tenfold.
FREE_BYTES = 100_000_000
MOST_GROWTH = 50


def check_size(path: Path, most_bytes: int, what: str) -> None:
    """Raise InputError for a file that is larger than ``what`` can be."""
    size = path.stat().st_size
    if size > most_bytes:
        raise InputError(f"{path}: has {_size(size)}; {what} has at most {_size(most_bytes)}")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.3g} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.3g} kB"


def check_file_name(name: object, where: str) -> str:
    """Return a name that stays in its directory; raise InputError, naming ``where``, for others.

    No separators, no ``..``, no control characters, not absolute, at most 255 bytes.
    """
    good = (
        isinstance(name, str)
        and name.strip() not in ("", ".", "..")
        and not any(character in "/\\" or not character.isprintable() for character in name)
        and len(name.encode("utf-8", "surrogatepass")) <= MOST_NAME_BYTES
    )
    if not good:
        raise InputError(f"{where}: {_short(name)} is no plain name; expected one without / and \\")
    return str(name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_links(directory: Path) -> None:
    """Raise InputError for a link in a directory that leads out of it.

    What is written into a directory that was sent would go where such a link points.
    """
    root = Path(directory).resolve()
    for folder, folders, files in os.walk(root):  # which follows no link
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise InputError(
                    f"{path}: is a link that leaves {directory}; put the file itself there"
                )


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file; raise InputError where it is too large, too deep or none.

    Raises FileNotFoundError where there is no file.
    """
    check_size(path, MOST_JSON_BYTES, "such a JSON file")
    try:
        with reading(path):
            return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no readable JSON ({error}); {remedy}") from None


@contextlib.contextmanager
def whole_rows() -> Iterator[None]:
    """Raise ValueError where pandas would leave out the fields that a row has too many."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            yield
        except pd.errors.ParserWarning:
            raise ValueError("a row has more fields than the header") from None


def text_table(path: Path, sep: str = "\t", **more: Any) -> pd.DataFrame:
    """Read a table as text, as it is: what a short row lacks is "", "NA" is no missing value.

    Raises OSError, or ValueError for what is no table or has a row with a field too many, by which
    pandas would otherwise shift its columns.
    """
    with whole_rows(), reading(path):
        table = pd.read_csv(
            path, sep=sep, dtype=str, keep_default_na=False, index_col=False, **more
        )
    return table.fillna("")


def check_zip(path: Path) -> None:
    """Raise InputError for an archive that would unpack to much more than it is.

    Raises zipfile.BadZipFile or OSError where it is none.
    """
    with zipfile.ZipFile(path) as file:
        whole = sum(entry.file_size for entry in file.infolist())
    if whole > FREE_BYTES and whole > MOST_GROWTH * path.stat().st_size:
        raise InputError(
            f"{path}: {path.stat().st_size / 1e6:.1f} MB would unpack to {whole / 1e6:.0f} MB; no "
            "array is like that"
        )


UNREACHABLE = frozenset({
    errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ECONNRESET,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO,
})  # fmt: skip
REMEDY = "the disk or the network that holds it does not answer; when it does, type the same again"


def is_unreachable(error: BaseException) -> bool:
    """Say whether an error means that the place of a file does not answer."""
    return isinstance(error, OSError) and error.errno in UNREACHABLE


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Give an OSError the name of the file that is read here; read(2) does not say it.

    An InputError becomes that OSError where `check_reachable` finds one.
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
    """Raise OSError, naming the file, where it is there and cannot be read to its end.

    For where a library took it for damaged, cut short or of no known format.
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


pass


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


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(f".{path.name}.partial")
    part.unlink(missing_ok=True)  # it may be a link to elsewhere
    part.write_text(text, "utf-8")
    os.replace(part, path)
