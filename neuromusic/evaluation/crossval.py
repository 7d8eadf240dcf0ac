"""Run-wise cross-validation: every training run is scored by a network that never heard it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.evaluation.metrics import calibration, confusion_matrix, summarise
from neuromusic.evaluation.scores import (
    calibration_text,
    clean_text,
    evaluate,
    read_predictions,
    score_clean,
)
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Config
from neuromusic.training.trained import load_network


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
    artists: Path | None = None,
) -> tuple[dict[str, Any], pd.DataFrame, NDArray[np.int64]]:
    """Train once a fold with ``train(config, directory)``, score its runs, and pool all clips.

    Returns what `evaluation.evaluate` returns, over all folds, with each fold's accuracy. Folds are
    whole runs, and runs share artists: with an artist table ``clean`` holds the pooled score of the
    clips whose artist their own fold's training lacks (see `evaluation.score_clean`), and
    ``clean["folds"]`` each fold's number of clips, of clean ones and of trained ones, and accuracy.
    """
    tables, scores = [], []
    for number, runs in enumerate(fold_runs(data, folds), start=1):
        settings = config.data.model_copy(update={"test_runs": runs})
        directory = out / f"fold-{number}"
        train(config.model_copy(update={"data": settings}), directory)
        fold_scores, table, _ = evaluate(load_network(directory), data, artists)
        scores.append(fold_scores)
        tables.append(table.assign(fold=number))
    table = pd.concat(tables, ignore_index=True)
    classes = data.classes
    truth, log_p = read_predictions(table, classes)
    groups = pd.factorize(table["artist"])[0] if artists else np.arange(len(table))
    pooled = {
        "clip": summarise(truth, log_p, groups, "artists" if artists else "clips"),
        "calibration": calibration(truth, log_p),
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
    if artists:
        pooled["clean"] = score_clean(table, classes) | {"folds": [_clean_fold(s) for s in scores]}
    counts = confusion_matrix(truth, log_p.argmax(1), len(classes))
    return pooled, table, counts


def _clean_fold(scores: dict[str, Any]) -> dict[str, Any]:
    clean = scores["clean"]
    return {
        "n": clean["whole"]["n"],
        "n_clean": clean["n"],
        "n_trained": clean["trained"]["n"],
        "accuracy_clean": clean.get("accuracy"),
        "accuracy_shared": clean["shared"].get("accuracy"),
    }


def text(scores: dict[str, Any]) -> str:
    """Return the pooled scores in a few lines."""
    s = scores["clip"]
    low, high = s["accuracy_ci95"]
    lines = [
        f"{scores['model']}: accuracy {s['accuracy']:.3f} ({low:.3f} to {high:.3f} over "
        f"{s['interval_over']}), {s['n']} clips; folds "
        f"{', '.join(f'{a:.3f}' for a in scores['folds'])}; random weights "
        f"{scores['random_weights']['accuracy']:.3f}, chance {scores['chance']:.3f}",
        calibration_text(scores["calibration"]),
    ]
    if "clean" in scores:
        lines += ["clips whose artist their fold's training has (shared) and lacks (clean):"]
        lines += [clean_text(scores["clean"])]
        parts = (
            f"{fold['n_clean']} of {fold['n']}"
            + (f" ({fold['accuracy_clean']:.3f})" if fold["n_clean"] else "")
            for fold in scores["clean"]["folds"]
        )
        lines += [f"clean clips of each fold (accuracy): {', '.join(parts)}"]
    return "\n".join(lines)
