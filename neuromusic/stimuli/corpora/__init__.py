"""Sets of sound files on disk: a class/file tree, GTZAN, FMA.

Each kind has a module with the same two functions: ``table`` lists the files that exist (one row
per file: genre, track, clip, source, and split, run or fault if the set defines them), ``validate``
returns their problems.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path

if TYPE_CHECKING:
    import pandas as pd

    from neuromusic.stimuli.channels import Channel
    from neuromusic.stimuli.corpora.checks import Problem


@dataclass(frozen=True)
class Corpus:
    """A set of sound files.

    Parameters
    ----------
    kind : {"folder", "gtzan", "fma"}
        Layout: one folder per class, GTZAN's ``genres``, or FMA with its ``tracks.csv``.
    path : str or Path
        Directory of the files.
    tracks : str or Path, optional
        FMA only: ``tracks.csv`` of ``fma_metadata``.
    folds : bool
        Folder only: file names start with their fold, as in ESC-50 (``1-100032-A-0.ogg``).

    Raises
    ------
    InputError
        If ``tracks`` or ``folds`` does not fit ``kind``.

    Examples
    --------
    >>> import neuromusic as nm
    >>> corpus = nm.Corpus("folder", "genres")
    >>> corpus.table()[["genre", "track", "clip"]].iloc[0].tolist()
    ['blues', 'blues.00000', 'blues.00000_15s.wav']
    """

    kind: Literal["folder", "gtzan", "fma"]
    path: Path
    tracks: Path | None = None
    folds: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", as_path(self.path))
        if self.tracks is not None:
            object.__setattr__(self, "tracks", as_path(self.tracks))
        if (self.kind == "fma") != (self.tracks is not None):
            raise InputError(
                f"{self.path}: tracks is required for kind fma, and only allowed there"
            )
        if self.folds and self.kind != "folder":
            raise InputError(f"{self.path}: folds is only allowed for kind folder")

    def table(self) -> "pd.DataFrame":
        """Return one row per file that exists: genre, track, clip and source (its path).

        Raises InputError if there are no files, or files of one class only.
        """
        from neuromusic.stimuli.corpora import fma, folder, gtzan

        if self.kind == "folder":
            return folder.table(self.path, self.folds)
        if self.kind == "gtzan":
            return gtzan.table(self.path)
        assert self.tracks is not None
        return fma.table(self.path, self.tracks)

    def size(self) -> int | None:
        """Return how many files the complete set has, or None if unknown."""
        from neuromusic.stimuli.corpora import fma, gtzan

        return {"gtzan": gtzan.SIZE, "fma": fma.SIZE}.get(self.kind)

    def validate(self, least_s: float, channel: "Channel" = "mix") -> "list[Problem]":
        """Decode every file; return which are missing, corrupt, short (< least_s) or duplicate."""
        from neuromusic.stimuli.corpora import fma, folder, gtzan

        if self.kind == "folder":
            return folder.validate(self.path, least_s, channel)
        if self.kind == "gtzan":
            return gtzan.validate(self.path, least_s, channel)
        assert self.tracks is not None
        return fma.validate(self.path, self.tracks, least_s, channel)
