"""What all figures share: style, size, colours and files. Every figure is saved by `save`."""

import io
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError

if TYPE_CHECKING:  # imported where it is used: `--help` must start fast
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

P = ParamSpec("P")
Drawn = TypeVar("Drawn")

FORMATS = ("png", "pdf", "svg")
COLUMN_MM, PAGE_MM = 88.0, 180.0  # width of a column and of a page in most journals
NARROWEST_MM, WIDEST_MM = 80.0, 400.0  # between them, no text overlaps
MM_PER_INCH = 25.4
DPI = 300
FONT_SIZE = 7.0  # in points, at the size at which the figure is saved
SMALLEST_FONT = 4.5

# Wong 2011, Nature Methods 8, 441: distinct for people with a colour-vision deficiency too.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY, LIGHT_GREY = "0.45", "0.85"
SEQUENTIAL = "cividis"  # colours of values; it has the same order for all kinds of colour vision

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE + 1,
    "figure.titlesize": FONT_SIZE + 1,
    "legend.fontsize": FONT_SIZE,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "errorbar.capsize": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # embedded as TrueType: text can be searched and edited
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "neuromusic",  # the same figure has the same bytes
}
# Without dates and versions, for the same reason.
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


@dataclass(frozen=True)
class FigureStyle:
    """Formats and width of the figures that a command draws.

    Parameters
    ----------
    formats : tuple of {"png", "pdf", "svg"}
        Each figure is written once per format. PNG has 300 dots per inch; fonts are embedded in
        PDF, and text stays text in SVG.
    width_mm : float, optional
        Width of every figure, 80 to 400 mm; text keeps its size of 7 to 8 points. By default simple
        figures are as wide as a column (88 mm), and those of several panels as a page (180 mm).

    Raises
    ------
    InputError
        If a format is unknown, or the width is out of range.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.FigureStyle(("pdf", "svg"), width_mm=120).formats
    ('pdf', 'svg')
    """

    formats: tuple[str, ...] = ("png",)
    width_mm: float | None = None

    def __post_init__(self) -> None:
        if not self.formats:
            raise InputError(f"figures: no format; choose from {', '.join(FORMATS)}")
        for name in self.formats:
            if name not in FORMATS:
                raise InputError(
                    f"figures: {name!r} is not a format of figures; choose from "
                    f"{', '.join(FORMATS)}"
                )
        width = self.width_mm
        if width is not None and not NARROWEST_MM <= width <= WIDEST_MM:
            raise InputError(
                f"figures: a width of {width:g} mm; expected {NARROWEST_MM:g} to {WIDEST_MM:g} mm"
            )

    def width(self, default_mm: float) -> float:
        """Return the width in mm of a figure whose own width is ``default_mm``."""
        return default_mm if self.width_mm is None else self.width_mm

    def names(self, stem: str) -> list[str]:
        """Return the file names of a figure."""
        return [f"{stem}.{form}" for form in dict.fromkeys(self.formats)]


# --- Drawing --------------------------------------------------------------------------------------


def styled(draw: Callable[P, Drawn]) -> Callable[P, Drawn]:
    """Decorate a function that draws, so that the user's matplotlib settings do not matter."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Drawn:
        with _style():
            return draw(*args, **kwargs)

    return wrapper


def _style() -> AbstractContextManager[None]:
    import matplotlib.style

    context: AbstractContextManager[None] = matplotlib.style.context(["default", STYLE])
    return context


def new_figure(width_mm: float, height_mm: float) -> "Figure":
    """Return an empty figure that arranges its parts without overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH), layout="constrained")


def add_legend(figure: "Figure | SubFigure", axis: "Axes", width_mm: float) -> None:
    """Add a legend of what an axis shows below a figure, in as many columns as fit."""
    handles, labels = axis.get_legend_handles_labels()
    column_mm = 10 + text_mm(labels)  # with the marker
    n_columns = int(np.clip(width_mm // column_mm, 1, len(labels)))
    figure.legend(handles, labels, ncols=n_columns, loc="outside lower center")


def wrapped(text: str, width_mm: float, size: float = FONT_SIZE + 1) -> str:
    """Break a text into lines that fit into a width at a font size in points."""
    character_mm = 0.56 * size * MM_PER_INCH / 72
    width = max(10, int(width_mm / character_mm))
    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


def text_mm(texts: list[str], size: float = FONT_SIZE) -> float:
    """Return about how long the longest of some texts is at a font size in points."""
    return max(map(len, texts), default=0) * 0.58 * size * MM_PER_INCH / 72


def fitting_size(width_mm: float, n_characters: int) -> float:
    """Return the font size in points, up to FONT_SIZE, at which a text fits into a width."""
    size = width_mm * 72 / MM_PER_INCH / (0.64 * n_characters + 0.5)
    return float(np.clip(size, SMALLEST_FONT, FONT_SIZE))


def percent(share: float) -> str:
    """Return a share as all texts and figures write it: 0.767 is "76.7 %", 1 is "100 %"."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


# --- Files ----------------------------------------------------------------------------------------


def save(figure: "Figure", stem: Path, style: FigureStyle) -> list[Path]:
    """Write a figure once per format, each file atomically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure, at its final size.
    stem : Path
        Path of the files without their suffix.
    style : FigureStyle
        The formats.

    Returns
    -------
    list of Path
        The files, in the order of the formats. The same figure gives the same bytes.
    """
    paths = [stem.with_name(name) for name in style.names(stem.name)]
    with _style():
        for path in paths:
            part = path.with_name(f".{path.name}")
            form = path.suffix[1:]
            figure.savefig(part, dpi=DPI, format=form, metadata=METADATA[form])
            part.replace(path)
    return paths


def as_svg(figure: "Figure") -> bytes:
    """Return a figure as SVG whose letters are outlines, so that it needs no font.

    The same figure gives the same bytes.
    """
    import matplotlib

    buffer = io.BytesIO()
    with _style(), matplotlib.rc_context({"svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    return buffer.getvalue()


def pixels(figure: "Figure") -> NDArray[np.uint8]:
    """Return a figure as an image (height, width, 3)."""
    import matplotlib.image

    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, dpi=DPI / 2, format="png")
    buffer.seek(0)
    return np.round(255 * matplotlib.image.imread(buffer)[..., :3]).astype(np.uint8)
