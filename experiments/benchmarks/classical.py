"""What classifiers without a sense of time reach on the folds of a run-wise cross-validation.

Each mel band's mean, deviation and mean absolute step over the whole clip, standardised on the
training runs, into logistic regression and an RBF support-vector machine. With --against, the clips
that a network and a classifier score differently, and the exact McNemar test.

    python experiments/benchmarks/classical.py prepared --against runs/cv
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from neuromusic.evaluation.crossval import fold_runs
from neuromusic.features.prepared import open_prepared
from neuromusic.stats.intervals import bootstrap_ci95


def main() -> None:
    """Print one row a classifier."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--against", type=Path, help="output of neuromusic crossval")
    arguments = parser.parse_args()
    data = open_prepared(arguments.prepared)
    rows = data.rows.query("split == 'train' and variant == 0")
    x = np.array([_statistics(data.row_features(row)) for row in rows["row"]])
    y = rows["genre"].to_numpy()
    run = rows["run"].to_numpy(int)
    classifiers = {
        "logistic regression": LogisticRegression(max_iter=2000, C=0.03),
        "RBF SVM": SVC(C=10),
    }
    for name, classifier in classifiers.items():
        hits = np.zeros(len(y), bool)
        for held in fold_runs(data, arguments.folds):
            out = np.isin(run, held)
            fitted = make_pipeline(StandardScaler(), classifier).fit(x[~out], y[~out])
            hits[out] = fitted.predict(x[out]) == y[out]
        low, high = bootstrap_ci95(hits, np.arange(len(hits)))
        line = f"{name:20} {hits.mean():.3f} ({low:.3f} to {high:.3f}), n {len(hits)}"
        if arguments.against:
            table = pd.read_csv(arguments.against / "predictions.tsv", sep="\t").set_index("clip")
            theirs = table.loc[rows["clip"]]
            net = (theirs["genre"] == theirs["predicted"]).to_numpy()
            better, worse = int((net & ~hits).sum()), int((hits & ~net).sum())
            p = scipy.stats.binomtest(better, better + worse).pvalue
            rng = np.random.default_rng(0)
            drawn = rng.integers(len(hits), size=(10_000, len(hits)))
            gain = np.percentile((net.astype(float) - hits)[drawn].mean(1), [2.5, 97.5])
            line += (
                f"; network {net.mean() - hits.mean():+.3f} ({gain[0]:+.3f} to {gain[1]:+.3f}), "
                f"better on {better} clips, worse on {worse}, McNemar p {p:.2g}"
            )
        print(line)


def _statistics(mel: np.ndarray) -> np.ndarray:
    return np.concatenate([mel.mean(1), mel.std(1), np.abs(np.diff(mel, axis=1)).mean(1)])


if __name__ == "__main__":
    main()
