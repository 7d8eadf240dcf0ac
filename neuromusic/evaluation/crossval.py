"""Run-wise cross-validation: every training run is scored by a network trained without it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.evaluation.clean import read_predictions, score_clean
from neuromusic.evaluation.metrics import calibration, confusion_matrix, summarise
from neuromusic.evaluation.scores import Evaluation, score_network
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Config
from neuromusic.training.trained import TrainedNetwork


def fold_runs(data: PreparedSet, folds: int) -> list[list[int]]:
    """Return the training runs in ``folds`` groups of neighbouring runs."""
    train = data.rows["split"] == "train"
    runs = sorted(int(run) for run in data.rows.loc[train, "run"].dropna().unique())
    if not 2 <= folds <= len(runs):
        raise InputError(
            f"{data.directory}: {len(runs)} training runs cannot be split into {folds} folds; "
            f"choose folds from 2 to {len(runs)}"
        )
    return [[int(run) for run in part] for part in np.array_split(runs, folds)]


def cross_validate(
    config: Config,
    data: PreparedSet,
    folds: int,
    train: Callable[[Config, int], TrainedNetwork],
    artists: Path | None = None,
) -> Evaluation:
    """Train once per fold with ``train(config, fold)``, score its runs, and pool all clips.

    ``fold`` counts from 1. Returns the evaluation over all folds, with the accuracy of each. Folds
    are whole runs, and runs share artists: with an artist table, ``clean`` holds the pooled score
    of the clips whose artist is not in the training of their own fold (see `clean.score_clean`),
    and ``clean["folds"]`` the number of clips, of clean clips and of trained clips and the accuracy
    for each fold.
    """
    tables, scores = [], []
    for fold, runs in enumerate(fold_runs(data, folds), start=1):
        held_out = config.data.model_copy(update={"test_runs": runs})
        trained = train(config.model_copy(update={"data": held_out}), fold)
        evaluation = score_network(trained, data, artists)
        scores.append(evaluation.scores)
        tables.append(evaluation.predictions.assign(fold=fold))
    table = pd.concat(tables, ignore_index=True)
    pooled = _pool(table, scores, data.classes, by_artist=artists is not None)
    if artists:
        clean = score_clean(table, data.classes)
        pooled["clean"] = clean | {"folds": [_clean_fold(s) for s in scores]}
    truth, log_p = read_predictions(table, data.classes)
    confusion = confusion_matrix(truth, log_p.argmax(1), len(data.classes))
    return Evaluation(pooled, table, confusion)


def _pool(
    table: pd.DataFrame, scores: list[dict[str, Any]], classes: list[str], *, by_artist: bool
) -> dict[str, Any]:
    """Return the scores of all clips together; ``scores`` are those of the folds."""
    truth, log_p = read_predictions(table, classes)
    groups = pd.factorize(table["artist"])[0] if by_artist else np.arange(len(table))
    random_accuracy = np.average(
        [s["random_weights"]["accuracy"] for s in scores],
        weights=[s["clip"]["n"] for s in scores],
    )
    return {
        "clip": summarise(truth, log_p, groups, "artists" if by_artist else "clips"),
        "calibration": calibration(truth, log_p),
        "folds": [s["clip"]["accuracy"] for s in scores],
        "random_weights": {"accuracy": float(random_accuracy)},
        "chance": 1 / len(classes),
        "model": scores[0]["model"],
        "parameters": scores[0]["parameters"],
    }


def _clean_fold(scores: dict[str, Any]) -> dict[str, Any]:
    clean = scores["clean"]
    return {
        "n": clean["whole"]["n"],
        "n_clean": clean["n"],
        "n_trained": clean["trained"]["n"],
        "accuracy_clean": clean.get("accuracy"),
        "accuracy_shared": clean["shared"].get("accuracy"),
    }
