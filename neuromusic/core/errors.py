"""The exceptions that end a command with a message instead of a traceback."""

import difflib
import importlib.util
from collections.abc import Iterable

MOST_TEXT = 20_000  # characters in a message: one line of a broken file may have millions


class InputError(ValueError):
    """The user's input cannot be used; the message names the file, the row and what to do.

    A command that raises it writes nothing and exits with 2. Characters that cannot be printed,
    such as control characters in a name from a broken file, are replaced by spaces.

    Examples
    --------
    >>> import neuromusic as nm
    >>> try:
    ...     nm.open_prepared("no-such-directory")
    ... except nm.InputError as error:
    ...     print(error)
    no-such-directory: is not a prepared set; make one with 'neuromusic prepare'
    """

    def __init__(self, message: str) -> None:
        text = "".join(c if c.isprintable() else " " for c in message)
        super().__init__(text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}...")


class ResourceError(InputError):
    """The machine ran out of space or memory; a step that can be resumed keeps its results."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or an empty string."""
    closest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {closest[0]!r}?" if closest else ""


def need_package(package: str, extra: str) -> None:
    """Raise InputError if an optional package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f'{package} is not installed; run: pip install "neuromusic[{extra}]"')
