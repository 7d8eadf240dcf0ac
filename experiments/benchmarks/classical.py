"""Accuracy of classifiers of summary statistics over time, in a run-wise cross-validation.

The features are the mean, standard deviation and mean absolute change from frame to frame of each
mel band over the whole clip, standardised on the training runs. The classifiers are logistic
regression and a support vector machine with an RBF kernel. With --against, they are also compared
with a network on the same clips: difference in accuracy and exact, two-sided McNemar test.

    python experiments/benchmarks/classical.py prepared --against runs/cv
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from neuromusic.evaluation.crossval import fold_runs
from neuromusic.features.prepared import open_prepared
from neuromusic.stats.intervals import accuracy_ci95, difference_ci95
from neuromusic.stats.significance import mcnemar

CLASSIFIERS = {
    "logistic regression": LogisticRegression(max_iter=2000, C=0.03),
    "RBF SVM": SVC(C=10),
}


def main() -> None:
    """Print one row per classifier."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--against", type=Path, help="output of neuromusic crossval")
    arguments = parser.parse_args()
    data = open_prepared(arguments.prepared)
    rows = data.rows.query("split == 'train' and variant == 0")
    features = np.array([band_statistics(data.row_features(row)) for row in rows["row"]])
    for name, classifier in CLASSIFIERS.items():
        hits = crossvalidated_hits(classifier, features, rows, fold_runs(data, arguments.folds))
        low, high = accuracy_ci95(hits, np.arange(len(hits)))
        line = f"{name:20} {hits.mean():.3f} ({low:.3f} to {high:.3f}), n {len(hits)}"
        if arguments.against:
            line += f"; network {comparison(network_hits(arguments.against, rows), hits)}"
        print(line)


def band_statistics(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean, standard deviation and mean absolute change of each band, (3 x bands,)."""
    return np.concatenate([mel.mean(1), mel.std(1), np.abs(np.diff(mel, axis=1)).mean(1)])


def crossvalidated_hits(
    classifier: ClassifierMixin,
    features: NDArray[np.float32],
    rows: pd.DataFrame,
    folds: list[list[int]],
) -> NDArray[np.bool_]:
    """Return which clips are classified correctly by a classifier trained without their fold."""
    genre, run = rows["genre"].to_numpy(), rows["run"].to_numpy(int)
    hits = np.zeros(len(genre), bool)
    for held_out in folds:
        is_test = np.isin(run, held_out)
        fitted = make_pipeline(StandardScaler(), classifier)
        fitted.fit(features[~is_test], genre[~is_test])
        hits[is_test] = fitted.predict(features[is_test]) == genre[is_test]
    return hits


def network_hits(directory: Path, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which of the clips a cross-validated network classified correctly."""
    table = pd.read_csv(directory / "predictions.tsv", sep="\t").set_index("clip")
    predictions = table.loc[rows["clip"]]
    return (predictions["genre"] == predictions["predicted"]).to_numpy()


def comparison(network: NDArray[np.bool_], classifier: NDArray[np.bool_]) -> str:
    """Return the difference in accuracy with its interval, and McNemar's test, as text."""
    test = mcnemar(network, classifier)
    low, high = difference_ci95(network, classifier, np.arange(len(network)))
    return (
        f"{network.mean() - classifier.mean():+.3f} ({low:+.3f} to {high:+.3f}), better on "
        f"{test.only_first} clips, worse on {test.only_second}, McNemar p {test.p:.2g}"
    )


if __name__ == "__main__":
    main()
