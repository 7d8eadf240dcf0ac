"""BIDS: names of files, which of them belong to a run, and which metadata a file inherits.

Names may have their entities in any order, and links that lead nowhere (files that DataLad has not
fetched) are remembered. docs/explanation/dependencies.md says why no library does this.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_json
from neuromusic.core.folders import check_present, find_files

# Entities that tell runs of one subject, session and task apart, besides run.
RUN_ENTITIES = ("acq", "ce", "rec", "dir")
RUN_SUFFIXES = ("events", "bold")
OTHER_DATA = {"derivatives", "sourcedata"}  # folders of a dataset that contain other datasets


class RunId(NamedTuple):
    """One run of one subject: what its events and its images have in common.

    Attributes
    ----------
    subject, session, task : str
        Labels; the session is "" if there are none.
    run : int
        Number of the run; 0 if the names have no ``run-``. It may restart in each session.
    others : tuple of (str, str)
        Further entities that tell runs apart, in the order of RUN_ENTITIES.
    """

    subject: str
    session: str
    task: str
    run: int
    others: tuple[tuple[str, str], ...] = ()

    @property
    def entities(self) -> dict[str, str]:
        """Entity -> value, in the order of BIDS."""
        pairs = [("sub", self.subject), ("ses", self.session), ("task", self.task), *self.others]
        pairs.append(("run", f"{self.run:02d}" if self.run else ""))
        return {key: value for key, value in pairs if value}

    @property
    def stem(self) -> str:
        """Beginning of file names, such as "sub-01_task-Test_run-02"."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())

    @property
    def label(self) -> str:
        """For messages, such as "sub-01 task-Test run-02"."""
        return self.stem.replace("_", " ")


@dataclass(frozen=True)
class BidsName:
    """A BIDS file name: ``key-value`` pairs, a suffix and an extension, joined by underscores.

    ``str(name)`` is the file name.

    Parameters
    ----------
    entities : dict of str
        Key -> value in the order of the name, such as ``{"sub": "A", "run": "01"}``. A part without
        a value, which BIDS does not allow but some programs write, has the value "".
    suffix : str
        What the file holds, such as "bold" or "events".
    extension : str
        Everything from the first dot of the last part, such as ".nii.gz".

    Examples
    --------
    >>> str(BidsName({"sub": "A", "task": "Test", "run": "01"}, "events", ".tsv"))
    'sub-A_task-Test_run-01_events.tsv'

    References
    ----------
    Brain Imaging Data Structure 1.9, "Common principles", section "Filenames".
    """

    entities: dict[str, str]
    suffix: str
    extension: str

    def __str__(self) -> str:
        parts = [f"{key}-{value}" if value else key for key, value in self.entities.items()]
        return "_".join([*parts, f"{self.suffix}{self.extension}"])

    @property
    def subject(self) -> str:
        """The subject's label, without ``sub-``."""
        return self.entities["sub"]

    @property
    def run_id(self) -> RunId | None:
        """The run that the file belongs to, or None if it has no task or an odd run number."""
        run = self.entities.get("run", "0")
        if not self.entities.get("task") or not run.isdecimal():
            return None
        others = tuple((key, self.entities[key]) for key in RUN_ENTITIES if key in self.entities)
        session = self.entities.get("ses", "")
        return RunId(self.subject, session, self.entities["task"], int(run), others)


def parse_bids_name(path: str | Path) -> BidsName | None:
    """Return the parts of a file name, or None if it is not a BIDS name of a subject's file.

    The name must begin with ``sub-``; ``ses-`` may only come second. The labels of both consist of
    letters and digits. An entity that occurs twice is refused.

    Examples
    --------
    >>> parse_bids_name("sub-A/func/sub-A_task-Test_run-01_space-MNI_bold.nii.gz").entities["space"]
    'MNI'
    """
    *parts, last = Path(path).name.split("_")
    suffix, dot, extension = last.partition(".")
    pairs = [part.partition("-")[::2] for part in parts]
    entities = dict(pairs)
    keys = [key for key, _ in pairs]
    labels = [entities[key] for key in ("sub", "ses") if key in entities]
    if keys[:1] != ["sub"] or "ses" in keys[2:] or len(entities) < len(keys):
        return None
    if not all(re.fullmatch("[A-Za-z0-9]+", label) for label in labels):
        return None
    return BidsName(entities, suffix, dot + extension)


# --- Datasets -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BidsFile:
    """A file of a dataset, and its name; the name is None if the file is inherited by others."""

    path: Path
    name: BidsName | None

    @property
    def run_id(self) -> RunId | None:
        """See `BidsName.run_id`."""
        return self.name.run_id if self.name else None


@dataclass(frozen=True)
class BidsIndex:
    """The events, functional images and their JSON files of a dataset.

    Parameters
    ----------
    directory : Path
        Where the dataset begins.
    files : list of BidsFile
        All files with a suffix of RUN_SUFFIXES, sorted by path.
    broken : list of Path
        Links to nothing, such as files that DataLad has not fetched.
    """

    directory: Path
    files: list[BidsFile]
    broken: list[Path]

    def select(self, suffix: str, extensions: Iterable[str]) -> list[BidsFile]:
        """Return the files of runs with a suffix and one of the extensions."""
        wanted = tuple(extensions)
        return [
            file
            for file in self.files
            if file.name and file.name.suffix == suffix and file.name.extension in wanted
        ]

    def select_own(self, suffix: str, extensions: Iterable[str]) -> list[BidsFile]:
        """Return the same without derivatives and source data, unless there are no others."""
        files = self.select(suffix, extensions)
        return [file for file in files if not _is_other(file.path, self.directory)] or files

    @cached_property
    def _inherited(self) -> dict[tuple[Path, str], list[tuple[frozenset[str], Path]]]:
        """(folder, ending of the name) -> the entities of each file, and its path."""
        found: dict[tuple[Path, str], list[tuple[frozenset[str], Path]]] = {}
        for file in self.files:
            *entities, last = file.path.name.split("_")
            found.setdefault((file.path.parent, last), []).append((frozenset(entities), file.path))
        return found

    def inherited(self, path: Path, last: str) -> list[Path]:
        """Return the files whose content applies to a file of the dataset, the closest first.

        They lie in its folder or above, up to the top of the dataset, and their names have only
        entities that the file's name has (BIDS 1.10, "The inheritance principle"). ``last`` is the
        end of their names, such as "bold.json".
        """
        entities = set(path.name.split("_")[:-1])
        found: list[Path] = []
        for folder in path.parents:
            candidates = [
                (len(own), each)
                for own, each in self._inherited.get((folder, last), ())
                if own <= entities
            ]
            found += [each for _, each in sorted(candidates, reverse=True)]
            if folder == self.directory:
                break
        return found

    def metadata(self, path: Path, suffix: str, key: str) -> tuple[Any, Path] | None:
        """Return a value from the JSON files of a file, and which of them has it; None if none.

        Raises InputError if one of them is not a JSON object.
        """
        for sidecar in self.inherited(path, f"{suffix}.json"):
            content = self._read(sidecar)
            if content.get(key) is not None:
                return content[key], sidecar
        return None

    def _read(self, sidecar: Path) -> dict[str, Any]:
        if sidecar not in self._contents:
            content = read_json(sidecar, "expected the description of an image")
            if not isinstance(content, dict):
                raise InputError(f"{sidecar}: is not a JSON object; expected metadata")
            self._contents[sidecar] = content
        return self._contents[sidecar]

    @cached_property
    def _contents(self) -> dict[Path, dict[str, Any]]:
        return {}


def index_bids(directory: Path, expected: str = "a BIDS dataset") -> BidsIndex:
    """Return the events, functional images and JSON files of a dataset, through links.

    Raises InputError if ``directory`` is not a folder. Links to nothing matter only to what needs
    them: events (`check_events_present`) or images.
    """
    found = find_files(directory, _is_indexed, expected)
    files = [BidsFile(path, parse_bids_name(path)) for path in found.files]
    return BidsIndex(Path(directory), files, found.broken)


def check_events_present(index: BidsIndex) -> None:
    """Raise InputError for a link to nothing that is an events file, or may hold some.

    A link without a suffix below the folder of a subject, or in its place, may have led to a folder
    of events.
    """
    for path in index.broken:
        if _is_other(path, index.directory):
            continue
        is_of_subject = path.relative_to(index.directory).parts[0].startswith("sub-")
        if path.name.endswith("_events.tsv") or (is_of_subject and not path.suffix):
            check_present([path])


def _is_other(path: Path, directory: Path) -> bool:
    return bool(OTHER_DATA & set(path.relative_to(directory).parts))


def _is_indexed(name: str) -> bool:
    stem, _, _ = name.partition(".")
    return stem.endswith(tuple(f"_{suffix}" for suffix in RUN_SUFFIXES)) or stem in RUN_SUFFIXES


def in_order(runs: Iterable[RunId], first_tasks: Callable[[str], int]) -> list[RunId]:
    """Return runs by subject, ``first_tasks`` of the task, session, other entities and number."""
    return sorted(
        set(runs), key=lambda run: (run.subject, first_tasks(run.task), run.session, run.others,
                                    run.run, run.task),
    )  # fmt: skip
