"""How a training is going, from the files that it writes after each epoch."""

import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import readable
from neuromusic.core.progress import duration
from neuromusic.core.records import RECORD
from neuromusic.training.trained import CONFIG, METRICS, SECONDS

REMEDY = "train again"
STALLED_S, STALLED_EPOCHS = 60.0, 5  # without a sign of life for longer than both
MARKS = {"train": "\N{MIDDLE DOT}", "valid": "o"}
MOST_ROWS, LEAST_ROWS = 11, 4  # of a plot


@dataclass(frozen=True)
class Training:
    """The state of a training.

    ``metrics`` has one row per epoch, ``seconds`` their durations; ``n_epochs`` is how many the
    settings ask for, if that is known; ``silent_s`` is the time since the last change of a file.
    """

    directory: Path
    metrics: pd.DataFrame
    seconds: NDArray[np.float64]
    n_epochs: int | None
    is_finished: bool
    silent_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds until the last epoch, if they can be estimated."""
        if self.n_epochs is None or not len(self.seconds):
            return None
        return float(np.median(self.seconds)) * max(0, self.n_epochs - len(self.metrics))


def stored_settings(directory: Path) -> dict[str, Any]:
    """Return the settings of a network, or of a training that goes on, as they are on disk.

    They may be those of another version. Empty if there are none that can be read.
    """
    try:
        with readable(directory / CONFIG, "file of settings", REMEDY):
            return tomllib.loads((directory / CONFIG).read_text("utf-8"))
    except (FileNotFoundError, InputError):
        return {}


def find_trainings(directory: Path) -> list[Path]:
    """Return the trainings in a directory: itself, or the folds, trials and networks inside.

    Raises InputError if there are none.
    """
    if (directory / METRICS).is_file():
        return [directory]
    places = [directory, directory.parent / f".{directory.name}.partial"]
    found = [path.parent for place in places for path in sorted(place.glob(f"*/{METRICS}"))]
    if found:
        return found
    if not directory.is_dir():
        raise InputError(f"{directory}: does not exist (yet)")
    raise InputError(
        f"{directory}: has no {METRICS}, which a training writes after its first epoch; expected "
        "the output directory of train, crossval or sweep"
    )


def read_training(directory: Path) -> Training:
    """Read the state of a training; raises InputError if metrics.csv is damaged."""
    path = directory / METRICS
    with readable(path, "table of epochs", REMEDY):
        metrics = pd.read_csv(path)
        if "epoch" not in metrics:
            raise ValueError("it has no column epoch")
    seconds = np.empty(0)
    if (directory / SECONDS).is_file():
        with readable(directory / SECONDS, "table of durations", REMEDY):
            seconds = pd.read_csv(directory / SECONDS)["seconds"].to_numpy(float)
    n_epochs = stored_settings(directory).get("train", {}).get("epochs")
    silent_s = max(0.0, time.time() - path.stat().st_mtime)
    is_finished = (directory / RECORD).is_file()
    return Training(directory, metrics, seconds, n_epochs, is_finished, silent_s)


def state_line(training: Training) -> str:
    """Return the state in one line: epochs, losses, time left."""
    last, n = training.metrics.iloc[-1], len(training.metrics)
    of = f" of {training.n_epochs}" if training.n_epochs else ""
    words = {"train_loss": "training loss", "valid_loss": "validation loss",
             "valid_accuracy": "validation accuracy"}  # fmt: skip
    values = [f"{word} {last[key]:.3f}" for key, word in words.items() if key in last]
    parts = [f"{training.directory}: epoch {n}{of}", *values]
    if training.is_finished:
        parts.append("finished")
    elif training.left_s is not None:
        parts.append(f"about {duration(max(1.0, training.left_s))} left")
    return ", ".join(parts)


def stalled_line(training: Training) -> str:
    """Return a warning if nothing was written for long; empty otherwise."""
    usual_s = float(np.median(training.seconds)) if len(training.seconds) else 0.0
    if training.is_finished or training.silent_s < max(STALLED_S, STALLED_EPOCHS * usual_s):
        return ""
    return (
        f"nothing was written for {duration(training.silent_s)}; if the training has stopped, "
        "continue it with the same command and --resume"
    )


def curves(training: Training, width: int, height: int) -> str:
    """Return loss and accuracy over the epochs, drawn with characters.

    ``width`` is in columns; both plots together take about ``height`` lines, if that is possible.
    """
    n_rows = int(np.clip(height // 2 - 4, LEAST_ROWS, MOST_ROWS))
    plots = []
    for metric in ("loss", "accuracy"):
        series = {
            split: training.metrics[f"{split}_{metric}"].to_numpy(float)
            for split in MARKS
            if f"{split}_{metric}" in training.metrics
        }
        if series:
            names = ", ".join(f"{MARKS[split]} {_NAMES[split]}" for split in series)
            top = 1.0 if metric == "accuracy" else None
            plots.append("\n".join([f"{metric} ({names})", *_plot(series, (n_rows, width), top)]))
    return "\n\n".join(plots)


_NAMES = {"train": "training", "valid": "validation"}


def _plot(
    series: Mapping[str, NDArray[np.float64]], size: tuple[int, int], top: float | None
) -> Sequence[str]:
    """Return the lines of a plot of ``size`` (rows, columns), from 0 to ``top`` or the largest."""
    n_rows, width = size
    finite = [values[np.isfinite(values)] for values in series.values()]
    highest = top or max((values.max() for values in finite if len(values)), default=1.0) or 1.0
    n_epochs = max(map(len, series.values()))
    columns = max(10, min(width - 9, n_epochs))
    grid = [[" "] * columns for _ in range(n_rows)]
    for split, values in series.items():
        for column, part in enumerate(np.array_split(values, min(columns, len(values)))):
            mean = float(np.nanmean(part)) if np.isfinite(part).any() else np.nan
            if np.isfinite(mean):
                height = min(max(mean / highest, 0.0), 1.0)
                grid[round((1 - height) * (n_rows - 1))][column] = MARKS[split]
    labels = {0: f"{highest:.2f}", n_rows - 1: "0.00"}
    rows = [f"{labels.get(k, ''):>6} |{''.join(row).rstrip()}" for k, row in enumerate(grid)]
    return [*rows, f"{'':6} +{'-' * columns} {n_epochs} epochs"]
