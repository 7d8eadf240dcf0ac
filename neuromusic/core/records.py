"""Directories that are whole or not there, and the record of how each was made."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from neuromusic import __version__
from neuromusic.core.files import reading, sha256, write_text

RECORD = "provenance.json"
SAME = ("command", "settings", "inputs", "code_version")  # what makes two outputs the same
PACKAGES = (
    "numpy", "scipy", "librosa", "numba", "soundfile", "soxr", "torch", "torchaudio", "pandas",
)  # fmt: skip


def hash_inputs(paths: Iterable[Path]) -> dict[str, str]:
    """Return path -> SHA-256 for files, sorted by path."""
    ordered = sorted(paths)
    with ThreadPoolExecutor() as pool:  # a thread that hashes leaves the others free to run
        return dict(zip(map(str, ordered), pool.map(sha256, ordered), strict=True))


def record(
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    device: str = "cpu",
    places: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Return what goes into ``provenance.json``; ``settings`` hold the seed where there is one.

    ``places`` (name -> path) say where a step that is done again finds its input. No result depends
    on them, nor on the directory in which the command was typed, which is kept beside them.
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
    """Return the record of a finished directory, or None where there is none."""
    return _read_json(directory / name)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        with reading(path):
            loaded = json.loads(path.read_text("utf-8"))
    # RecursionError: of brackets in brackets without end.
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def write_record(directory: Path, made: Mapping[str, Any], name: str = RECORD) -> None:
    """Write ``provenance.json`` into a directory; the last thing that is written there.

    What a later command adds to a directory has a record of another ``name``.
    """
    write_text(directory / name, _as_json(made))


def _as_json(made: Mapping[str, Any]) -> str:
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def record_hash(directory: Path) -> str:
    """Return the SHA-256 of a finished directory's record without its places.

    It stands for the whole directory, wherever that lies: the record holds the hash of each file.
    """
    made = read_record(directory) or {}
    text = _as_json({key: value for key, value in made.items() if key != "places"})
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(directory: Path, made: Mapping[str, Any]) -> bool:
    """Say whether a finished directory came from this command, settings, inputs and version."""
    old = read_record(directory)
    # Through JSON, so that tuples and lists compare as they are on disk.
    new = json.loads(json.dumps(dict(made)))
    return old is not None and all(old.get(key) == new[key] for key in SAME)


def places_of(path: Path, near: Path) -> Iterator[Path]:
    """Yield where a file or directory may lie now: at ``path``, or by its name close to ``near``.

    A project that was copied whole keeps the way from one of its directories to another: the ends
    of ``path``, longest first, are tried below ``near`` and the directories above it.
    """
    yield path
    parts = path.parts[1:] if path.is_absolute() else path.parts
    for above in [near.absolute(), *near.absolute().parents][:4]:
        for length in range(min(len(parts), 6), 0, -1):
            yield above.joinpath(*parts[-length:])
