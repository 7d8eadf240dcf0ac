"""Which test clips the scores of areas are over: all, or those that share no artist with training.

Two clips by one artist are alike, so an encoding predicts a test clip better if it was fitted to
another clip by its artist.
"""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.design.leaks import shared_pairs
from neuromusic.stats import reliability

if TYPE_CHECKING:
    from neuromusic.models.applied import AppliedNetwork

log = logging.getLogger(__name__)

ALL, CLEAN = "all", "artist-clean"


class ClipSet(NamedTuple):
    """Some of the test clips, and how scores are computed over them.

    ``members`` (clips,) marks them. ``rows`` are the rows of `reliability.correlation_draws` that
    belong to the set, ``weights`` (rows, clips) their weights: 0 for all other clips.
    """

    name: str
    members: NDArray[np.bool_]
    rows: slice
    weights: NDArray[np.float64]


def clip_sets(
    clips: Sequence[str], runs: NDArray[np.int64], clean: Collection[str] | None = None
) -> list[ClipSet]:
    """Return the set of all test clips and, if any of them is in ``clean``, the set of those."""
    chosen = [(ALL, np.ones(len(clips), bool))]
    if clean is not None:
        members = np.array([clip in clean for clip in clips])
        chosen += [(CLEAN, members)] if members.any() else []
    sets, first = [], 0
    for name, members in chosen:
        of_members = reliability.clip_weights(runs[members])
        weights = np.zeros((len(of_members), len(clips)))
        weights[:, members] = of_members
        sets.append(ClipSet(name, members, slice(first, first + len(weights)), weights))
        first += len(weights)
    return sets


def artist_clean_clips(
    trained: "AppliedNetwork",
    played: Collection[str],
    fitted: Collection[str],
    artists: Path | None,
) -> set[str] | None:
    """Return the test clips that share no artist with what network or voxels were fitted to.

    Parameters
    ----------
    trained : TrainedNetwork
        The network; clips that it was trained or validated on count as training clips.
    played, fitted : collections of str
        Names of all clips, and of those in training runs.
    artists : Path, optional
        Artist table; without it the result is None.

    Raises
    ------
    InputError
        If the artist table cannot be read, or a track is missing from it.
    """
    if artists is None:
        return None
    from neuromusic.features.prepared import open_prepared
    from neuromusic.training.selection import select
    from neuromusic.training.trained import TrainedNetwork

    if not isinstance(trained, TrainedNetwork):
        raise InputError(
            f"artists={artists}: is for networks that were trained here; what {trained.name} was "
            "trained on is not known"
        )
    data = open_prepared(trained.prepared).as_input(
        trained.input_kind, normalise_clips=trained.normalise_clips
    )
    chosen = select(data, trained.config.data)
    used = {*fitted, *data.rows["clip"].iloc[[*chosen.train, *chosen.valid]]}
    rows = data.rows.drop_duplicates("clip")
    test = rows[rows["clip"].isin(set(played) - set(fitted))]
    return without_shared(test, rows[rows["clip"].isin(used)], artists)


def without_shared(test: pd.DataFrame, training: pd.DataFrame, artists: Path) -> set[str]:
    """Return the test clips that share neither clip, track nor artist with a training clip.

    ``test`` and ``training`` have one row per clip: clip, track. Raises InputError as above.
    """
    table = read_artists(artists)
    both = [with_artists(each[["clip", "track"]], table, artists) for each in (test, training)]
    shared = set(shared_pairs(*both)["clip"])
    clean = set(test["clip"]) - shared
    if not clean:
        log.warning(
            "%s: every test clip shares an artist with a training clip, so no area is scored on "
            "clips of other artists", artists,
        )  # fmt: skip
    else:
        log.info("%d of the %d test clips share no artist with a training clip: %s", len(clean),
                 len(test), listed(sorted(clean)))  # fmt: skip
    return clean
