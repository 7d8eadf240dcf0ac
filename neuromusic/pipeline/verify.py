"""Whether a directory is what its record says: inputs, outputs, and the step done again.

Every file that a record names is hashed again. Nothing here changes a directory, and where it lies
does not matter: an input that was moved with it is found by the way from one to the other.
"""

import filecmp
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from neuromusic import __version__
from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256
from neuromusic.core.progress import Say, track
from neuromusic.core.records import RECORD, places_of, record_hash
from neuromusic.fmri.export.formats import Wanted
from neuromusic.pipeline import export, lists, prepare, train
from neuromusic.training.config import make_config
from neuromusic.training.trained import LAST, SECONDS, WEIGHTS

RECORDS = "*" + RECORD  # also those of what later commands added, as evaluation.provenance.json
CHUNK = 2**20
TIMED = (LAST, SECONDS)  # they hold how long the epochs took, so they differ each time
NAMED = 5  # how many files of a kind are said by name, where all of them is no news


@dataclass
class Checked:
    """What became of a record: names of files, as the record has them."""

    path: Path  # of the record
    made: dict[str, Any]
    changed: list[str] = field(default_factory=list)  # outputs
    missing: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    inputs: dict[str, list[str]] = field(
        default_factory=lambda: {"as recorded": [], "moved": [], "changed": [], "not here": []}
    )

    @property
    def is_good(self) -> bool:
        """Whether nothing differs; an input that is not here cannot be judged."""
        return not (self.changed or self.missing or self.inputs["changed"])


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """Return path -> SHA-256 and show how many megabytes are done."""
    paths = sorted(set(paths))
    found = {}

    def megabytes() -> Iterator[None]:
        for path in paths:
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    yield
            found[path] = digest.hexdigest()

    total = sum(math.ceil(path.stat().st_size / CHUNK) for path in paths)
    for _ in track(megabytes(), "verify (MB)", total):
        pass
    return found


def read_records(directory: Path) -> dict[Path, dict[str, Any]]:
    """Return path -> record for every record in a directory and below it.

    Raises InputError where there is none, or one cannot be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory")
    records = {}
    for path in sorted(directory.rglob(RECORDS)):
        if _is_hidden(path.relative_to(directory)):
            continue
        try:
            made = json.loads(path.read_text("utf-8"))
            known = isinstance(made["command"], str) and isinstance(made["inputs"], dict)
        except (OSError, ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise InputError(f"{path}: is damaged; what it described cannot be verified")
        records[path] = made
    if not records:
        raise InputError(
            f"{directory}: holds no {RECORD}, so neuromusic did not make it or did not finish"
        )
    return records


def _candidates(key: str, made: dict[str, Any], near: Path) -> list[Path]:
    """Return where an input may lie, as it was recorded first."""
    places = made.get("places", {})
    if key == "prepared":
        return [path / RECORD for path in places_of(Path(places.get(key, key)), near)]
    if key == "run":
        runs = [near, *places_of(Path(places.get(key, key)), near)]
        return [path / WEIGHTS for path in runs]
    recorded = Path(places.get("cwd", ""), key)
    return [*places_of(recorded, near), Path(key)]


def _hash_of(key: str, path: Path) -> str:
    return record_hash(path.parent) if key == "prepared" else sha256(path)


def _judge_input(
    key: str, expected: str, candidates: Sequence[Path], hashes: dict[Path, str]
) -> str:
    """Return one of the kinds of `Checked.inputs`."""
    recorded = candidates[1] if key == "run" else candidates[0]
    there = list(dict.fromkeys(path for path in candidates if path.is_file()))
    for path in there:
        known = hashes.get(path) if key != "prepared" else None
        if (known or _hash_of(key, path)) == expected:
            same = os.path.abspath(path) == os.path.abspath(recorded)
            return "as recorded" if same else "moved"
    # A file of the same name somewhere near is not the input, unless its folder's name is too.
    alike = [path for path in there if path.parts[-2:] == recorded.parts[-2:]]
    return "changed" if alike else "not here"


def check(directory: Path) -> tuple[list[Checked], list[str]]:
    """Hash again what the records of a directory name.

    Returns (what was found, record by record; files that no record names). Raises InputError as
    `read_records`.
    """
    records = read_records(directory)
    wanted: list[Path] = []
    inputs: dict[tuple[Path, str], list[Path]] = {}
    for path, made in records.items():
        outputs = [path.parent / name for name in made.get("outputs", {})]
        wanted += [file for file in outputs if file.is_file()]
        for key in made["inputs"]:
            found = inputs[path, key] = _candidates(key, made, path.parent)
            first = next((file for file in found if file.is_file()), None)
            wanted += [first] if first is not None and key != "prepared" else []
    hashes = hash_files(wanted)
    results = []
    known = set(records)
    for path, made in records.items():
        one = Checked(path, made)
        for name, expected in made.get("outputs", {}).items():
            file = path.parent / name
            known.add(file)
            if file not in hashes:
                one.missing.append(name)
            else:
                (one.kept if hashes[file] == expected else one.changed).append(name)
        for key, expected in made["inputs"].items():
            one.inputs[_judge_input(key, expected, inputs[path, key], hashes)].append(key)
        results.append(one)
    others = (path for path in directory.rglob("*") if path.is_file() and path not in known)
    names = (path.relative_to(directory) for path in others)
    return results, sorted(name.as_posix() for name in names if not _is_hidden(name))


def _is_hidden(name: Path) -> bool:
    """Say whether a file is half-written, or a lock: of a process that runs or was killed."""
    return any(part.startswith(".") for part in name.parts)


def as_text(directory: Path, one: Checked) -> str:
    """Return what was found of a record in a few lines."""
    where = one.path.parent if one.path.name == RECORD else one.path
    if "outputs" in one.made:
        total = len(one.made["outputs"])
        head = f"{len(one.kept)} of {total} files as recorded"
    else:
        head = "made by a version that recorded inputs alone; its own files were not checked"
    counts = ", ".join(f"{len(keys)} {kind}" for kind, keys in one.inputs.items() if keys)
    lines = [f"{where} ({one.made['command']}): {head}; inputs: {counts or 'none'}"]
    lines += [f"  changed: {one.path.parent / name}" for name in one.changed]
    lines += [f"  missing: {one.path.parent / name}" for name in one.missing]
    lines += [f"  changed input: {name}" for name in one.inputs["changed"]]
    absent = one.inputs["not here"]
    if absent:
        more = f" and {len(absent) - NAMED} others" if len(absent) > NAMED else ""
        lines.append(f"  not here, so not checked: {', '.join(absent[:NAMED])}{more}")
    return "\n".join(lines)


# --- Once more ----------------------------------------------------------------------------------


def _place(name: str, made: dict[str, Any], near: Path) -> Path:
    """Return where an input of a step is now; raise InputError where it is no longer there."""
    recorded = made["places"][name]
    for path in places_of(Path(recorded), near):
        if path.exists():
            return path
    raise InputError(f"{recorded}: is no longer there, so {near} cannot be made again")


Redo = Callable[[dict[str, Any], Callable[[str], Path], Path, Say], object]


def _again_lists(made: dict[str, Any], place: Callable[[str], Path], out: Path, say: Say) -> object:
    s, places = made["settings"], made["places"]
    artists = place("artists") if "artists" in places else None
    drop = (s.get("drop_leaks"), artists)
    if "train_order" in places:
        orders = (place("train_order"), place("test_order"), place("clips"))
        return lists.make_lists(*orders, out, s["allow_missing"], s["link"], say, *drop)
    origin = {name: place(name) for name in lists.ORIGINS if name in places}
    if not origin:
        raise InputError(f"{out.name}: its record does not say where its files came from")
    files = lists.file_table(origin, bool(s.get("folds")))
    return lists.make_file_lists(
        files, s["split"], s["seed"], s["clip_s"], out, s["link"], say, origin, *drop
    )


def _again_prepared(
    made: dict[str, Any], place: Callable[[str], Path], out: Path, say: Say
) -> object:
    s = made["settings"]
    if "features" in made["places"]:
        test = place("test_features") if "test_features" in made["places"] else None
        return prepare.make_prepared_features(place("features"), test, out, say, s["front_end"])
    name, workers = s["front_end"]["name"], len(os.sched_getaffinity(0))
    device = s.get("device", "cpu")
    return prepare.make_prepared(
        place("lists"), out, s["seed"], workers, say, name, s["waves"], device
    )


def _again_run(made: dict[str, Any], place: Callable[[str], Path], out: Path, say: Say) -> object:
    config = make_config(made["settings"], "the recorded settings")
    return train.make_run(config, place("prepared"), out, False, say)


def _again_export(
    made: dict[str, Any], place: Callable[[str], Path], out: Path, say: Say
) -> object:
    s: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in made["settings"].items()
    }
    return export.make_export(place("run"), place("lists"), out, say, Wanted(**s))


STEPS: dict[str, Redo] = {
    "lists": _again_lists,
    "prepare": _again_prepared,
    "train": _again_run,
    "export": _again_export,
}


def rerun(directory: Path, one: Checked, say: Say) -> list[str]:
    """Do the step of a record again beside its directory; return which files differ, and how.

    From the recorded settings, and the inputs where they are now; what is made is removed again.
    Raises InputError for a step that cannot be done again, or whose input is not there.
    """
    made = one.made
    if made["command"] not in STEPS:
        raise InputError(
            f"{directory}: --rerun knows {', '.join(STEPS)}; type 'neuromusic {made['command']}' "
            "again and compare"
        )
    if "places" not in made:
        raise InputError(f"{directory}: its record does not say where its input was; it is old")
    directory = directory.resolve()
    part = directory.parent / f".{directory.name}.partial-{os.getpid()}"  # an orphan, if killed
    part.mkdir()
    try:
        new = part / directory.name
        STEPS[made["command"]](
            made, lambda name: _place(name, made, directory), new, lambda _: None
        )
        names = made.get("outputs") or {
            path.relative_to(new).as_posix(): ""
            for path in new.rglob("*") if path.is_file() and path.name != RECORD
        }  # fmt: skip
        compared = [name for name in names if name not in TIMED]
        differ = []
        for name in track(compared, "compare", len(compared)):
            old_file, new_file = directory / name, new / name
            absent = [file for file in (old_file, new_file) if not file.is_file()]
            if absent:
                differ.append(f"{name}: not made again" if new_file in absent else f"{name}: gone")
            elif not _same(old_file, new_file):
                differ.append(f"{name}: differs")
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(f"{directory} made again: {len(compared) - len(differ)} of {len(compared)} files the same")
    left = [name for name in names if name in TIMED]
    if left:
        say(f"  not compared, because they hold times: {', '.join(left)}")
    return differ


def _same(old: Path, new: Path) -> bool:
    if old.name == WEIGHTS:  # the header says where the prepared set lay
        headers, tensors = [], []
        for path in (old, new):
            with safe_open(path, "pt") as file:
                header = json.loads(file.metadata()["neuromusic"])
            headers.append({key: value for key, value in header.items() if key != "prepared"})
            tensors.append(safetensors.torch.load_file(path))
        first, second = tensors
        return headers[0] == headers[1] and list(first) == list(second) and all(
            torch.equal(value, second[key]) for key, value in first.items()
        )  # fmt: skip
    return filecmp.cmp(old, new, shallow=False)


def other_versions(made: dict[str, Any]) -> list[str]:
    """Return what is not as it was when a record was made: versions, as "torch 2.10 (now 2.11)"."""
    now = {name: metadata.version(name) for name in made.get("packages", {})}
    then = dict(made.get("packages", {})) | {"neuromusic": made.get("code_version", __version__)}
    now["neuromusic"] = __version__
    return [f"{name} {then[name]} (now {now[name]})" for name in then if then[name] != now[name]]


def verify(directory: Path, again: bool, say: Say) -> bool:
    """Say whether a directory is as recorded and, ``again``, whether its step gives it again.

    Returns whether it is, as far as it is here. Raises InputError as `check` and `rerun`.
    """
    directory = Path(directory)
    results, others = check(directory)
    for one in results:
        say(as_text(directory, one))
    if others:
        groups: dict[str, int] = {}
        for name in others:
            top = name.split("/")[0] + ("/" if "/" in name else "")
            groups[top] = groups.get(top, 0) + 1
        names = (f"{top} ({n} files)" if top.endswith("/") else top for top, n in groups.items())
        say(f"in {directory}, but in no record: {', '.join(names)}")
    good = all(one.is_good for one in results)
    if again:
        own = [one for one in results if one.path == directory / RECORD]
        if not own:
            raise InputError(f"{directory}: is many steps; name one of them for --rerun")
        if own[0].inputs["changed"]:
            say("not made again: its inputs have changed")
            return False
        differ = rerun(directory, own[0], say)
        for line in differ:
            say(f"  {line}")
        versions = other_versions(own[0].made)
        if differ and versions:
            say(f"  recorded with other versions: {', '.join(versions)}")
        if differ and own[0].made["command"] == "train":
            say(f"  recorded on {own[0].made['device']}; other devices round otherwise")
        good = good and not differ
    return good
