"""Figure of one scanner run: predicted genre probabilities over time and what was played."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuromusic.core.plotting import COLOURS
from neuromusic.design import grid


def timeline(
    probability: NDArray[np.float32], trials: pd.DataFrame, classes: list[str], title: str
) -> Figure:
    """Draw genre probabilities (n_volumes, classes) over a run, with a box around the true genre.

    ``trials`` are the presentations of the run with trial, onset_s and genre, the dummy included.
    """
    n_volumes = len(probability)
    end_s = n_volumes * grid.TR_S
    figure, axis = plt.subplots(figsize=(14, 3.6))
    image = axis.imshow(
        probability.T, aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest",
        extent=(0, end_s, len(classes) - 0.5, -0.5),
    )  # fmt: skip
    _draw_presentations(axis, trials, classes)
    axis.axvline(grid.CLIP_S, color="0.3", lw=0.8, ls="--")
    axis.text(grid.CLIP_S / 2, -0.7, "dummy", ha="center", va="bottom", fontsize=8)
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel=f"time (s); {n_volumes} volumes of {grid.TR_S} s", xlim=(0, end_s))
    axis.set_title(f"{title}: grey = predicted probability, boxes = what was played", pad=14)
    figure.colorbar(image, ax=axis, label="probability", pad=0.01)
    return figure


def _draw_presentations(axis: Axes, trials: pd.DataFrame, classes: list[str]) -> None:
    """Draw a box for each presentation in the row of its genre; dotted for the dummy."""
    for row in trials.itertuples():
        label = classes.index(row.genre)
        box = plt.Rectangle(
            (row.onset_s, label - 0.5), grid.CLIP_S, 1, fill=False, lw=1.6,
            ec=COLOURS[label % 10], ls=":" if row.trial == 0 else "-",
        )  # fmt: skip
        axis.add_patch(box)
