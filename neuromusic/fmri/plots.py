"""TODO: docstring."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuromusic.core.plotting import COLOURS
from neuromusic.design import grid


def timeline(
    probability: NDArray[np.float32], trials: pd.DataFrame, classes: list[str], title: str
) -> Figure:
    """Draw genre probabilities (volumes, classes) over a run, the true genre marked on top."""
    n_vol = len(probability)
    figure, axis = plt.subplots(figsize=(14, 3.6))
    edge_s = n_vol * grid.TR_S
    image = axis.imshow(
        probability.T, aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest",
        extent=(0, edge_s, len(classes) - 0.5, -0.5),
    )  # fmt: skip
    for row in trials.itertuples():
        label = classes.index(row.genre)
        axis.add_patch(
            plt.Rectangle(
                (row.onset_s, label - 0.5),
                grid.CLIP_S,
                1,
                fill=False,
                lw=1.6,
                ec=COLOURS[label % 10],
                ls=":" if row.trial == 0 else "-",
            )
        )
    axis.axvline(grid.CLIP_S, color="0.3", lw=0.8, ls="--")
    axis.text(grid.CLIP_S / 2, -0.7, "dummy", ha="center", va="bottom", fontsize=8)
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel=f"time (s); {n_vol} volumes of {grid.TR_S} s", xlim=(0, edge_s))
    axis.set_title(f"{title}: grey = predicted probability, boxes = what was played", pad=14)
    figure.colorbar(image, ax=axis, label="probability", pad=0.01)
    return figure
