"""What a network that was trained on other music adds on artists that are not in the training.

    python experiments/pretrained_member.py logmel_train.npz artists.tsv runs/cv-artists [more ...]

The sounds of the experiment's 480 training clips are not at hand, only their log-mel (128 bands,
77.6 ms per frame). It is interpolated in frequency and time to what musicnn takes in (96 bands,
16 ms; log10(10000 x + 1) of the power x), which blurs what is faster than 77.6 ms. A logistic
regression on the pooled units of musicnn classifies the clips in the folds of the
cross-validations named after the artist table (`crossval --group artist`); its strength is chosen
in folds of artists within each training part. Prints the accuracy, with its 95 % interval over
artists, of each cross-validation, of the regression, and of the means of their probabilities.

musicnn was trained on the Million Song Dataset, which may contain these tracks; musicnn-mtt on
MagnaTagATune, whose label's artists are others.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import neuromusic as nm
from neuromusic.core.progress import track
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.features.frontends.mel import mel_hz
from neuromusic.models.pretrained.musicnn import HOP, N_MELS, RATE_HZ
from neuromusic.stats.intervals import accuracy_ci95

# dB of the loudest value of a clip in musicnn's mel power: the median of 20 GTZAN excerpts.
LOUDEST_DB = 18.0
FRAMES, STEP = 187, 93  # of a window of musicnn, and to the next one
POOLED = ("mean_pool", "max_pool", "penultimate")
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", type=Path)
    parser.add_argument("artists", type=Path)
    parser.add_argument("crossvals", type=Path, nargs="+")
    args = parser.parse_args()
    data = np.load(args.features)
    tables = [pd.read_csv(path / "predictions.tsv", sep="\t") for path in args.crossvals]
    clips, classes = list(data["clip"]), sorted(set(data["genre"]))
    tables = [table.set_index("clip").loc[clips] for table in tables]
    folds = tables[0]["fold"].to_numpy()
    truth = data["genre"]
    known = pd.DataFrame({"clip": clips, "track": [c.rsplit("_", 1)[0] for c in clips]})
    artists = with_artists(known, read_artists(args.artists), args.artists)["artist"].to_numpy()
    found = {
        path.name: table[classes].to_numpy()
        for path, table in zip(args.crossvals, tables, strict=True)
    }
    for name in ("musicnn", "musicnn-mtt"):
        x = pooled(name, data["features"].astype(np.float32), float(data["frame_s"]))
        found[name] = probabilities(x, truth, folds, artists)
    names = list(found)
    print("| members | accuracy (95 % interval over artists) |\n| --- | --- |")
    for n in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, n):
            mean = np.mean([found[name] for name in chosen], axis=0)
            hit = np.array(classes)[mean.argmax(1)] == truth
            low, high = accuracy_ci95(hit, artists)
            print(f"| {', '.join(chosen)} | {hit.mean():.3f} ({low:.3f} to {high:.3f}) |")


def pooled(name: str, decibels: NDArray[np.float32], frame_s: float) -> NDArray[np.float32]:
    """Return musicnn's pooled units (clips, units), the mean over the windows of each clip."""
    network: Any = nm.get_network(name).module.eval()
    network.logmel = torch.nn.Identity()
    kept: dict[str, torch.Tensor] = {}
    for stage in POOLED:
        module = getattr(network, stage)
        module.register_forward_hook(
            lambda _, __, output, stage=stage: kept.__setitem__(stage, output)
        )
    rows = []
    for clip in track(decibels, name, len(decibels)):
        x = torch.from_numpy(as_musicnn_takes_it(clip, frame_s))
        starts = range(0, x.shape[1] - FRAMES + 1, STEP)
        with torch.inference_mode():
            network(torch.stack([x[:, first : first + FRAMES] for first in starts]))
        rows.append(np.concatenate([kept[stage].mean(0).numpy() for stage in POOLED]))
    return np.stack(rows)


def as_musicnn_takes_it(decibels: NDArray[np.float32], frame_s: float) -> NDArray[np.float32]:
    """Return log-mel (96, frames of 16 ms) from (128, frames) in dB below the loudest value."""
    of_bands = interp1d(
        mel_hz(len(decibels)), decibels, axis=0, bounds_error=False,
        fill_value=(decibels[0], decibels[-1]),
    )(mel_hz(N_MELS, RATE_HZ))  # fmt: skip
    times_s = frame_s * np.arange(decibels.shape[1])
    dense = interp1d(times_s, of_bands, axis=1)(np.arange(0, times_s[-1], HOP / RATE_HZ))
    power = 10 ** ((dense + LOUDEST_DB) / 10)
    return np.log10(10_000 * power + 1).astype(np.float32)


def probabilities(
    x: NDArray[np.float32], truth: NDArray[np.str_], folds: NDArray[np.int64],
    artists: NDArray[np.object_],
) -> NDArray[np.float64]:  # fmt: skip
    """Return the probabilities (clips, classes) of a regression fitted without a clip's fold."""
    out = np.zeros((len(x), len(set(truth))))
    for fold in np.unique(folds):
        train = folds != fold
        inner = StratifiedGroupKFold(3).split(x[train], truth[train], artists[train])
        parts = list(inner)
        scores = [
            np.mean([
                model(c).fit(x[train][fit], truth[train][fit]).score(x[train][held],
                                                                      truth[train][held])
                for fit, held in parts
            ])
            for c in STRENGTHS
        ]  # fmt: skip
        best = STRENGTHS[int(np.argmax(scores))]
        out[~train] = model(best).fit(x[train], truth[train]).predict_proba(x[~train])
    return out


def model(strength: float) -> object:
    """Return a logistic regression on standardised units."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))


if __name__ == "__main__":
    main()
