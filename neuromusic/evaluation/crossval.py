"""Cross-validation: every training run, or artist, is scored by a network trained without it."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.evaluation.clean import read_predictions, score_clean
from neuromusic.evaluation.metrics import calibration, confusion_matrix, summarise
from neuromusic.evaluation.scores import Evaluation, score_network
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Config
from neuromusic.training.trained import TrainedNetwork

Group = Literal["run", "artist"]


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


def fold_tracks(data: PreparedSet, folds: int, artists: Path) -> list[list[str]]:
    """Return the tracks of the training clips in ``folds`` groups; an artist is in one of them.

    The groups are alike in their numbers of clips of each class, as far as the artists permit.
    """
    rows = data.rows[(data.rows["split"] == "train") & (data.rows["variant"] == 0)]
    clips = with_artists(rows[["clip", "track", "genre"]], read_artists(artists), artists)
    n_artists = clips["artist"].nunique()
    if not 2 <= folds <= n_artists:
        raise InputError(
            f"{data.directory}: the training clips are by {n_artists} artists, who cannot be split "
            f"into {folds} folds"
        )
    parts = _balanced(clips["genre"].to_numpy(), clips["artist"].to_numpy(), folds)
    return [sorted(set(clips["track"].iloc[part])) for part in parts]


def _balanced(classes: NDArray[Any], groups: NDArray[Any], folds: int) -> list[NDArray[np.int64]]:
    """Return the rows of each fold, of stratified folds that keep groups together."""
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    with warnings.catch_warnings():
        # A class with fewer clips than folds is missing from some of them, which cannot be helped.
        warnings.simplefilter("ignore", UserWarning)
        split = StratifiedGroupKFold(folds).split(classes, classes, groups)
        return [np.sort(test) for _, test in split]


def held_out(
    data: PreparedSet, folds: int, group: Group, artists: Path | None
) -> list[dict[str, Any]]:
    """Return, for each fold, the settings of the section ``data`` that hold it out."""
    if group == "run":
        return [{"test_runs": runs} for runs in fold_runs(data, folds)]
    if group != "artist":
        raise InputError(f"group={group!r}: expected run or artist")
    if artists is None:
        raise InputError("group='artist': needs an artist table (artists, --artists)")
    return [{"test_tracks": tracks} for tracks in fold_tracks(data, folds, artists)]


def cross_validate(
    config: Config,
    data: PreparedSet,
    held: Sequence[dict[str, Any]],
    train: Callable[[Config, int], TrainedNetwork],
    artists: Path | None = None,
) -> Evaluation:
    """Train once per fold with ``train(config, fold)``, score what it left out, pool all clips.

    ``held`` is that of `held_out`; ``fold`` counts from 1. Returns the evaluation over all folds,
    with the accuracy of each. Runs share artists: with an artist table, ``clean`` holds the score
    of the clips whose artist is not in the training of their own fold (see `clean.score_clean`),
    and ``clean["folds"]`` the number of clips, of clean clips and of trained clips and the accuracy
    for each fold.
    """
    tables, scores = [], []
    for fold, settings in enumerate(held, start=1):
        of_fold = config.data.model_copy(update=settings)
        trained = train(config.model_copy(update={"data": of_fold}), fold)
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
