"""Provenance records: which command, settings, inputs and versions made a directory."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from neuromusic.core.files import reading, sha256, write_text
from neuromusic.core.version import __version__

RECORD = "provenance.json"
SAME = ("command", "settings", "inputs", "code_version")  # equal in records of equal outputs
PACKAGES = (
    "numpy", "scipy", "numba", "soundfile", "soxr", "torch", "torchaudio", "pandas",
)  # fmt: skip


def hash_inputs(paths: Iterable[Path]) -> dict[str, str]:
    """Return path -> SHA-256 for files, sorted by path."""
    ordered = sorted(paths)
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        return dict(zip(map(str, ordered), pool.map(sha256, ordered), strict=True))


def arguments(**values: Any) -> tuple[dict[str, Any], dict[str, Path]]:
    """Split a function's keyword arguments into (settings, places) for its record.

    Paths become places, everything else settings. Dataclasses become dictionaries; a path inside
    one has a dotted name, such as "corpus.path". `verify` can call the function again with both.
    """
    settings: dict[str, Any] = {}
    places: dict[str, Path] = {}
    for name, value in values.items():
        if isinstance(value, Path):
            places[name] = value
        elif is_dataclass(value) and not isinstance(value, type):
            inner = {field.name: getattr(value, field.name) for field in fields(value)}
            settings[name], below = arguments(**inner)
            places |= {f"{name}.{key}": path for key, path in below.items()}
        else:
            settings[name] = value
    return settings, places


def record(
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    device: str = "cpu",
    places: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Return the content of ``provenance.json``.

    Parameters
    ----------
    command : str
        Name of the command, such as "prepare".
    settings : mapping
        Everything that the result depends on besides the inputs, the seed included.
    inputs : mapping
        Name or path of each input -> its SHA-256.
    device : str
        Device that did the work.
    places : mapping, optional
        Name of a path argument -> path, so that the step can be repeated. Results never depend on
        them, nor on the working directory, which is recorded beside them as ``cwd``.
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
    """Return the record of a finished directory, or None if there is none."""
    return read_plain_json(directory / name)


def read_plain_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if the file is missing or not such a file."""
    try:
        with reading(path):
            content = json.loads(path.read_text("utf-8"))
    # RecursionError: deeply nested brackets.
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_record(directory: Path, content: Mapping[str, Any], name: str = RECORD) -> None:
    """Write a record; the last file to be written in a directory.

    A later command that adds files to a directory writes its record under another ``name``.
    """
    write_text(directory / name, _as_json(content))


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def record_hash(directory: Path) -> str:
    """Return the SHA-256 of a directory's record without its places.

    It identifies the whole directory, wherever it is: the record holds the hash of each file.
    """
    content = read_record(directory) or {}
    text = _as_json({key: value for key, value in content.items() if key != "places"})
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(directory: Path, new: Mapping[str, Any]) -> bool:
    """Return whether a directory came from the command, settings, inputs and version in ``new``."""
    old = read_record(directory)
    # Through JSON, so that tuples and lists compare as they are on disk.
    plain = json.loads(json.dumps(dict(new)))
    return old is not None and all(old.get(key) == plain[key] for key in SAME)


def places_of(path: Path, near: Path) -> Iterator[Path]:
    """Yield candidate locations of a recorded path: as recorded, then relative to ``near``.

    A project that was copied as a whole keeps the relative path from one directory to another, so
    the ends of ``path``, longest first, are tried below ``near`` and its parent directories.
    """
    yield path
    parts = path.parts[1:] if path.is_absolute() else path.parts
    for above in [near.absolute(), *near.absolute().parents][:4]:
        for length in range(min(len(parts), 6), 0, -1):
            yield above.joinpath(*parts[-length:])
