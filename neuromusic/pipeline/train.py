"""Train a network on a prepared set; follow it in TensorBoard or Weights & Biases."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import need_package
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path
from neuromusic.core.outputs import add_resume_note, locked
from neuromusic.core.plan import is_dry_run
from neuromusic.core.progress import epoch_bars, epoch_text
from neuromusic.core.tables import read_table
from neuromusic.evaluation import plots, training_plots
from neuromusic.evaluation.metrics import confusion_matrix
from neuromusic.evaluation.scores import score_clips
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.training.config import Config, as_config
from neuromusic.training.devices import check_devices
from neuromusic.training.fit import Advance, fit, is_helper
from neuromusic.training.selection import labels, select
from neuromusic.training.trackers import Tracker
from neuromusic.training.trained import LAST, METRICS, TrainedNetwork, load_network

log = logging.getLogger(__name__)


def train(
    config: Config | Path | str | dict[str, Any],
    prepared: PreparedSet | Path | str,
    *,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
) -> TrainedNetwork:
    """Train a network on a prepared set.

    ``metrics.csv`` and the checkpoint ``last.ckpt`` are updated in ``out`` after every epoch;
    ``model.safetensors`` and the record are written at the end. If ``out`` holds the result of the
    same training, it is loaded instead.

    Parameters
    ----------
    config : Config, str, Path or dict
        Settings: a `Config`, a TOML file, a dictionary, the name of settings in the package
        ("cortex") or of a model with default settings ("cortex-z"; see `list_models`). `Config`
        describes every setting.
    prepared : PreparedSet, str or Path
        The training set, or its directory.
    out : str or Path
        Directory of the trained network.
    resume : bool
        Continue an unfinished training in ``out``. On the same machine it ends in the same weights,
        bit for bit, as if it had not been interrupted.
    overwrite : bool
        Replace everything in ``out`` if it contains another training, finished or not.

    Returns
    -------
    TrainedNetwork
        The network with the weights of the best validation epoch, in evaluation mode.

    Raises
    ------
    InputError
        If the settings ask for a device that does not exist, for another front end than the set
        has, or for windows longer than its clips; if the loss becomes NaN; if ``out`` contains
        something else, another training, or an unfinished one and ``resume`` is False.

    Examples
    --------
    >>> import neuromusic as nm
    >>> settings = {"model": {"name": "cortex-z", "options": {"size": "tiny"}},
    ...             "data": {"window_s": 5.0, "hop_s": 2.5}, "train": {"epochs": 1}}
    >>> network = nm.train(settings, "prepared_npz", out="network")
    >>> network.config.model.name, [stage.name for stage in network.network.stages]
    ('cortex-z', ['A1', 'belt', 'PB', 'T2T3', 'GRU'])
    """
    config, out = as_config(config), as_path(out)
    check_devices(config.train)
    data = as_prepared(prepared)
    helper = is_helper(config)
    name = config.model.name
    how = "with the same command" if resume else "with resume=True (neuromusic train --resume)"
    note = f"the finished epochs are kept in {out}; continue the training {how}"
    with epoch_bars(
        {f"train {name}": config.train.epochs}, disable=helper or is_dry_run()
    ) as update:

        def advance(row: dict[str, float]) -> None:
            update(f"train {name}", row["epoch"], f"train {epoch_text(row)}")

        # With several devices the other processes work in the same directory.
        shared = helper or is_dry_run()
        exclusive = contextlib.nullcontext() if shared else locked(out)
        with exclusive, add_resume_note(out, out / LAST, note):
            is_new = fit_tracked(config, data, out, resume, overwrite, advance)
    if helper:
        raise SystemExit(0)  # only the first process continues
    log.info("wrote %s" if is_new else "%s is up to date: its settings are unchanged", out)
    return load_network(out)


def fit_tracked(
    config: Config, data: PreparedSet, out: Path, resume: bool, overwrite: bool, advance: Advance
) -> bool:
    """Train as `training.fit.fit` does, and report to the trackers that the settings name.

    Raises InputError, before the training, if the package of a tracker is not installed.
    """
    settings = config.track
    if settings.tensorboard:
        need_package("tensorboard", "track")
    if settings.wandb != "off":
        need_package("wandb", "track")
    if not settings.tensorboard and settings.wandb == "off":
        return fit(config, data, out, resume, overwrite, advance)
    tracker = Tracker(config, out)

    def report(row: dict[str, float]) -> None:
        tracker.add_epoch(row)
        advance(row)

    with contextlib.closing(tracker):
        is_new = fit(config, data, out, resume, overwrite, report)
        if tracker.n_written:
            _track_figures(tracker, config, data, out)
    return is_new


def _track_figures(tracker: Tracker, config: Config, data: PreparedSet, out: Path) -> None:
    matrix = valid_confusion(out, data)
    if matrix is not None:
        title = f"{config.model.name}, validation clips"
        figure = plots.confusion(*matrix, title, FigureStyle())
        tracker.add_figure("confusion of the validation clips", figure)
    metrics = read_table(out / METRICS)
    figure = training_plots.learning_curves(metrics, config.model.name, FigureStyle())
    tracker.add_figure("learning curves", figure)


def valid_confusion(
    directory: Path, data: PreparedSet
) -> tuple[NDArray[np.int64], list[str]] | None:
    """Return the confusion matrix of the validation clips and the classes; None without clips."""
    trained = load_network(directory)
    rows = select(data, trained.config.data).valid
    if len(rows) == 0:
        return None
    _, log_p = score_clips(trained, data, rows)
    truth = labels(data, trained.classes)[rows]
    return confusion_matrix(truth, log_p.argmax(1), len(trained.classes)), trained.classes
