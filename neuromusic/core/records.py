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

from neuromusic.core.errors import listed
from neuromusic.core.files import reading, sha256, write_text
from neuromusic.core.version import __version__

RECORD = "provenance.json"
NETWORK_COMMANDS = ("train", "ensemble")  # their outputs are trained networks
MOST_NAMED = 5  # differences in a message
PACKAGES = (
    "numpy", "scipy", "numba", "soundfile", "soxr", "torch", "torchaudio", "pandas",
)  # fmt: skip


def hash_inputs(paths: Iterable[Path]) -> dict[str, str]:
    """Return path -> SHA-256 for files, sorted by path.

    Paths have forward slashes on all systems, so that a record can be read on another one.
    """
    ordered = sorted(paths)
    names = [path.as_posix() for path in ordered]
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        return dict(zip(names, pool.map(sha256, ordered), strict=True))


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
        "places": {name: Path(os.path.abspath(path)).as_posix() for name, path in places.items()},
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


def is_current(directory: Path, new: Mapping[str, Any], name: str = RECORD) -> bool:
    """Return whether a directory holds what the record ``new`` describes, and all of its files."""
    return read_record(directory, name) is not None and not why_other(directory, new, name)


def why_other(directory: Path, new: Mapping[str, Any], name: str = RECORD) -> str:
    """Return how the files of a record differ from those that ``new`` describes.

    Command, settings, content of the inputs and version count; places do not, and neither do the
    packages. The text, such as "made with other settings (seed was 1, now 2)", is empty if they are
    the same, or if there is no record.
    """
    old = read_record(directory, name)
    if old is None:
        return ""
    # Through JSON, so that tuples and lists compare as they are on disk.
    plain = json.loads(json.dumps(dict(new)))
    versions = [str(each.get("code_version")) for each in (old, plain)]
    parts = {
        "with other settings ({})": changed_settings(old.get("settings", {}), plain["settings"]),
        "from other inputs ({})": _changed_inputs(old, plain),
        f"by version {versions[0]}, not {versions[1]}": [""] * (versions[0] != versions[1]),
        f"by 'neuromusic {old.get('command')}'": [""] * (old.get("command") != plain["command"]),
    }
    texts = [text.format(listed(changes, MOST_NAMED)) for text, changes in parts.items() if changes]
    if texts:
        return f"made {' and '.join(texts)}"
    lost = [file for file in old.get("outputs", {}) if not (directory / file).exists()]
    return f"lacks files that it had ({listed(lost, MOST_NAMED)})" if lost else ""


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return how nested settings differ, such as ["train.epochs was 5, now 8"]."""
    then, now = _flat(old), _flat(new)
    keys = [key for key in {**now, **then} if then.get(key) != now.get(key)]
    return [f"{key} was {_brief(then.get(key))}, now {_brief(now.get(key))}" for key in keys]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted name -> value for the leaves of nested settings."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        is_branch = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if is_branch else {f"{prefix}{key}": value}
    return flat


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value).replace("null", "not set")
    return text if 0 < len(text) <= 40 else f"{text[:37]}..." if text else "empty"


def _changed_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    then, now = _named_inputs(old), _named_inputs(new)
    changes = []
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            how = "is new" if name not in then else "is gone" if name not in now else "has changed"
            changes.append(f"{name} {how}")
    return changes


def _named_inputs(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return name -> hashes of a record's inputs, by names that do not depend on their place.

    The name of a file begins with that of the path argument that contains it, such as
    "clips/blues/1.wav". Files outside of all of them keep the last two parts of their path.
    """
    places = {key: str(path) for key, path in content.get("places", {}).items()}
    cwd = places.pop("cwd", "")
    longest_first = sorted(places.items(), key=lambda item: -len(item[1]))
    named: dict[str, list[str]] = {}
    for key, digest in sorted(content.get("inputs", {}).items()):
        named.setdefault(_input_name(key, cwd, longest_first), []).append(digest)
    return named


def _input_name(key: str, cwd: str, places: list[tuple[str, str]]) -> str:
    if "/" not in key and any(key == name for name, _ in places):
        return key  # the hash of a network or of a prepared set
    path = Path(os.path.normpath(os.path.join(cwd, key))).as_posix()
    for name, place in places:
        if path == place:
            return name
        if path.startswith(f"{place}/"):
            return f"{name}/{path.removeprefix(f'{place}/')}"
    return "/".join(Path(path).parts[-2:])


def places_of(path: Path, near: Path) -> Iterator[Path]:
    """Yield candidate locations of a recorded path: as recorded, then relative to ``near``.

    A project that was copied as a whole keeps the relative path from one directory to another, so
    the ends of ``path``, longest first, are tried below ``near`` and its parent directories.
    """
    yield path
    parts = path.parts[1:] if path.anchor else path.parts
    for above in [near.absolute(), *near.absolute().parents][:4]:
        for length in range(min(len(parts), 6), 0, -1):
            yield above.joinpath(*parts[-length:])
