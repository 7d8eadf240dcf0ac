"""Find what a directory holds, and make the part of the page about it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError
from neuromusic.core.records import RECORD, read_record
from neuromusic.core.version import __version__
from neuromusic.reporting.blocks import Part, Section
from neuromusic.reporting.comparison import comparison_part
from neuromusic.reporting.design import export_part, lists_part
from neuromusic.reporting.encoding import encoding_part
from neuromusic.reporting.network import crossval_part, is_unfinished_training, network_part
from neuromusic.reporting.responses import benchmark_part, sounds_part, timed_part

Maker = Callable[[Path, Mapping[str, Any]], Part]

# Function behind a command, or the command itself -> what makes its part.
MAKERS: dict[str, Maker] = {
    "compare": comparison_part,
    "crossval": crossval_part,
    "encode": encoding_part,
    "encode_sounds": sounds_part,
    "encode_timed": timed_part,
    "export": export_part,
    "benchmark": benchmark_part,
    "lists": lists_part,
}
NETWORKS = ("train", "ensemble")
# In the order in which people ask; parts of one kind stay in the order in which they were given.
ORDER = ("train", "ensemble", "crossval", "compare", "encode", "benchmark", "export", "lists")
EXPECTED = (
    "a directory that train, ensemble, crossval, compare, encode, benchmark, export or lists "
    "wrote, or one that contains such directories"
)
DEPTH = 2  # levels below a directory that is searched


def find(paths: list[Path]) -> list[Path]:
    """Return the directories that a page can be made of, in the order of the page.

    A directory that is not an output is searched for outputs. Raises InputError if there are none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: is not a directory; expected {EXPECTED}")
        inside = [path] if _kind(path) else _inside(path, DEPTH)
        if not inside:
            raise InputError(f"{path}: contains nothing to report; expected {EXPECTED}")
        found += [each for each in inside if each not in found]
    return sorted(found, key=lambda path: ORDER.index(_kind(path)))


def part_of(directory: Path, hear: bool) -> Part:
    """Return the part about a directory that `find` returned.

    ``hear``: with the variants of a clip as sounds. Raises InputError if its main files cannot be
    read.
    """
    record = read_record(directory)
    if record is None or record.get("command") in NETWORKS:
        part = network_part(directory, record, hear)
    else:
        maker = MAKERS.get(record.get("function", "")) or MAKERS[_kind(directory)]
        part = maker(directory, record)
    return _with_version(part, record)


def failed_part(directory: Path, error: Exception) -> Part:
    """Return the part of a directory that cannot be read."""

    def blocks() -> list[Any]:
        raise error

    return Part(str(directory), directory, [Section("What there is", blocks)])


def _kind(directory: Path) -> str:
    """Return the command that wrote a directory, one of ORDER; empty if there is no part for it."""
    record = read_record(directory)
    if record is None:
        is_training = not (directory / RECORD).exists() and is_unfinished_training(directory)
        return "train" if is_training else ""
    command = str(record.get("command", "")).split(" ")[0]
    return command if command in ORDER else ""


def _inside(directory: Path, depth: int) -> list[Path]:
    found = []
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or not path.is_dir():
            continue
        if _kind(path):
            found.append(path)
        elif depth > 1 and not (path / RECORD).is_file():
            found += _inside(path, depth - 1)
    return found


def _with_version(part: Part, record: Mapping[str, Any] | None) -> Part:
    """Add a notice if another version of neuromusic made the directory."""
    version = (record or {}).get("code_version", __version__)
    if version == __version__:
        return part
    notice = f"Made by neuromusic {version}; this page by {__version__}, which shows what it finds."
    return Part(part.title, part.source, part.sections, [notice, *part.notices])
