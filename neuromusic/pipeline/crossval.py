"""Run-wise cross-validation of a network."""

import logging
from pathlib import Path
from typing import Any

from neuromusic.core import plotting
from neuromusic.core.records import RECORD, arguments, hash_inputs, record, record_hash
from neuromusic.evaluation import plots
from neuromusic.evaluation.clean import read_predictions
from neuromusic.evaluation.crossval import cross_validate
from neuromusic.evaluation.metrics import reliability
from neuromusic.evaluation.reports import crossval_report
from neuromusic.evaluation.scores import Evaluation
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.pipeline.evaluate import write_evaluation
from neuromusic.pipeline.train import train
from neuromusic.training.build import check_one_device
from neuromusic.training.config import Config, as_config
from neuromusic.training.trained import TrainedNetwork

log = logging.getLogger(__name__)


def crossval(
    config: Config | Path | str | dict[str, Any],
    prepared: PreparedSet | Path | str,
    *,
    out: Path | str,
    folds: int = 4,
    artists: Path | str | None = None,
) -> dict[str, Any]:
    """Score every training run by a network that was trained without it.

    Writes one trained network per fold (``fold-1`` and so on), the pooled scores
    (``evaluation.json``), ``predictions.tsv`` and figures. Folds that are already trained are not
    trained again, so the same call continues a cross-validation that was interrupted.

    Parameters
    ----------
    config : Config, str, Path or dict
        Settings, as in `train`.
    prepared : PreparedSet, str or Path
        The prepared set, or its directory.
    out : str or Path
        Output directory.
    folds : int
        Number of groups into which the training runs are divided.
    artists : str or Path, optional
        Artist table: a TSV with the columns track, artist_group and fault. With it, the clips whose
        artist is not in the training of their fold are also scored separately ("clean"), and
        intervals are over artists instead of clips.

    Returns
    -------
    dict
        The content of ``evaluation.json``: scores of all clips together ("clip"), the accuracy of
        each fold ("folds") and of random weights, the calibration, and chance.

    Raises
    ------
    InputError
        If the set has fewer training runs than folds, the settings name several devices, or a
        track is missing from the artist table.

    Examples
    --------
    >>> import neuromusic as nm
    >>> settings = {"model": {"name": "cortex-z", "options": {"size": "tiny"}},
    ...             "data": {"window_s": 5.0, "hop_s": 2.5, "validation_runs": 0},
    ...             "train": {"epochs": 1}}
    >>> scores = nm.crossval(settings, "prepared_npz", out="cv", folds=3)
    >>> scores["clip"]["n"], len(scores["folds"])
    (30, 3)
    """
    config, data, out = as_config(config), as_prepared(prepared), Path(out)
    artists = None if artists is None else Path(artists)
    check_one_device(config, "crossval")

    def train_fold(fold_config: Config, fold: int) -> TrainedNetwork:
        return train(fold_config, data, out=out / f"fold-{fold}", resume=True)

    evaluation = cross_validate(config, data, folds, train_fold, artists)
    title = f"{config.model.name}, {folds} folds"
    figures = _draw_figures(evaluation, data.classes, title, out)
    inputs = {"prepared": record_hash(data.directory)}
    inputs |= hash_inputs([artists] if artists else [])
    settings, places = arguments(prepared=data.directory, folds=folds, artists=artists)
    content = record("crossval", settings | config.of_training(), inputs, places=places)
    write_evaluation(out, evaluation, content, figures, RECORD)
    log.info("%s", crossval_report(evaluation.scores))
    log.info("wrote %s: evaluation.json, predictions.tsv, confusion.png and reliability.png", out)
    return evaluation.scores


def _draw_figures(evaluation: Evaluation, classes: list[str], title: str, out: Path) -> list[Path]:
    clip = evaluation.scores["clip"]
    title = f"{title}: {clip['accuracy']:.1%} of {clip['n']} clips"
    bins = reliability(*read_predictions(evaluation.predictions, classes))
    calibration = plots.reliability(bins, evaluation.scores["calibration"])
    return [
        plotting.save(plots.confusion(evaluation.confusion, classes, title), out / "confusion.png"),
        plotting.save(calibration, out / "reliability.png"),
    ]
