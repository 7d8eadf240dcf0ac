"""Run-wise cross-validation: every training run is scored by a network that never heard it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.config import Config
from neuromusic.errors import InputError
from neuromusic.evaluation import confusion_matrix, evaluate, summarise
from neuromusic.rundir import load_run
from neuromusic.store import PreparedSet


def fold_runs(data: PreparedSet, folds: int) -> list[list[int]]:
    """Return the training runs in so many groups of neighbours."""
    train = data.rows["split"] == "train"
    runs = sorted(int(run) for run in data.rows.loc[train, "run"].dropna().unique())
    if not 2 <= folds <= len(runs):
        raise InputError(
            f"{data.directory}: {len(runs)} training runs make no {folds} folds; "
            f"choose --folds from 2 to {len(runs)}"
        )
    return [[int(run) for run in part] for part in np.array_split(runs, folds)]


def cross_validate(
    config: Config,
    data: PreparedSet,
    folds: int,
    out: Path,
    train: Callable[[Config, Path], object],
) -> tuple[dict[str, Any], pd.DataFrame, NDArray[np.int64]]:
    """Train once a fold with ``train(config, directory)``, score its runs, and pool all clips.

    Returns what `evaluation.evaluate` returns, over all folds, with each fold's accuracy.
    """
    tables, scores = [], []
    for number, runs in enumerate(fold_runs(data, folds), start=1):
        settings = config.data.model_copy(update={"test_runs": runs})
        directory = out / f"fold-{number}"
        train(config.model_copy(update={"data": settings}), directory)
        fold_scores, table, _ = evaluate(load_run(directory), data)
        scores.append(fold_scores)
        tables.append(table.assign(fold=number))
    table = pd.concat(tables, ignore_index=True)
    classes = data.classes
    truth = table["genre"].map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)
    log_p = np.log(table[classes].to_numpy().clip(1e-12))
    pooled = {
        "clip": summarise(truth, log_p, np.arange(len(table))),
        "folds": [s["clip"]["accuracy"] for s in scores],
        "random_weights": {
            "accuracy": float(np.average(
                [s["random_weights"]["accuracy"] for s in scores],
                weights=[s["clip"]["n"] for s in scores],
            ))
        },
        "chance": 1 / len(classes),
        "model": config.model.name,
        "parameters": scores[0]["parameters"],
    }  # fmt: skip
    counts = confusion_matrix(truth, log_p.argmax(1), len(classes))
    return pooled, table, counts
