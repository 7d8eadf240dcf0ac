"""Directories that are whole or not there, and the record of how each was made."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from neuromusic import __version__
from neuromusic.errors import InputError

RECORD = "provenance.json"
PACKAGES = ("numpy", "scipy", "librosa", "soundfile", "soxr", "torch", "torchaudio", "pandas")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_inputs(paths: Iterable[Path]) -> dict[str, str]:
    """Return path -> SHA-256 for files, sorted by path."""
    return {str(path): sha256(path) for path in sorted(paths)}


def record(
    command: str, settings: Mapping[str, Any], inputs: Mapping[str, str], device: str = "cpu"
) -> dict[str, Any]:
    """Return what goes into ``provenance.json``; ``settings`` hold the seed where there is one."""
    return {
        "command": command,
        "settings": dict(settings),
        "inputs": dict(inputs),
        "code_version": __version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": device,
    }


def read_record(directory: Path) -> dict[str, Any] | None:
    """Return the record of a finished directory, or None where there is none."""
    try:
        loaded = json.loads((directory / RECORD).read_text("utf-8"))
    # RecursionError: of brackets in brackets without end.
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def write_record(directory: Path, made: Mapping[str, Any]) -> None:
    """Write ``provenance.json`` into a directory; the last thing that is written there."""
    write_text(directory / RECORD, json.dumps(made, indent=2, sort_keys=True) + "\n")


def is_current(directory: Path, made: Mapping[str, Any]) -> bool:
    """Say whether a finished directory came from this command, settings, inputs and version."""
    old = read_record(directory)
    keys = ("command", "settings", "inputs", "code_version")
    # Through JSON, so that tuples and lists compare as they are on disk.
    new = json.loads(json.dumps(dict(made)))
    return old is not None and all(old.get(key) == new[key] for key in keys)


def check_target(directory: Path, command: str) -> None:
    """Raise InputError unless ``directory`` is free, empty, or an earlier output of ``command``."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"{directory}: is a file; --out must name a directory")
    if not any(directory.iterdir()):
        return
    old = read_record(directory)
    if old is None or old.get("command") != command:
        made_by = (old or {}).get("command")
        holds = f"the output of 'neuromusic {made_by}'" if made_by else "something else"
        raise InputError(
            f"{directory}: holds {holds}; choose another --out, or move that away first"
        )


@contextlib.contextmanager
def new_directory(out: Path, made: Mapping[str, Any]) -> Iterator[Path]:
    """Give a directory beside ``out`` to write into; rename it to ``out`` when all went well.

    An earlier output of the same command is replaced. What a killed process left beside it is
    removed. Raises InputError where ``out`` holds anything else.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(out)
    check_target(out, made["command"])
    part = out.parent / f".{out.name}.partial-{os.getpid()}"
    part.mkdir()
    try:
        yield part
        write_record(part, made)
        if out.exists():
            old = out.parent / f".{out.name}.partial-{os.getpid()}-old"
            out.rename(old)
            part.rename(out)
            shutil.rmtree(old)
        else:
            part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _remove_orphans(out: Path) -> None:
    for orphan in out.parent.glob(f".{_glob_escape(out.name)}.partial-*"):
        owner = orphan.name.rsplit("partial-", 1)[1].split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            if orphan.name.endswith("-old") and not out.exists():
                orphan.rename(out)  # killed between the two renames of a replacement
            else:
                shutil.rmtree(orphan, ignore_errors=True)


def _glob_escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(f".{path.name}.partial")
    part.unlink(missing_ok=True)  # it may be a link to elsewhere
    part.write_text(text, "utf-8")
    os.replace(part, path)
