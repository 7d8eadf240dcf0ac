"""Settings in TOML files: read, check and explain what is wrong in one line."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import check_size, readable

# Size limit of a TOML file; the longest of ours has a few kilobytes. The time that tomllib takes
# grows with the square of the length of a key: six seconds for 40 kB.
MOST_BYTES = 16_000
MOST_DEPTH = 16  # nested sections and lists

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A section of settings: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises FileNotFoundError if it does not exist, and InputError if it cannot be read or is too
    large for ``what``, such as "a file of settings".
    """
    try:
        check_size(path, MOST_BYTES, what)
        with readable(path, "TOML file"):
            return tomllib.loads(path.read_text("utf-8"))
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: is not a readable TOML file ({error.strerror})") from None


def validated(kind: type[S], tree: dict[str, Any], where: str) -> S:
    """Return a tree of settings as a section; ``where`` begins the message of an InputError."""
    _check_tree(tree, where)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error, kind)}") from None


def _check_tree(tree: dict[str, Any], where: str) -> None:
    """Raise InputError for deep nesting and huge integers.

    No setting needs them, and validating or printing them takes long or fails.
    """
    remaining: list[tuple[Any, int]] = [(tree, 0)]
    while remaining:
        value, depth = remaining.pop()
        if depth > MOST_DEPTH:
            raise InputError(f"{where}: sections or lists are nested more than {MOST_DEPTH} deep")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"{where}: contains an integer beyond 64 bits")
        if isinstance(value, dict | list):
            children = value.values() if isinstance(value, dict) else value
            remaining += [(child, depth + 1) for child in children]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _explain(error: ValidationError, kind: type[Section]) -> str:
    """Return the first error in one line, with a suggestion for an unknown key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # raised in this package; the message includes the value
        text = first["msg"].removeprefix("Value error, ")
        return f"{key}: {text}" if key else text
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']} (got {_short(first['input'])})"
    known = list(kind.model_fields)
    for name, field in kind.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            known += [f"{name}.{child}" for child in section.model_fields]
    suggestion = did_you_mean(key, known) or f"; known: {', '.join(kind.model_fields)}"
    return f"unknown key {key!r}{suggestion}"
