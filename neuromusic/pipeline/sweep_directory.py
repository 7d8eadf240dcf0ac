"""The directory of a sweep: several processes write it at the same time."""

import glob
import json
import os
import platform
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import write_text
from neuromusic.core.outputs import is_alive, locked
from neuromusic.core.records import (
    MOST_NAMED,
    RECORD,
    changed_settings,
    read_plain_json,
    read_record,
)

BEST = "best.toml"
TABLE = "trials.tsv"
FIGURE = "history"  # without the suffix
STARTED_WITH = "sweep.json"
# What the directory of a sweep may contain; a database may be in it too.
OWN_FILES = ("trial-*", BEST, TABLE, f"{FIGURE}.*", STARTED_WITH, RECORD)
FILE_PATTERNS = (*OWN_FILES, "*.db*", ".*")


def check_directory(out: Path, study: str, common: dict[str, Any], overwrite: bool) -> bool:
    """Return whether ``out`` holds another sweep, which is to be removed.

    Raises InputError if it does and ``overwrite`` is False, or if it contains anything else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; out must name a directory")
    if not out.is_dir():
        return False
    others = [
        path.name
        for path in out.iterdir()
        if not any(fnmatch(path.name, pattern) for pattern in FILE_PATTERNS)
    ]
    if others or (read_record(out) or {}).get("command", "sweep") != "sweep":
        raise InputError(
            f"{out}: contains something else; choose another directory for out, or move that one "
            "away"
        )
    old = read_plain_json(out / STARTED_WITH)
    changes = [] if old is None else changed_settings(old, {"study": study, **common})
    if changes and not overwrite:
        raise InputError(
            f"{out}: made with other settings ({listed(changes, MOST_NAMED)}): choose another out, "
            "or replace it with overwrite=True (--overwrite)"
        )
    return bool(changes)


def begin_directory(out: Path, study: str, common: dict[str, Any], overwrite: bool) -> None:
    """Make the directory of a sweep, without anything of another one."""
    if check_directory(out, study, common, overwrite):
        with locked(out):  # another process may just have done the same
            if check_directory(out, study, common, overwrite):
                _clear(out)
    out.mkdir(parents=True, exist_ok=True)
    write_texts(out, {STARTED_WITH: json.dumps({"study": study, **common}, indent=2) + "\n"})


def _clear(out: Path) -> None:
    """Remove another sweep, but not a database; what it was started with goes last."""
    own = [path for path in out.iterdir() if any(fnmatch(path.name, name) for name in OWN_FILES)]
    for path in sorted(own, key=lambda path: path.name == STARTED_WITH):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def private_directory(out: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a directory in ``out`` for this process alone, as several may write the same file.

    Those left behind by killed processes of this machine are removed.
    """
    prefix = f".{platform.node()}-"
    for orphan in out.glob(f"{glob.escape(prefix)}*-*"):
        pid = orphan.name.removeprefix(prefix).split("-")[0]
        if pid.isdigit() and int(pid) != os.getpid() and not is_alive(int(pid)):
            shutil.rmtree(orphan, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", dir=out)


def write_texts(out: Path, texts: dict[str, str]) -> None:
    """Write texts, by file name, each completely or not at all."""
    with private_directory(out) as private:
        for name, text in texts.items():
            write_text(Path(private, name), text)
            os.replace(Path(private, name), out / name)
