"""Score a network on clips and windows, with intervals, next to the same network untrained.

A test clip counts once, although it was presented four times. The metrics are in `metrics`.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.evaluation.clean import mark_shared, score_clean
from neuromusic.evaluation.metrics import (
    calibration,
    confusion_matrix,
    f1_scores,
    one_group,
    summarise,
)
from neuromusic.evaluation.predict import prediction_table
from neuromusic.features.prepared import PreparedSet, open_prepared
from neuromusic.features.windows import cut_windows
from neuromusic.models.inference import in_threads, log_probabilities, pool_windows
from neuromusic.models.network import Network
from neuromusic.training.selection import labels, select
from neuromusic.training.trained import TrainedNetwork, best_device

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The scores of a network on the test clips of a prepared set.

    Attributes
    ----------
    scores : dict
        Content of ``evaluation.json``.
    predictions : pandas.DataFrame
        One row per clip: its genre, track and place in the experiment, the prediction, and the
        probability of every class.
    confusion : int64 array (classes, classes)
        Clips by true class (rows) and predicted class (columns).
    """

    scores: dict[str, Any]
    predictions: pd.DataFrame
    confusion: NDArray[np.int64]


# --- What is scored -------------------------------------------------------------------------------


def training_set(trained: TrainedNetwork) -> PreparedSet:
    """Open the set that a network was trained on; raise InputError if it no longer exists."""
    if not trained.prepared.is_dir():
        raise InputError(
            f"{trained.prepared}: the set that {trained.directory} was trained on no longer "
            "exists; restore it, or pass its new location as prepared"
        )
    return open_prepared(trained.prepared)


def as_input_of(trained: TrainedNetwork, data: PreparedSet) -> PreparedSet:
    """Return a prepared set as a network's input; raise InputError unless it fits the network."""
    inputs = data.as_input(trained.input_kind, normalise_clips=trained.normalise_clips)
    key = inputs.meta.first_difference(trained.meta)
    if key is not None:
        raise InputError(
            f"{data.directory}: {key} is {getattr(inputs.meta, key)}; {trained.directory} was "
            f"trained with {getattr(trained.meta, key)}"
        )
    return inputs


def scored_rows(trained: TrainedNetwork, data: PreparedSet) -> NDArray[np.int64]:
    """Return the rows to score: the test clips of the set, or the runs held out of the training."""
    settings = trained.config.data
    if settings.holds_out and trained.is_trained_on(data):
        return select(data, settings).test
    rows = np.flatnonzero((data.rows["split"] == "test") & (data.rows["variant"] == 0))
    if len(rows) == 0:
        raise InputError(
            f"{data.directory}: has no test clips; prepare some, or hold runs out of the training "
            "with data.test_runs"
        )
    return rows


def check_scoring(trained: TrainedNetwork, data: PreparedSet, artists: Path | None) -> int:
    """Return the number of rows to score; raise InputError if `score_network` would.

    Nothing is computed with the network.
    """
    inputs = as_input_of(trained, data)
    labels(inputs, trained.classes)
    rows = scored_rows(trained, inputs)
    if artists:
        table = inputs.rows.iloc[rows][["clip", "track"]]
        mark_shared(table, _trained_on(trained, data), trained.config, artists)
    return len(rows)


def _trained_on(trained: TrainedNetwork, data: PreparedSet) -> PreparedSet:
    """Return the set that a network was trained on, as its input."""
    used = data if trained.is_trained_on(data) else training_set(trained)
    return as_input_of(trained, used)


# --- Scores ---------------------------------------------------------------------------------------


def score_network(
    trained: TrainedNetwork, data: PreparedSet, artists: Path | None = None
) -> Evaluation:
    """Score a network on the test clips of a prepared set.

    With an artist table (see `design.artists`), intervals are over artists instead of clips,
    because clips of one artist are not independent; the scores then contain ``clean`` (see
    `clean.score_clean`) and the predictions a column ``shares`` (see `clean.mark_shared`).

    Raises InputError if the set does not fit the network.
    """
    inputs = as_input_of(trained, data)
    all_labels = labels(inputs, trained.classes)
    rows = scored_rows(trained, inputs)
    clips = inputs.rows.iloc[rows][["clip", "genre", "track", "split", "run", "trial"]]
    truth, groups, over = all_labels[rows], np.arange(len(rows)), "clips"
    if artists:
        artist = with_artists(clips, read_artists(artists), artists)["artist"]
        groups, over = pd.factorize(artist)[0], "artists"
    if len(np.unique(groups)) == 1:
        log.warning("%s: %s", data.directory, one_group(len(rows), over))
    per_window, log_p = score_clips(trained, inputs, rows)
    counts = np.array([len(windows) for windows in per_window])
    confusion = confusion_matrix(truth, log_p.argmax(1), len(trained.classes))
    scores: dict[str, Any] = {
        "clip": summarise(truth, log_p, groups, over),
        "window": summarise(
            np.repeat(truth, counts), np.concatenate(per_window), np.repeat(groups, counts), over
        ),
        "per_genre": _per_genre(confusion, trained.classes),
        "calibration": calibration(truth, log_p),
    }
    _, random_log_p = score_clips(trained.control("random"), inputs, rows)
    scores |= {
        "random_weights": summarise(truth, random_log_p, groups, over),
        "chance": 1 / len(trained.classes),
        "prepared": data.directory.name,
        "model": trained.config.model.name,
        "parameters": sum(p.numel() for p in trained.network.parameters()),
    }
    table = prediction_table(clips, log_p, trained.classes)
    if artists:
        used = _trained_on(trained, data)
        table, trained_on = mark_shared(table, used, trained.config, artists)
        scores["clean"] = score_clean(table, trained.classes) | trained_on
    return Evaluation(scores, table, confusion)


def score_clips(
    trained: TrainedNetwork, data: PreparedSet, rows: NDArray[np.int64]
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return what `score_rows` does for a trained network.

    The members of an ensemble have windows of their own, so the only window of a clip is then the
    clip itself.
    """
    trained.network.to(best_device())
    parts = [
        score_rows(part.network, data, rows, part.hop_frames) for part in trained.parts.values()
    ]
    if len(parts) == 1:
        return parts[0]
    log_p = trained.combined([of_rows for _, of_rows in parts])
    return list(log_p[:, None]), log_p


def score_rows(
    network: Network, data: PreparedSet, rows: NDArray[np.int64], hop: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return log-probabilities of the windows of each row, (windows, classes), and of the rows.

    Those of the rows are (rows, classes). Windows without any sound are not scored. ``hop`` is the
    number of frames from one window to the next.
    """

    def score(row: int) -> NDArray[np.float64]:
        features = data.row_features(row)
        has_sound = data.frames_with_sound(row)
        windows, _ = cut_windows(features, network.spec.n_frames, hop, has_sound)
        return log_probabilities(network, windows)

    per_window = list(in_threads(score, rows.tolist()))
    return per_window, np.stack([pool_windows(log_p) for log_p in per_window])


def _per_genre(confusion: NDArray[np.int64], classes: list[str]) -> dict[str, Any]:
    f1, n_true = f1_scores(confusion), confusion.sum(1)
    return {
        genre: {
            "accuracy": float(confusion[i, i] / n_true[i]),
            "f1": float(f1[i]),
            "n": int(n_true[i]),
        }
        for i, genre in enumerate(classes)
        if n_true[i]
    }
