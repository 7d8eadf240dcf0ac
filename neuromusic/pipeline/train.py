"""TODO: docstring."""

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import need_package
from neuromusic.core.outputs import kept, locked
from neuromusic.core.progress import Say, epoch_text
from neuromusic.evaluation import plots
from neuromusic.evaluation.metrics import confusion_matrix
from neuromusic.evaluation.scores import score_rows
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Config
from neuromusic.training.fit import Advance, fit
from neuromusic.training.selection import labels, select
from neuromusic.training.trackers import Tracker
from neuromusic.training.trained import METRICS, best_device, load_network


def valid_confusion(
    directory: Path, data: PreparedSet
) -> tuple[NDArray[np.int64], list[str]] | None:
    """Return the confusion matrix of a run's validation clips and the classes, or None."""
    run = load_network(directory)
    rows = select(data, run.config.data).valid
    if len(rows) == 0:
        return None
    _, log_p = score_rows(run.network.to(best_device()), data, rows, run.hop_frames)
    truth = labels(data, run.classes)[rows]
    return confusion_matrix(truth, log_p.argmax(1), len(run.classes)), run.classes


def fit_tracked(
    config: Config, data: PreparedSet, out: Path, resume: bool, advance: Advance
) -> bool:
    """Train as `training.fit` does, and tell the trackers of the settings.

    Raises InputError, before the training, where the package of a tracker is missing.
    """
    track = config.track
    if track.tensorboard:
        need_package("tensorboard", "track")
    if track.wandb != "off":
        need_package("wandb", "track")
    tracker = Tracker(config, out)
    if not track.tensorboard and track.wandb == "off":
        return fit(config, data, out, resume, advance)

    def tell(row: dict[str, float]) -> None:
        tracker.epoch(row)
        advance(row)

    with contextlib.closing(tracker):
        done = fit(config, data, out, resume, tell)
        if tracker.told:
            matrix = valid_confusion(out, data)
            if matrix is not None:
                counts, classes = matrix
                tracker.figure(
                    "confusion of the validation clips",
                    plots.confusion(counts, classes, f"{config.model.name}, validation clips"),
                )
            curves = plots.learning_curves(pd.read_csv(out / METRICS))
            tracker.figure("learning curves", curves)
    return done


def make_run(config: Config, prepared: Path, out: Path, resume: bool, say: Say) -> Path:
    """Train a network on a prepared set; a process that only helps another ends here."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from neuromusic.features.prepared import open_prepared
    from neuromusic.training.trained import LAST

    pass
    from neuromusic.training.fit import is_helper

    data = open_prepared(prepared)
    columns = (
        TextColumn("train {task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=is_helper(config)) as progress:
        task = progress.add_task(config.model.name, total=config.train.epochs)

        def advance(row: dict[str, float]) -> None:
            progress.update(task, completed=row["epoch"], description=epoch_text(row))

        remedy = "the same command goes on" if resume else "--resume goes on"
        text = f"the finished epochs are kept in {out}; {remedy}"
        # With several devices the other processes work in the same place.
        alone = contextlib.nullcontext() if is_helper(config) else locked(out)
        with alone, kept(out, out / LAST, text):
            done = fit_tracked(config, data, out, resume, advance)
    if is_helper(config):
        raise SystemExit(0)
    say(f"wrote {out}" if done else f"{out} is there already and unchanged")
    return out
