"""Score separately the clips that share no clip, track or artist with the training.

Two clips of one artist are alike, so a network does better on a test clip whose artist it was
trained on. Such clips are called *shared* here, the others *clean*.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.design import leaks
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.evaluation.metrics import summarise
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Config
from neuromusic.training.selection import select


def read_predictions(
    table: pd.DataFrame, classes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the true labels (n,) and the log-probabilities (n, classes) in a prediction table."""
    truth = table["genre"].map({name: i for i, name in enumerate(classes)}).to_numpy(np.int64)
    return truth, np.log(table[classes].to_numpy().clip(1e-300))


def mark_shared(
    table: pd.DataFrame, data: PreparedSet, config: Config, artists: Path
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Mark predictions of clips that share something with the training or validation clips.

    ``data`` is the training set as the network's input, ``config`` the settings of the training.

    Returns the table with the columns artist and shares (those of `leaks.KINDS` that apply, joined
    by commas; missing if none does), and counts: clips and artists that the network was trained and
    validated on, and validation clips that share something with the training clips.
    """
    selection = select(data, config.data)
    artist_table = read_artists(artists)

    def clips_of(rows: NDArray[np.int64]) -> pd.DataFrame:
        clips = data.rows.iloc[rows].drop_duplicates("clip")[["clip", "track"]]
        return with_artists(clips, artist_table, artists)

    train, valid = clips_of(selection.train), clips_of(selection.valid)
    used = pd.concat([train, valid])
    scored = with_artists(table[["clip", "track"]], artist_table, artists)
    pairs = leaks.shared_pairs(scored, used).drop_duplicates(["clip", "kind"])
    shares = pairs.groupby("clip")["kind"].agg(",".join)
    n_shared_valid = leaks.shared_pairs(valid, train)["clip"].nunique()
    counts = {
        "trained": {"n": len(used), "n_artists": used["artist"].nunique()},
        "validation": {"n": len(valid), "shared": n_shared_valid},
    }
    marked = table.assign(
        artist=scored["artist"].to_numpy(), shares=table["clip"].map(shares).astype(object)
    )
    return marked, counts


def score_clean(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """Score the clean clips of a table that `mark_shared` returned.

    Returns the output of `metrics.summarise` for the clean clips, with n_artists; the same for all
    clips as ``whole`` and for the others as ``shared``; and ``shared_by``, the number of clips that
    share each of `leaks.KINDS`. Without any clip there are only n and n_artists. Intervals are over
    artists.
    """
    truth, log_p = read_predictions(table, classes)
    artist = table["artist"].to_numpy()
    is_shared = table["shares"].notna().to_numpy()

    def scores_of(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        counts = {"n": int(chosen.sum()), "n_artists": len(np.unique(artist[chosen]))}
        if not chosen.any():
            return counts
        return summarise(truth[chosen], log_p[chosen], artist[chosen], "artists") | counts

    kinds = table["shares"].fillna("").str.split(",")
    return scores_of(~is_shared) | {
        "whole": scores_of(np.ones_like(is_shared)),
        "shared": scores_of(is_shared),
        "shared_by": {kind: int(sum(kind in row for row in kinds)) for kind in leaks.KINDS},
    }
