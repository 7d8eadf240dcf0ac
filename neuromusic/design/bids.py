"""BIDS file names: parse them into entities and build them from entities."""

import re
from dataclasses import dataclass
from pathlib import Path

from neuromusic.design.experiment import DS003720, Split


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
    def scanner_run(self) -> tuple[Split, int] | None:
        """Split and run number (from 1), or None without a run or a task of the experiment.

        ``task`` comes directly after ``sub`` and ``ses``, and ``run`` somewhere after it.
        """
        keys = [key for key in self.entities if key != "ses"]
        run = self.entities.get("run", "")
        if keys[:2] != ["sub", "task"] or not run.isdecimal():
            return None
        for split, task in DS003720.tasks.items():
            if self.entities["task"] == task:
                return split, int(run)
        return None


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
