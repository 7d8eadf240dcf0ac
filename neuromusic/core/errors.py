"""The exceptions that end a command with a message instead of a traceback."""

from collections.abc import Iterable

MOST_TEXT = 20_000  # characters in a message: one line of a broken file may have millions
MOST_NAMES = 10  # names in a message


class InputError(ValueError):
    """The user's input cannot be used; the message names the file, the row and what to do.

    A command that raises it writes nothing and exits with 2. Characters that cannot be printed,
    such as control characters in a name from a broken file, are replaced by spaces; bytes of a file
    name that are not UTF-8 are written as ``\\xf6``.

    Parameters
    ----------
    message : str
        One line: the file, the row, what was expected and what to do.

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
        text = printable(message)
        super().__init__(text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}...")


class ResourceError(InputError):
    """The machine ran out of space or memory; a step that can be resumed keeps its results."""


class BusyError(InputError):
    """Another process is writing the same directory."""


def printable(text: str) -> str:
    """Return text with spaces for unprintable characters and \\xNN for bytes that are not UTF-8."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # how Python represents a byte of a name that is not UTF-8
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else " "


class DryRun(Exception):
    """All checks of a dry run have passed; the message says what the step would do."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or an empty string."""
    closest = closest_word(word, known)
    return "" if closest is None else f"; did you mean {closest!r}?"


def closest_word(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is spelt most alike, or None if none is."""
    import difflib  # here and below: `--help` must start fast

    closest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return closest[0] if closest else None


def listed(names: Iterable[object], most: int = MOST_NAMES) -> str:
    """Return names joined by commas, at most ``most`` of them: ``"a, b, ... and 491 more"``."""
    texts = [str(name) for name in names]
    n_more = len(texts) - most
    shown = ", ".join(texts[:most])
    return f"{shown} and {n_more} more" if n_more > 0 else shown


def counted(n: int, noun: str) -> str:
    """Return ``"1 subject"`` or ``"12 subjects"``."""
    return f"{n} {noun}{'s' * (n != 1)}"


def need_package(package: str, extra: str) -> None:
    """Raise InputError if an optional package is not installed."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise InputError(f'{package} is not installed; run: pip install "neuromusic[{extra}]"')
