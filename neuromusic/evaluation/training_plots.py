"""Figures of trainings: learning curves, trials of a search, variants of a clip."""

import json

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from neuromusic.core.figures import (
    BLUE,
    FONT_SIZE,
    GREY,
    LIGHT_GREY,
    PAGE_MM,
    VERMILLION,
    FigureStyle,
    add_legend,
    new_figure,
    percent,
    styled,
    wrapped,
)
from neuromusic.features.frontends.mel import mel_hz
from neuromusic.stimuli.variants import VARIANTS

FREQUENCY_MARKS_HZ = (200, 1000, 4000)
RANGE_DB = 70  # shown below the loudest value


@styled
def learning_curves(metrics: pd.DataFrame, title: str, style: FigureStyle) -> Figure:
    """Draw loss and accuracy over the epochs, as far as metrics.csv contains them."""
    width = style.width(PAGE_MM)
    is_wide = width > 0.6 * PAGE_MM
    figure = new_figure(width, 68 if is_wide else 112)
    axes = figure.subplots(1, 2) if is_wide else figure.subplots(2, 1)
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for split, colour in (("train", GREY), ("valid", BLUE)):
            if f"{split}_{metric}" in metrics:
                label = "training windows (augmented)" if split == "train" else "validation clips"
                values = metrics[f"{split}_{metric}"]
                marker = "o" if len(metrics) == 1 else None
                axis.plot(metrics["epoch"], values, color=colour, label=label, marker=marker)
        unit = "cross-entropy (nats)" if metric == "loss" else "accuracy"
        axis.set(xlabel="epoch", ylabel=unit)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(-0.02, 1.02)
    if "valid_loss" in metrics:
        best = metrics["epoch"][metrics["valid_loss"].idxmin()]
        for axis in axes:
            axis.axvline(best, color=GREY, lw=0.8, ls=":", zorder=0)
        title = f"{title}, {len(metrics)} epochs; kept: epoch {best:.0f} (dotted line)"
    figure.suptitle(wrapped(title, width))
    add_legend(figure, axes[0], width)
    return figure


@styled
def history(table: pd.DataFrame, metric: str, falls: bool, style: FigureStyle) -> Figure:
    """Draw the trials of a sweep (columns trial, state and the metric) and the best one so far.

    ``falls``: whether lower values of the metric are better.
    """
    width = style.width(PAGE_MM)
    figure = new_figure(width, 75)
    axis = figure.add_subplot()
    table = table.sort_values("trial")
    complete = table["state"] == "complete"
    values = table[metric].where(complete)
    best = values.cummin() if falls else values.cummax()
    axis.step(
        table["trial"], best.ffill(), where="post", color=VERMILLION, label="best so far", zorder=1
    )
    axis.scatter(
        table["trial"][complete], table[metric][complete], color=BLUE, s=14, zorder=2,
        label="trained to the end",
    )  # fmt: skip
    axis.scatter(
        table["trial"][~complete], table[metric][~complete], facecolors="none", edgecolors=GREY,
        s=14, label="stopped early",
    )  # fmt: skip
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    unit = "validation cross-entropy (nats)" if metric == "valid_loss" else "validation accuracy"
    axis.set(xlabel="trial", ylabel=unit)
    n = int(complete.sum())
    text = f"{len(table)} trials: {n} trained to the end, {len(table) - n} stopped early"
    figure.suptitle(wrapped(text, width))
    add_legend(figure, axis, width)
    return figure


@styled
def variants(
    mels: list[NDArray[np.float32]], frame_s: float, texts: list[str], clip: str,
    style: FigureStyle,
) -> Figure:  # fmt: skip
    """Draw the log-mel (mels, frames), in dB, of a clip's variants, with their parameters."""
    width = style.width(PAGE_MM)
    n_columns = 5 if width > 0.8 * PAGE_MM else 2
    n_rows = -(-len(mels) // n_columns)
    figure = new_figure(width, 12 + 36 * n_rows)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True)
    high = max(float(mel.max()) for mel in mels)
    longest_s = max(mel.shape[1] for mel in mels) * frame_s
    for index, (axis, mel) in enumerate(zip(axes.flat, mels, strict=False)):
        n_mels, n_frames = mel.shape
        image = axis.imshow(
            mel, origin="lower", aspect="auto", cmap="magma", vmin=high - RANGE_DB, vmax=high,
            extent=(0, n_frames * frame_s, 0, n_mels), interpolation="nearest",
        )  # fmt: skip
        axis.set_facecolor(LIGHT_GREY)  # after the end of a faster variant
        axis.set_title(f"{index} {VARIANTS[index]}\n{texts[index]}", fontsize=FONT_SIZE - 1)
        axis.set_xlim(0, longest_s)
        _mark_frequencies(axis, n_mels)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    for axis in axes[:, 0]:
        axis.set_ylabel("frequency (Hz)")
    figure.suptitle(wrapped(f"{len(mels)} variants of {clip}", width))
    figure.colorbar(image, ax=axes, label="level (dB)", aspect=30, pad=0.01, extend="min")
    return figure


def brief(parameters: str) -> str:
    """Return the parameters of a variant, as JSON, in words with units; "as played" for none."""
    values = json.loads(parameters)
    words = {
        "snr_db": lambda x: f"signal-to-noise {x:.1f} dB",
        "shift": lambda x: f"by {percent(x)} of the clip",
        "rate": lambda x: f"{x:.2f} times as fast",
        "pitch_semitones": lambda x: f"{_signed(x, 2)} semitones",
        "rate_hz": lambda x: f"sampled at {x / 1000:.1f} kHz",
        "gain_db": lambda x: f"{_signed(x, 1)} dB",
        "margin": lambda x: f"separation margin {x:.2f}",
    }
    known = [write(values[key]) for key, write in words.items() if key in values]
    return ", ".join(known) or "as played"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _mark_frequencies(axis: Axes, n_mels: int) -> None:
    hz = mel_hz(n_mels)
    bands = [int(np.abs(hz - mark).argmin()) + 0.5 for mark in FREQUENCY_MARKS_HZ]
    axis.set_yticks(bands, [str(mark) for mark in FREQUENCY_MARKS_HZ])
