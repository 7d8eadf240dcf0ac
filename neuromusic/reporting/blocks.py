"""What a page is made of: parts (one per directory), sections, and blocks of several kinds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.figures import FigureStyle

if TYPE_CHECKING:  # imported where it is used: sections are made before anything is drawn
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    text: str


@dataclass(frozen=True)
class Methods:
    """A paragraph for a methods section, with a button that copies it, and its references."""

    text: str
    references: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """Names and values, one pair per line."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and filtered; ``name`` is that of the file of its data."""

    name: str
    caption: str
    data: pd.DataFrame


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn for the page.

    Parameters
    ----------
    name : str
        Name of its files, without suffix.
    caption, alt : str
        The text below it, and what it shows, for those who do not see it.
    draw : callable
        Returns the figure in a style.
    data : DataFrame
        What is plotted.
    is_on_page : bool
        False for a figure that is only written as a file of its own.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[FigureStyle], "Figure"]
    data: pd.DataFrame
    is_on_page: bool = True


@dataclass(frozen=True)
class Picture:
    """A figure that a command has drawn before: a PNG or SVG file."""

    name: str
    caption: str
    alt: str
    path: Path


@dataclass(frozen=True)
class Confusions:
    """A confusion matrix whose cells name their clips.

    ``counts`` (classes, classes) has true classes in rows; ``clips`` has the names of the clips of
    each cell (true, predicted) that is not empty.
    """

    classes: Sequence[str]
    counts: NDArray[np.int64]
    clips: Mapping[tuple[int, int], Sequence[str]]


@dataclass(frozen=True)
class RunTimeline:
    """The probability of each class in each volume of a run, and what was played.

    ``probability`` (volumes, classes), NaN if a clip is missing; ``played`` has one row per
    presentation: first and last volume, trial, class and clip.
    """

    name: str
    tr_s: float
    probability: NDArray[np.floating]
    played: pd.DataFrame


@dataclass(frozen=True)
class Timelines:
    """Timelines of runs, of which the reader selects one."""

    classes: Sequence[str]
    runs: Sequence[RunTimeline]


@dataclass(frozen=True)
class Sounds:
    """Sounds to play: (name, what was done, Ogg file)."""

    rows: Sequence[tuple[str, str, bytes]]


@dataclass(frozen=True)
class Problem:
    """A sentence in the place of what could not be made."""

    text: str


Block = (
    Paragraph | Methods | Facts | Table | Drawing | Picture | Confusions | Timelines | Sounds
    | Problem
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A title, and a function that returns the blocks; it is called when the page is written."""

    title: str
    blocks: Callable[[], Sequence[Block]]


@dataclass(frozen=True)
class Part:
    """All that is said of one directory.

    Parameters
    ----------
    title : str
        What it is.
    source : Path
        The directory or file.
    sections : sequence of Section
        In the order in which people ask.
    notices : list of str
        What the reader must know first, such as that a training is not finished.
    """

    title: str
    source: Path
    sections: Sequence[Section]
    notices: Sequence[str] = ()
