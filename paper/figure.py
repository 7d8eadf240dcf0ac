"""Draw figure.png of the paper from the table of experiments/README.md.

    python paper/figure.py

The table is that of `neuromusic benchmark experiments/benchmark-four.toml`.
"""

from pathlib import Path

import numpy as np

from neuromusic.core.figures import (
    BLUE,
    GREY,
    PAGE_MM,
    VERMILLION,
    FigureStyle,
    add_legend,
    new_figure,
    save,
    styled,
)

ROOT = Path(__file__).resolve().parents[1]
FOUR = "| musicnn, silero-vad, resemblyzer, cortex-z | joined |"
ROWS = {  # start of a row of the table -> label, colour, marker
    "| no network | baseline | .83 |": ("acoustic baseline", GREY, "D"),
    FOUR: ("four networks and the baseline", BLUE, "o"),
    "| the same four, random | joined |": ("the same with random weights", VERMILLION, "s"),
}
TARGETS = ("lowfreq", "highfreq", "envsounds", "pitch", "speech", "music")


def values(start: str) -> list[float]:
    """Return the six scores of the row of the table that begins with ``start``."""
    lines = (ROOT / "experiments/README.md").read_text("utf-8").splitlines()
    [row] = [line for line in lines if line.startswith(start)]
    return [float(cell.strip(" *")) for cell in row.split("|")[3:-1]]


@styled
def draw(out: Path) -> None:
    """Draw the scores of each component."""
    figure = new_figure(PAGE_MM, 70)
    axis = figure.add_subplot()
    for shift, (start, (label, colour, marker)) in zip((-0.15, 0, 0.15), ROWS.items(), strict=True):
        x = np.arange(len(TARGETS)) + shift
        axis.plot(x, values(start), marker, color=colour, label=label)
    axis.set_xticks(range(len(TARGETS)), TARGETS)
    axis.set(ylim=(0, 1), ylabel="squared correlation, median of ten splits")
    add_legend(figure, axis, PAGE_MM)
    save(figure, out.with_suffix(""), FigureStyle())


if __name__ == "__main__":
    draw(ROOT / "paper/figure.png")
