"""How well a network does: window and clip scores with intervals, beside its random twin.

A test clip counts once although it was played four times. What the numbers are: `metrics`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design import leaks
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.evaluation.metrics import calibration, confusion_matrix, f1_scores, summarise
from neuromusic.evaluation.predict import prediction_table
from neuromusic.features.prepared import PreparedSet, open_prepared
from neuromusic.features.windows import cut_windows
from neuromusic.models.inference import in_threads, log_probabilities, pool_windows
from neuromusic.models.network import Network
from neuromusic.training.selection import labels, select
from neuromusic.training.trained import TrainedNetwork, best_device, random_twin


def score_rows(
    network: Network, data: PreparedSet, rows: NDArray[np.int64], hop: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return log-probabilities: a (windows, classes) for every row, and (rows, classes).

    Windows of silence alone are not scored.
    """

    def score(row: int) -> NDArray[np.float64]:
        features = data.row_features(row)
        windows, _ = cut_windows(features, network.spec.n_frames, hop, data.sounds(row))
        return log_probabilities(network, windows)

    per_window = list(in_threads(score, rows.tolist()))
    return per_window, np.stack([pool_windows(log_p) for log_p in per_window])


def heard_by(run: TrainedNetwork, data: PreparedSet) -> PreparedSet:
    """Return a set as a run hears it; raise InputError unless it is like what it was trained on."""
    heard = data.heard_as(run.kind, run.per_clip)
    for key in ("source", "front_end", "frame_s", "n_channels", "n_bands"):
        if heard.meta[key] != run.meta[key]:
            raise InputError(
                f"{data.directory}: {key} is {heard.meta[key]}; {run.directory} was trained "
                f"with {run.meta[key]}"
            )
    return heard


def test_rows(run: TrainedNetwork, data: PreparedSet) -> NDArray[np.int64]:
    """Return the rows to score: the set's test clips, or the runs that training left out."""
    settings = run.config.data
    if settings.test_runs and run.knows(data):
        return select(data, settings).test
    rows = np.flatnonzero((data.rows["split"] == "test") & (data.rows["variant"] == 0))
    if len(rows) == 0:
        raise InputError(
            f"{data.directory}: has no test clips; prepare some, or leave runs out of the training "
            "with data.test_runs"
        )
    return rows


test_rows.__test__ = False  # type: ignore[attr-defined]  # pytest: this is no test


def own_set(run: TrainedNetwork) -> PreparedSet:
    """Open the set that a run was trained on; raise InputError where it is no longer there."""
    if not run.prepared.is_dir():
        raise InputError(
            f"{run.prepared}: the set that {run.directory} was trained on is no longer there; put "
            "it back, or name its new place with --prepared"
        )
    return open_prepared(run.prepared)


def evaluate(
    run: TrainedNetwork, data: PreparedSet, artists: Path | None = None
) -> tuple[dict[str, Any], pd.DataFrame, NDArray[np.int64]]:
    """Score a run on the test clips of a prepared set.

    ``artists``: an artist table (see `leaks`). Then intervals are drawn over artists instead of
    clips, because clips of one artist are not independent; the scores have ``clean`` (see
    `score_clean`) and the table says in ``shares`` what a clip shares with the training.

    Returns (what goes into evaluation.json, a table with a row a clip, the confusion matrix).
    Raises InputError where the set does not fit the run.
    """
    given = data
    data = heard_by(run, data)
    truth_of = labels(data, run.classes)
    rows = test_rows(run, data)
    truth = truth_of[rows]
    names = data.rows.iloc[rows][["clip", "genre", "track", "split", "run", "trial"]]
    groups, over = np.arange(len(rows)), "clips"
    if artists:
        whose = with_artists(names, read_artists(artists), artists)["artist"]
        groups, over = pd.factorize(whose)[0], "artists"
    device = best_device()
    scores: dict[str, Any] = {}
    networks = {"trained": run.network, "random": random_twin(run)}
    for name, network in networks.items():
        per_window, log_p = score_rows(network.to(device), data, rows, run.hop_frames)
        counts = np.array([len(windows) for windows in per_window])
        clip = summarise(truth, log_p, groups, over)
        if name == "random":
            scores["random_weights"] = clip
            continue
        confusion = confusion_matrix(truth, log_p.argmax(1), len(run.classes))
        scores["clip"] = clip
        scores["window"] = summarise(
            np.repeat(truth, counts), np.concatenate(per_window), np.repeat(groups, counts), over
        )
        scores["per_genre"] = _per_genre(confusion, run.classes)
        scores["calibration"] = calibration(truth, log_p)
        table = prediction_table(names, log_p, run.classes)
    scores["chance"] = 1 / len(run.classes)
    scores["prepared"] = data.directory.name
    scores["model"] = run.config.model.name
    scores["parameters"] = sum(p.numel() for p in run.network.parameters())
    if artists:
        used = own_set(run) if not run.knows(given) else given
        table, trained = beside_training(run, used, table, artists)
        scores["clean"] = score_clean(table, run.classes) | trained
    return scores, table, confusion


def _per_genre(confusion: NDArray[np.int64], classes: list[str]) -> dict[str, Any]:
    f1, present = f1_scores(confusion), confusion.sum(1)
    return {
        genre: {
            "accuracy": float(confusion[i, i] / present[i]),
            "f1": float(f1[i]),
            "n": int(present[i]),
        }
        for i, genre in enumerate(classes)
        if present[i]
    }


def read_predictions(
    table: pd.DataFrame, classes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (true labels, log-probabilities) of a table of predictions."""
    truth = table["genre"].map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)
    return truth, np.log(table[classes].to_numpy().clip(1e-300))


def beside_training(
    run: TrainedNetwork, data: PreparedSet, table: pd.DataFrame, artists: Path
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Say of scored clips what they share with what a run was trained and validated on.

    ``data``: the set that it was trained on; ``table``: that of `evaluate`. Returns the table with
    the columns artist and shares (of `leaks.KINDS`, joined by commas; missing where nothing is
    shared); and how many clips and artists it was trained on (with the validation clips), and how
    many of these validation clips share anything with the training clips.
    """
    chosen = select(heard_by(run, data), run.config.data)
    known = read_artists(artists)

    def sides(rows: NDArray[np.int64]) -> pd.DataFrame:
        clips = data.rows.iloc[rows].drop_duplicates("clip")[["clip", "track"]]
        return with_artists(clips, known, artists)

    train, valid = sides(chosen.train), sides(chosen.valid)
    used = pd.concat([train, valid])
    scored = with_artists(table[["clip", "track"]], known, artists)
    kinds = leaks.shared_pairs(scored, used).drop_duplicates(["clip", "kind"])
    shares = kinds.groupby("clip")["kind"].agg(",".join)
    within = leaks.shared_pairs(valid, train)["clip"].nunique()
    counts = {
        "trained": {"n": len(used), "n_artists": used["artist"].nunique()},
        "validation": {"n": len(valid), "shared": within},
    }
    marked = table.assign(
        artist=scored["artist"].to_numpy(), shares=table["clip"].map(shares).astype(object)
    )
    return marked, counts


def score_clean(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """Score the clips that share no artist with the training, as `beside_training` marks them.

    Returns what `summarise` does of the clean clips, with n_artists; the same of all clips as
    ``whole`` and of the others as ``shared``; and ``shared_by``, how many scored clips share what.
    Of no clip there is n and n_artists alone. Intervals are drawn over artists.
    """
    truth, log_p = read_predictions(table, classes)
    artist = table["artist"].to_numpy()
    is_shared = table["shares"].notna().to_numpy()

    def part(which: NDArray[np.bool_]) -> dict[str, Any]:
        counts = {"n": int(which.sum()), "n_artists": len(np.unique(artist[which]))}
        if not which.any():
            return counts
        return summarise(truth[which], log_p[which], artist[which], "artists") | counts

    by = table["shares"].fillna("").str.split(",")
    return part(~is_shared) | {
        "whole": part(np.ones_like(is_shared)),
        "shared": part(is_shared),
        "shared_by": {kind: int(sum(kind in kinds for kinds in by)) for kind in leaks.KINDS},
    }


def clean_text(clean: dict[str, Any]) -> str:
    """Return what `score_clean` found as a short table."""
    lines = []
    if "trained" in clean:
        trained, valid = clean["trained"], clean["validation"]
        lines.append(
            f"trained and validated on {trained['n']} clips of {trained['n_artists']} artists"
        )
        if valid["n"]:
            lines.append(
                f"{valid['shared']} of {valid['n']} validation clips share an artist with a "
                "training clip"
            )
    lines.append(f"{'':16}{'accuracy':>9}  {'95 % interval':<15}{'n':>7}{'artists':>9}")
    parts = {"whole": clean["whole"], "clean": clean, "artist shared": clean["shared"]}
    for name, s in parts.items():
        accuracy, interval = "-", "-"
        if s["n"]:
            low, high = s["accuracy_ci95"]
            accuracy, interval = f"{s['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"
        lines.append(f"{name:16}{accuracy:>9}  {interval:<15}{s['n']:>7}{s['n_artists']:>9}")
    return "\n".join(lines)


def score_text(scores: dict[str, Any]) -> str:
    """Return the scores as a short table."""
    lines = [
        f"{'':16}{'accuracy':>9}  {'95 % interval':<15}{'cross-entropy':>14}{'Brier':>8}"
        f"{'macro F1':>10}{'n':>7}"
    ]
    for key in ("clip", "window", "random_weights"):
        s = scores[key]
        low, high = s["accuracy_ci95"]
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(
            f"{key.replace('_', ' '):16}{s['accuracy']:>9.3f}  {interval:<15}"
            f"{s['cross_entropy']:>14.3f}{s['brier']:>8.3f}{s['macro_f1']:>10.3f}{s['n']:>7}"
        )
    lines.append(f"{'chance':16}{scores['chance']:>9.3f}")
    lines.append(f"intervals over {scores['clip']['interval_over']}")
    lines.append(calibration_text(scores["calibration"]))
    genres = (f"{g} {s['accuracy']:.2f} of {s['n']}" for g, s in scores["per_genre"].items())
    lines.append("per genre: " + ", ".join(genres))
    return "\n".join(lines)


def calibration_text(found: dict[str, Any]) -> str:
    """Return what `metrics.calibration` found in a line."""
    lean = "over" if found["mean_confidence"] > found["accuracy"] else "under"
    beyond = found["error"] > found["error_if_calibrated_95"]
    return (
        f"calibration error {found['error']:.3f}; a calibrated network would show "
        f"{found['error_if_calibrated']:.3f} (95 % of them up to "
        f"{found['error_if_calibrated_95']:.3f}): "
        + (f"{lean}confident" if beyond else "no sign of miscalibration")
        + f" (mean confidence {found['mean_confidence']:.3f})"
    )
