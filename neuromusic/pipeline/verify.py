"""Check directories against their provenance records: every output and input is hashed again.

Nothing is changed. A directory may have been moved: inputs that were moved along with it are found
by their relative paths.
"""

import hashlib
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from neuromusic.core.errors import InputError, printable
from neuromusic.core.files import as_path, read_npz, sha256
from neuromusic.core.folders import find_files
from neuromusic.core.progress import track
from neuromusic.core.records import (
    NETWORK_COMMANDS,
    RECORD,
    places_of,
    read_plain_json,
    record_hash,
)
from neuromusic.training.trained import TRACKER_FOLDERS, WEIGHTS

log = logging.getLogger(__name__)

CHUNK_BYTES = 2**20
MOST_NAMED = 5  # inputs that were not found; often all are missing, so only a few are named
# What a directory may contain besides the files in its records: trackers, and the networks and the
# database of a sweep.
UNRECORDED = {
    "train": tuple(f"{folder}/*" for folder in TRACKER_FOLDERS),
    "sweep": ("trial-*/*", "*.db*"),
}
NETWORK_KEYS = ("network", "run")  # inputs that stand for weights; "run" in older records

InputState = Literal["as recorded", "moved", "changed", "not found"]


@dataclass(eq=False)
class RecordCheck:
    """What became of the files that one record names."""

    path: Path  # of the record
    record: dict[str, Any]
    unchanged: list[str] = field(default_factory=list)  # names of outputs
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    inputs: dict[str, InputState] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        """Whether nothing differs; an input that was not found cannot be judged."""
        return not (self.changed or self.missing or self.inputs_that_are("changed"))

    def inputs_that_are(self, state: InputState) -> list[str]:
        """Return the keys of the inputs in a state."""
        return [key for key, each in self.inputs.items() if each == state]


def verify(directory: str | Path, *, rerun: bool = False) -> bool:
    """Check that files still have the SHA-256 hashes in their provenance records.

    Works for every directory that neuromusic wrote; if it contains several outputs, each is
    checked. Scores and figures beside a network must be those of its weights, and an output must
    contain no files that are in no record. What differs is logged.

    Parameters
    ----------
    directory : str or Path
        An output of neuromusic, or a directory that contains several.
    rerun : bool
        Also call the function that made the directory again, with the recorded settings and
        inputs, and compare the files byte by byte. The new files are deleted afterwards.

    Returns
    -------
    bool
        True if all outputs and inputs are as recorded, there are no other files and, with
        ``rerun``, the outputs come out the same. Inputs that cannot be found are logged, but do not
        count.

    Raises
    ------
    InputError
        If there is no record, or a record is damaged; with ``rerun`` also if the function cannot be
        repeated or an input cannot be found.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.verify("network")
    True
    """
    directory = as_path(directory)
    checks, unrecorded = check(directory)
    for each in checks:
        log.info(describe(each))
    owned, others = _by_owner(directory, checks, unrecorded)
    problems = [problem for owner, names in owned.items() for problem in _strangers(owner, names)]
    for problem in problems:
        log.info("%s", problem)
    if others:
        log.info("in %s, but in no record: %s", directory, _grouped(others))
    passes = all(each.passes for each in checks) and not problems
    if not rerun:
        return passes
    own = [each for each in checks if each.path == directory / RECORD]
    if not own:
        raise InputError(f"{directory}: contains several outputs; choose one of them for rerun")
    if own[0].inputs_that_are("changed"):
        log.info("not repeated: the inputs have changed")
        return False
    from neuromusic.pipeline.rerun import is_reproduced

    return is_reproduced(directory, own[0].record) and passes


def check(directory: Path) -> tuple[list[RecordCheck], list[str]]:
    """Hash the files that the records in a directory name, and compare.

    Returns (one result per record, files that no record names). Raises InputError as
    `read_records`.
    """
    records = read_records(directory)
    candidates = {
        path: {key: _input_candidates(key, record, path.parent) for key in record["inputs"]}
        for path, record in records.items()
    }
    outputs = [
        path.parent / name for path, record in records.items() for name in record.get("outputs", {})
    ]
    hashes = hash_files(
        [file for file in [*outputs, *_inputs_to_hash(candidates)] if file.is_file()]
    )
    checks = [_check_record(path, records[path], candidates[path], hashes) for path in records]
    recorded = {*records, *outputs}
    files = find_files(directory, lambda name: True, "an output of neuromusic").files
    others = [path.relative_to(directory) for path in files if path not in recorded]
    return checks, [printable(path.as_posix()) for path in others]


def read_records(directory: Path) -> dict[Path, dict[str, Any]]:
    """Return path -> record for every record in a directory and below it.

    Raises InputError if there is none, or one is damaged.
    """
    records = {}
    # Also those of later commands, such as evaluation.provenance.json.
    found = find_files(directory, lambda name: name.endswith(RECORD), "an output of neuromusic")
    for path in found.files:
        record = read_plain_json(path)
        if record is None or not _is_record(record):
            raise InputError(f"{path}: is damaged, so the files it describes cannot be verified")
        records[path] = record
    if not records:
        raise InputError(
            f"{directory}: has no {RECORD}; it was not made by neuromusic, or is not finished"
        )
    return records


def _is_record(content: dict[str, Any]) -> bool:
    parts = [content.get("inputs"), content.get("outputs", {}), content.get("places", {})]
    return isinstance(content.get("command"), str) and all(isinstance(p, dict) for p in parts)


# --- Inputs ---------------------------------------------------------------------------------------


def _input_candidates(key: str, record: dict[str, Any], near: Path) -> list[Path]:
    """Return where an input may be, its recorded place first.

    What is recorded beside a network belongs to it, so its weights are the only candidate.
    """
    places = record.get("places", {})
    if key == "prepared":
        return [path / RECORD for path in places_of(Path(places.get(key, key)), near)]
    if key in NETWORK_KEYS:
        is_beside = (near / WEIGHTS).is_file()
        directories = [near] if is_beside else places_of(Path(places.get(key, key)), near)
        return [path / WEIGHTS for path in directories]
    recorded = Path(places.get("cwd", ""), key)
    return [*places_of(recorded, near), Path(key)]


def _inputs_to_hash(candidates: dict[Path, dict[str, list[Path]]]) -> Iterator[Path]:
    """Yield the most likely file of each input; a prepared set is identified by its record."""
    for inputs in candidates.values():
        for key, paths in inputs.items():
            first = next((path for path in paths if path.is_file()), None)
            if first is not None and key != "prepared":
                yield first


def _input_state(
    key: str, expected: str, candidates: Sequence[Path], hashes: dict[Path, str]
) -> InputState:
    recorded = candidates[0]
    existing = list(dict.fromkeys(path for path in candidates if path.is_file()))
    for path in existing:
        if _input_hash(key, path, hashes) == expected:
            is_same_place = os.path.abspath(path) == os.path.abspath(recorded)
            return "as recorded" if is_same_place else "moved"
    # Some file of the same name nearby is not the input, unless its folder has the same name too.
    alike = [path for path in existing if path.parts[-2:] == recorded.parts[-2:]]
    return "changed" if alike else "not found"


def _input_hash(key: str, path: Path, hashes: dict[Path, str]) -> str:
    if key == "prepared":
        return record_hash(path.parent)
    return hashes.get(path) or sha256(path)


# --- Outputs --------------------------------------------------------------------------------------


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """Return path -> SHA-256, with a progress bar in megabytes."""
    paths = sorted(set(paths))
    hashes = {}

    def megabytes() -> Iterator[None]:
        for path in paths:
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    yield
            hashes[path] = digest.hexdigest()

    total = sum(math.ceil(path.stat().st_size / CHUNK_BYTES) for path in paths)
    for _ in track(megabytes(), "verify (MB)", total):
        pass
    return hashes


def _check_record(
    path: Path,
    record: dict[str, Any],
    candidates: dict[str, list[Path]],
    hashes: dict[Path, str],
) -> RecordCheck:
    result = RecordCheck(path, record)
    for name, expected in record.get("outputs", {}).items():
        file = path.parent / name
        if file not in hashes:
            result.missing.append(name)
        elif hashes[file] == expected:
            result.unchanged.append(name)
        else:
            result.changed.append(name)
    for key, expected in record["inputs"].items():
        result.inputs[key] = _input_state(key, expected, candidates[key], hashes)
    return result


def describe(result: RecordCheck) -> str:
    """Return the result for one record as a few lines of text."""
    path, record = result.path, result.record
    place = path.parent if path.name == RECORD else path
    if "outputs" in record:
        files = f"{len(result.unchanged)} of {len(record['outputs'])} files as recorded"
    else:
        files = "made by a version that recorded only inputs, so its files were not checked"
    states = Counter(result.inputs.values())
    order: tuple[InputState, ...] = ("as recorded", "moved", "changed", "not found")
    counts = ", ".join(f"{states[state]} {state}" for state in order if states[state])
    lines = [f"{place} ({record['command']}): {files}; inputs: {counts or 'none'}"]
    lines += [f"  changed: {path.parent / name}" for name in result.changed]
    lines += [f"  missing: {path.parent / name}" for name in result.missing]
    for key in result.inputs_that_are("changed"):
        if key not in NETWORK_KEYS:
            lines.append(f"  changed input: {key}")
            continue
        beside = (path.parent / WEIGHTS).is_file()
        network = path.parent if beside else Path(record.get("places", {}).get(key, key))
        names = _grouped(list(record.get("outputs", {}))) or path.name
        lines.append(f"  made with other weights than those of {network} now: {names}")
    absent = result.inputs_that_are("not found")
    if absent:
        more = f" and {len(absent) - MOST_NAMED} others" if len(absent) > MOST_NAMED else ""
        lines.append(f"  not found, so not checked: {', '.join(absent[:MOST_NAMED])}{more}")
    return "\n".join(lines)


# --- Files in no record ---------------------------------------------------------------------------


def _by_owner(
    directory: Path, checks: Sequence[RecordCheck], names: Sequence[str]
) -> tuple[dict[RecordCheck, list[str]], list[str]]:
    """Return (output -> paths in it that no record names, names that are in no output)."""
    outputs = {
        each.path.parent: each
        for each in checks
        if each.path.name == RECORD and "outputs" in each.record
    }
    owned: dict[Path, list[str]] = {}
    others = []
    for name in names:
        path = directory / name
        owner = next((above for above in path.parents if above in outputs), None)
        if owner is None:
            others.append(name)
        else:
            owned.setdefault(owner, []).append(path.relative_to(owner).as_posix())
    return {outputs[owner]: inside for owner, inside in owned.items()}, others


def _strangers(output: RecordCheck, names: Sequence[str]) -> list[str]:
    """Return one line per problem with files in an output that no record names."""
    directory, command = output.path.parent, output.record["command"]
    problems, strange = [], []
    for name in names:
        if command in NETWORK_COMMANDS and fnmatch(name, "index-*.npz"):
            if not _is_index_of(directory / name, directory):
                problems.append(
                    f"{directory / name}: is not an index of these weights; delete it, and "
                    "'neuromusic similar' makes it again"
                )
        elif not any(fnmatch(name, pattern) for pattern in UNRECORDED.get(command, ())):
            strange.append(name)
    if strange:
        problems.append(
            f"in {directory}, but in no record: {_grouped(strange)}; left from another run, or "
            "added later: move them away"
        )
    return problems


def _is_index_of(index: Path, network: Path) -> bool:
    """Return whether an index of `similar` is that of a network's weights."""
    try:
        weights = str(read_npz(index, names=("weights",))["weights"])
        return weights == sha256(network / WEIGHTS)
    except (InputError, KeyError, OSError):
        return False


def _grouped(names: Sequence[str]) -> str:
    """Return file names as text, with the number of files for each top-level directory."""
    tops = Counter(name.split("/")[0] + ("/" if "/" in name else "") for name in names)
    texts = (f"{top} ({n} files)" if top.endswith("/") else top for top, n in tops.items())
    return ", ".join(texts)
