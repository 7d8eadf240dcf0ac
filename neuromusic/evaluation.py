"""How well a network does: window and clip scores with intervals, beside its random twin.

The metrics are plain numpy; a test clip counts once although it was played four times.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import leaks
from neuromusic.errors import InputError
from neuromusic.inference import (
    in_threads,
    log_probabilities,
    pool_windows,
    prediction_table,
    windows_of,
)
from neuromusic.models import Network
from neuromusic.rundir import Run, best_device, random_twin
from neuromusic.selection import labels, select
from neuromusic.store import PreparedSet, open_prepared

BOOTSTRAPS = 10_000


def confusion_matrix(
    truth: NDArray[np.int64], guess: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Return counts (n, n): row the true class, column the predicted one."""
    return np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)


def f1_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 score of each class (n,); NaN for one that is neither there nor predicted."""
    hits = np.diag(confusion)
    total = confusion.sum(0) + confusion.sum(1)
    with np.errstate(invalid="ignore"):
        return 2 * hits / total


def cross_entropy(truth: NDArray[np.int64], log_p: NDArray[np.float64]) -> float:
    """Return the mean negative log-probability of the true class, in nats."""
    return float(-log_p[np.arange(len(truth)), truth].mean())


def bootstrap_ci95(
    hits: NDArray[np.bool_], groups: NDArray[np.int64], seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean, drawing whole groups (clips).

    ``hits`` (n,) and ``groups`` (n,), the number of each one's clip.
    """
    _, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group)
    good = np.bincount(group, weights=hits)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(size), size=(BOOTSTRAPS, len(size)))
    means = good[drawn].sum(1) / size[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def summarise(
    truth: NDArray[np.int64], log_p: NDArray[np.float64], groups: NDArray[np.int64]
) -> dict[str, Any]:
    """Return accuracy, accuracy_ci95, cross_entropy, macro_f1 and n."""
    guess = log_p.argmax(1)
    confusion = confusion_matrix(truth, guess, log_p.shape[1])
    return {
        "accuracy": float((truth == guess).mean()),
        "accuracy_ci95": list(bootstrap_ci95(truth == guess, groups)),
        "cross_entropy": cross_entropy(truth, log_p),
        "macro_f1": float(np.nanmean(f1_scores(confusion))),
        "n": len(truth),
    }


def score_rows(
    network: Network, data: PreparedSet, rows: NDArray[np.int64], hop: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return log-probabilities: a (windows, classes) for every row, and (rows, classes).

    Windows of silence alone are not scored.
    """

    def score(row: int) -> NDArray[np.float64]:
        features = data.row_features(row)
        windows, _ = windows_of(features, network.spec.n_frames, hop, data.sounds(row))
        return log_probabilities(network, windows)

    per_window = list(in_threads(score, rows.tolist()))
    return per_window, np.stack([pool_windows(log_p) for log_p in per_window])


def heard_by(run: Run, data: PreparedSet) -> PreparedSet:
    """Return a set as a run hears it; raise InputError unless it is like what it was trained on."""
    heard = data.heard_as(run.kind, run.per_clip)
    for key in ("source", "front_end", "frame_s", "n_channels", "n_bands"):
        if heard.meta[key] != run.meta[key]:
            raise InputError(
                f"{data.directory}: {key} is {heard.meta[key]}; {run.directory} was trained "
                f"with {run.meta[key]}"
            )
    return heard


def test_rows(run: Run, data: PreparedSet) -> NDArray[np.int64]:
    """Return the rows to score: the set's test clips, or the runs that training left out."""
    settings = run.config.data
    own = data.directory.resolve() == run.prepared
    if own and settings.test_runs:
        return select(data, settings).test
    rows = np.flatnonzero((data.rows["split"] == "test") & (data.rows["variant"] == 0))
    if len(rows) == 0:
        raise InputError(
            f"{data.directory}: has no test clips; prepare some, or leave runs out of the training "
            "with data.test_runs"
        )
    return rows


test_rows.__test__ = False  # type: ignore[attr-defined]  # pytest: this is no test


def evaluate(run: Run, data: PreparedSet) -> tuple[dict[str, Any], pd.DataFrame, NDArray[np.int64]]:
    """Score a run on the test clips of a prepared set.

    Returns (what goes into evaluation.json, a table with a row a clip, the confusion matrix).
    Raises InputError where the set does not fit the run.
    """
    data = heard_by(run, data)
    truth_of = labels(data, run.classes)
    rows = test_rows(run, data)
    truth = truth_of[rows]
    device = best_device()
    scores: dict[str, Any] = {}
    networks = {"trained": run.network, "random": random_twin(run)}
    for name, network in networks.items():
        per_window, log_p = score_rows(network.to(device), data, rows, run.hop_frames)
        counts = np.array([len(windows) for windows in per_window])
        clip = summarise(truth, log_p, np.arange(len(rows)))
        if name == "random":
            scores["random_weights"] = clip
            continue
        confusion = confusion_matrix(truth, log_p.argmax(1), len(run.classes))
        f1 = f1_scores(confusion)
        scores["clip"] = clip
        scores["window"] = summarise(
            np.repeat(truth, counts),
            np.concatenate(per_window),
            np.repeat(np.arange(len(rows)), counts),
        )
        present = confusion.sum(1)
        scores["per_genre"] = {
            genre: {
                "accuracy": float(confusion[i, i] / present[i]),
                "f1": float(f1[i]),
                "n": int(present[i]),
            }
            for i, genre in enumerate(run.classes)
            if present[i]
        }
        names = data.rows.iloc[rows][["clip", "genre", "split", "run", "trial"]]
        table = prediction_table(names, log_p, run.classes)
    scores["chance"] = 1 / len(run.classes)
    scores["prepared"] = data.directory.name
    scores["model"] = run.config.model.name
    scores["parameters"] = sum(p.numel() for p in run.network.parameters())
    return scores, table, confusion


def score_clean(run: Run, data: PreparedSet, table: pd.DataFrame, artists: Path) -> dict[str, Any]:
    """Score the clips that share no artist with what a run was trained and validated on.

    ``table`` is that of `evaluate`, ``artists`` an artist table (see `leaks`). Returns what
    `summarise` does of the clean clips, with n_artists; the same of all clips as ``whole`` and of
    the others as ``shared``; ``trained``, how many clips and artists the run knows; and
    ``shared_by``, how many scored clips share what. Of no clip there is n and n_artists alone.
    Intervals are drawn over artists, because clips of one artist are not independent.
    """
    own = heard_by(run, open_prepared(run.prepared))
    chosen = select(own, run.config.data)
    known = leaks.read_artists(artists)
    used = own.rows.iloc[np.concatenate([chosen.train, chosen.valid])]
    used = leaks.with_artists(used.drop_duplicates("clip")[["clip", "track"]], known, artists)
    scored = table[["clip"]].merge(data.rows.drop_duplicates("clip")[["clip", "track"]], "left")
    scored = leaks.with_artists(scored, known, artists)
    pairs = leaks.shared_pairs(scored, used)
    is_shared = scored["clip"].isin(pairs["clip"]).to_numpy()
    label_of = {name: i for i, name in enumerate(run.classes)}
    truth = table["genre"].map(label_of).to_numpy(np.int64)
    log_p = np.log(table[run.classes].to_numpy().clip(1e-300))
    artist, _ = pd.factorize(scored["artist"])

    def part(which: NDArray[np.bool_]) -> dict[str, Any]:
        counts = {"n": int(which.sum()), "n_artists": len(np.unique(artist[which]))}
        if not which.any():
            return counts
        return summarise(truth[which], log_p[which], artist[which]) | counts

    return part(~is_shared) | {
        "whole": part(np.ones_like(is_shared)),
        "shared": part(is_shared),
        "trained": {"n": len(used), "n_artists": used["artist"].nunique()},
        "shared_by": {k: pairs["clip"][pairs["kind"] == k].nunique() for k in leaks.KINDS},
    }


def clean_text(clean: dict[str, Any]) -> str:
    """Return what `score_clean` found as a short table."""
    trained = clean["trained"]
    lines = [
        f"trained and validated on {trained['n']} clips of {trained['n_artists']} artists; "
        "intervals over artists:",
        f"{'':16}{'accuracy':>9}  {'95 % interval':<15}{'n':>7}{'artists':>9}",
    ]
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
        f"{'':16}{'accuracy':>9}  {'95 % interval':<15}{'cross-entropy':>14}"
        f"{'macro F1':>10}{'n':>7}"
    ]
    for key in ("clip", "window", "random_weights"):
        s = scores[key]
        low, high = s["accuracy_ci95"]
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(
            f"{key.replace('_', ' '):16}{s['accuracy']:>9.3f}  {interval:<15}"
            f"{s['cross_entropy']:>14.3f}{s['macro_f1']:>10.3f}{s['n']:>7}"
        )
    lines.append(f"{'chance':16}{scores['chance']:>9.3f}")
    genres = (f"{g} {s['accuracy']:.2f} of {s['n']}" for g, s in scores["per_genre"].items())
    lines.append("per genre: " + ", ".join(genres))
    return "\n".join(lines)


def write_evaluation(directory: Path, scores: dict[str, Any], table: pd.DataFrame) -> None:
    """Write evaluation.json and predictions.tsv into a run directory."""
    from neuromusic.provenance import write_text

    write_text(directory / "evaluation.json", json.dumps(scores, indent=2) + "\n")
    text = table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6f")
    write_text(directory / "predictions.tsv", text)
