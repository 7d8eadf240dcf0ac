"""Figure of one scanner run: predicted genre probabilities over time and what was played."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from neuromusic.core.figures import (
    GREY,
    PAGE_MM,
    VERMILLION,
    FigureStyle,
    new_figure,
    styled,
    wrapped,
)


@styled
def timeline(
    probability: NDArray[np.float32], trials: pd.DataFrame, tr_s: float, classes: list[str],
    title: str, style: FigureStyle,
) -> Figure:  # fmt: skip
    """Draw genre probabilities (n_volumes, classes) over a run, with a box around the true genre.

    ``trials`` are the presentations of the run with trial, onset_s, duration_s and genre, the dummy
    included.
    """
    n_volumes = len(probability)
    end_s = n_volumes * tr_s
    width = style.width(PAGE_MM)
    figure = new_figure(width, 20 + 4 * len(classes))
    axis = figure.add_subplot()
    image = axis.imshow(
        probability.T, aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest",
        extent=(0, end_s, len(classes) - 0.5, -0.5),
    )  # fmt: skip
    _draw_presentations(axis, trials, classes)
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel=f"time (s); {n_volumes} volumes of {tr_s} s", xlim=(0, end_s))
    axis.spines[["top", "right"]].set_visible(True)
    clips = trials["clip"].nunique()
    text = f"{title}: {len(trials)} presentations of {clips} clips. Boxes: what was played"
    if (trials["trial"] == 0).any():
        lead_in_s = float(trials.loc[trials["trial"] == 1, "onset_s"].iat[0])
        axis.axvline(lead_in_s, color=GREY, lw=0.8, ls="--")
        text += " (dotted: dummy, not scored)"
    figure.suptitle(wrapped(text, width))
    figure.colorbar(image, ax=axis, label="predicted probability", pad=0.01, aspect=15)
    return figure


def _draw_presentations(axis: Axes, trials: pd.DataFrame, classes: list[str]) -> None:
    """Draw a box for each presentation in the row of its genre; dotted for the dummy."""
    for row in trials.itertuples():
        label = classes.index(row.genre)
        box = Rectangle(
            (row.onset_s, label - 0.5), row.duration_s, 1, fill=False, lw=0.9, ec=VERMILLION,
            ls=":" if row.trial == 0 else "-",
        )  # fmt: skip
        axis.add_patch(box)
