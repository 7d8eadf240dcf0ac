"""The ways in which a command ends that are not a bug."""

import difflib
import importlib.util
from collections.abc import Iterable

MOST_TEXT = 20_000  # characters of a message: a line of a broken file may have millions


class InputError(ValueError):
    """What the user gave cannot be used: one line that names the file, the row and the remedy.

    A command that meets it writes nothing and exits with 2. What cannot be printed, such as the
    control characters of a name in a broken file, becomes a space.
    """

    def __init__(self, message: str) -> None:
        whole = "".join(c if c.isprintable() else " " for c in message)
        super().__init__(whole if len(whole) <= MOST_TEXT else f"{whole[:MOST_TEXT]}...")


class ResourceError(InputError):
    """The machine lacks something, space or memory; a step that can go on keeps what it has."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def need_package(package: str, extra: str) -> None:
    """Raise InputError if the package of an optional part is not installed."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f'{package} is not installed; type pip install "neuromusic[{extra}]"')
