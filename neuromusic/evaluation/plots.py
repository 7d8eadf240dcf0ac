"""Figures of classification: confusions, calibration, learning curves, sweeps, comparisons."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuromusic.core.plotting import COLOURS
from neuromusic.features.frontends.mel import mel_hz
from neuromusic.stimuli.variants import VARIANTS


def confusion(counts: NDArray[np.int64], classes: list[str], title: str) -> Figure:
    """Draw a confusion matrix: rows are true, colours are shares of a row, numbers are counts."""
    n = len(classes)
    figure, axis = plt.subplots(figsize=(1.8 + 0.5 * n, 1.2 + 0.5 * n))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            _number(axis, (row, column), str(count), share[row, column], fontsize=9)
    _label_classes(axis, classes)
    axis.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(image, ax=axis, label="share of the true genre", fraction=0.046)
    return figure


def confusions(
    matrices: dict[str, NDArray[np.float64]], classes: list[str], notes: list[str]
) -> Figure:
    """Draw confusion matrices (title -> shares of each true class) side by side.

    Colours are on a square-root scale, so that confusions remain visible next to the diagonal;
    numbers are per cent. ``notes`` are printed below.
    """
    n = len(classes)
    size = 1.2 + 0.36 * n
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(size * len(matrices), size + 0.9), sharey=True,
        layout="constrained",
    )  # fmt: skip
    scale = matplotlib.colors.PowerNorm(0.5, 0, 1)
    for axis, (title, matrix) in zip(np.atleast_1d(axes), matrices.items(), strict=True):
        image = axis.imshow(matrix, cmap="Blues", norm=scale)
        for place, share in np.ndenumerate(matrix):
            if round(100 * share):
                _number(axis, place, f"{100 * share:.0f}", scale(share), fontsize=8)
        _label_classes(axis, classes)
        axis.set(xlabel="answer", title=title)
    np.atleast_1d(axes)[0].set_ylabel("true genre")
    bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.set_yticklabels(["0", "5", "20", "50", "100"])
    bar.set_label("% of the true genre")
    figure.supxlabel("cells off the diagonal: " + ";  ".join(notes), fontsize=9)
    return figure


def _number(
    axis: Axes, place: tuple[int, ...], text: str, darkness: float, fontsize: float
) -> None:
    """Write a number into a cell (row, column), in white if the cell is dark."""
    row, column = place
    colour = "white" if darkness > 0.6 else "black"
    axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=fontsize)


def _label_classes(axis: Axes, classes: list[str]) -> None:
    axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axis.set_yticks(range(len(classes)), classes)


def reliability(bins: pd.DataFrame, calibration: dict[str, float]) -> Figure:
    """Draw accuracy against confidence, and the number of clips in each bin of confidence.

    ``bins`` is the output of `metrics.reliability`, ``calibration`` that of `metrics.calibration`.
    """
    figure, (axis, below) = plt.subplots(
        2, 1, figsize=(4.6, 5.6), sharex=True, height_ratios=(4, 1), layout="constrained"
    )
    middle, width = (bins["low"] + bins["high"]) / 2, (bins["high"] - bins["low"]).iloc[0]
    axis.bar(
        middle, bins["expected_high"] - bins["expected_low"], width, bins["expected_low"],
        color="0.88", label="95 % of calibrated networks",
    )  # fmt: skip
    axis.plot([0, 1], [0, 1], color="0.6", lw=1)
    axis.plot(bins["confidence"], bins["accuracy"], "o", color=COLOURS[0], label="this network")
    axis.set(ylabel="accuracy", xlim=(0, 1), ylim=(-0.03, 1.03))
    axis.set_title(
        f"calibration error {calibration['error']:.3f} (calibrated: "
        f"{calibration['error_if_calibrated']:.3f}, up to "
        f"{calibration['error_if_calibrated_95']:.3f})",
        fontsize=9, pad=24,
    )  # fmt: skip
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 0.99))
    below.bar(middle, bins["n"], 0.9 * width, color="0.6")
    below.set(xlabel="confidence (probability of the predicted genre)", ylabel="clips")
    for panel in (axis, below):
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def learning_curves(metrics: pd.DataFrame) -> Figure:
    """Draw loss and accuracy over the epochs, as far as metrics.csv contains them."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for split, colour in (("train", "0.55"), ("valid", COLOURS[0])):
            if f"{split}_{metric}" in metrics:
                label = "training windows (augmented)" if split == "train" else "validation clips"
                axis.plot(metrics["epoch"], metrics[f"{split}_{metric}"], color=colour, label=label)
        unit = "cross-entropy (nats)" if metric == "loss" else metric
        axis.set(xlabel="epoch", ylabel=unit)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_ylim(0, 1)
    if "valid_loss" in metrics:
        best = metrics["epoch"][metrics["valid_loss"].idxmin()]
        for axis in axes:
            axis.axvline(best, color="0.8", lw=1, zorder=0)
        axes[0].annotate(
            f"kept: epoch {best:.0f}", (best, 1), xycoords=("data", "axes fraction"),
            ha="right", va="bottom", fontsize=8, color="0.4",
        )  # fmt: skip
    axes[0].legend(frameon=False)
    figure.tight_layout()
    return figure


def history(table: pd.DataFrame, metric: str, falls: bool) -> Figure:
    """Draw the trials of a sweep (columns trial, state and the metric) and the best one so far.

    ``falls``: whether lower values of the metric are better.
    """
    figure, axis = plt.subplots(figsize=(7, 3.4))
    table = table.sort_values("trial")
    complete = table["state"] == "complete"
    axis.scatter(
        table["trial"][complete], table[metric][complete], color=COLOURS[0], s=22, zorder=2,
        label="trained to the end",
    )  # fmt: skip
    axis.scatter(
        table["trial"][~complete], table[metric][~complete], facecolors="none", edgecolors="0.6",
        s=22, label="stopped early",
    )  # fmt: skip
    values = table[metric].where(complete)
    best = values.cummin() if falls else values.cummax()
    axis.step(table["trial"], best.ffill(), where="post", color=COLOURS[1], label="best so far")
    axis.xaxis.get_major_locator().set_params(integer=True)
    unit = "validation cross-entropy (nats)" if metric == "valid_loss" else "validation accuracy"
    axis.set(xlabel="trial", ylabel=unit)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def comparison(table: pd.DataFrame) -> Figure:
    """Draw the accuracies in `comparison.Comparison.table` with intervals, the best at the top."""
    n = len(table)
    figure, axis = plt.subplots(figsize=(8, 1.5 + 0.36 * n))
    y = np.arange(n)
    bars = [table["accuracy"] - table["accuracy_low"], table["accuracy_high"] - table["accuracy"]]
    axis.errorbar(
        table["accuracy"], y, xerr=np.maximum(bars, 0), fmt="o", color=COLOURS[0], capsize=3,
        label="accuracy, 95 % interval",
    )  # fmt: skip
    axis.scatter(table["random_weights"], y, marker="x", color="0.55", label="with random weights")
    if table["published"].notna().any():
        axis.scatter(
            table["published"], y, marker="D", facecolors="none", edgecolors=COLOURS[1],
            label="published", zorder=3,
        )  # fmt: skip
    axis.axvline(table["chance"].mean(), color="0.8", lw=1, zorder=0, label="chance")
    names = [f"{row.run}  ({row.model}, n = {row.n})" for row in table.itertuples()]
    axis.set_yticks(y, names)
    axis.set(xlim=(-0.02, 1.02), xlabel="accuracy", ylim=(n - 0.5, -0.5))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def variants(
    mels: list[NDArray[np.float32]], frame_s: float, texts: list[str], clip: str
) -> Figure:
    """Draw the log-mel (mels, frames), in dB, of a clip's variants, with their parameters."""
    figure, axes = plt.subplots(2, 5, figsize=(15, 5.2), sharex=True, sharey=True)
    high = max(float(mel.max()) for mel in mels)
    longest_s = max(mel.shape[1] for mel in mels) * frame_s
    n_mels = mels[0].shape[0]
    hz = mel_hz(n_mels)
    for index, (axis, mel) in enumerate(zip(axes.flat, mels, strict=False)):
        image = axis.imshow(
            mel, origin="lower", aspect="auto", cmap="magma", vmin=high - 70, vmax=high,
            extent=(0, mel.shape[1] * frame_s, 0, n_mels), interpolation="nearest",
        )  # fmt: skip
        axis.set_title(f"{index} {VARIANTS[index]}\n{texts[index]}", fontsize=9)
        axis.set_xlim(0, longest_s)
        marks = [200, 1000, 4000]
        axis.set_yticks([int(np.abs(hz - mark).argmin()) for mark in marks], marks)
    for axis in axes[1]:
        axis.set_xlabel("time (s)")
    for axis in axes[:, 0]:
        axis.set_ylabel("frequency (Hz)")
    figure.suptitle(clip)
    figure.tight_layout()
    figure.colorbar(image, ax=axes, label="dB", fraction=0.02, pad=0.01)
    return figure
