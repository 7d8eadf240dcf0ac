"""Files that cannot be read any more: on a network that gives up, on a disk that fails."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from neuromusic.errors import InputError

AWAY = frozenset({
    errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ECONNRESET,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO,
})  # fmt: skip
REMEDY = "the disk or the network that holds it does not answer; when it does, type the same again"


def is_away(error: BaseException) -> bool:
    """Say whether an error means that the place of a file does not answer."""
    return isinstance(error, OSError) and error.errno in AWAY


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
        if is_away(error):
            raise OSError(error.errno, error.strerror, str(path)) from None
