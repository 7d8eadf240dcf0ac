"""Identification: which clip was played, judged from the responses that a stage predicts?

Kay et al. (2008, Nature 452, 352-355).
"""

import numpy as np
from numpy.typing import NDArray

from neuromusic.stats.run_shifts import p_of_run_sums, run_members
from neuromusic.stats.shifts import shift_test

TOP = 5


def identification_ranks(matches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank (from 1) of the right clip's prediction among those of all clips.

    ``matches`` (clips predicted, clips measured); the result has one rank per clip measured. Ties
    share their ranks, so that predictions that are all alike identify nothing.
    """
    return np.diag(_all_ranks(matches)).copy()


def identification(
    matches: NDArray[np.floating], runs: NDArray[np.int64], both_ways: bool = False
) -> dict[str, float | int]:
    """Return how well the clips are identified, what chance gives, and whether it is more.

    The p values shift the predictions by whole clips within each run, independently in each run.
    They are one-sided (better than chance) and exact over all combinations of shifts, so the
    smallest one is 1 divided by their number: 1 / n for a single run of n clips.

    Parameters
    ----------
    matches : ndarray of floats, shape (clips predicted, clips measured)
        Sum over the voxels of an area, see `scoring.clip_matches`.
    runs : ndarray of int64, shape (clips,)
        Test run of each clip; the clips of a run in the order played.
    both_ways : bool
        Whether the predictions are those of folds, each from the others. Then the ranks of the
        right clips vary more than those after a shift, also without an effect: p_rank is that of
        `shift_test`, which allows for this, and p_top1 is NaN.

    Returns
    -------
    dict
        top1 and top5 (shares of the clips whose own prediction matches best, or is among the
        best five) with chance_top1 and chance_top5; mean_rank (from 1) with chance_rank; p_rank
        and p_top1, NaN if no run has two clips. p_top1 is conservative, because only few values
        of top1 are likely by chance.
    """
    n = len(matches)
    ranks = _all_ranks(matches)
    own = np.diag(ranks)
    of_ranks = _sums_at_shifts(np.rint(-2 * ranks).astype(np.int64), runs)  # halves: ties
    of_top1 = _sums_at_shifts((ranks == 1).astype(np.int64), runs)
    p_rank, p_top1 = (p_of_run_sums(sums) for sums in (of_ranks, of_top1))
    if both_ways:
        p_rank = float(
            shift_test([sums[:, None].astype(np.float64) for sums in of_ranks], both_ways).p[0]
        )
        p_top1 = float("nan")
    return {
        "top1": float((own == 1).mean()),
        "chance_top1": 1 / n,
        "top5": float((own <= TOP).mean()),
        "chance_top5": min(1.0, TOP / n),
        "mean_rank": float(own.mean()),
        "chance_rank": (n + 1) / 2,
        "p_rank": p_rank,
        "p_top1": p_top1,
    }


def _all_ranks(matches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rank of each prediction for each clip measured, 1 for the best match."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-matches, axis=0), np.float64)


def _sums_at_shifts(scores: NDArray[np.int64], runs: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the trace of ``scores`` (clips predicted, clips measured) of each run, shifted."""
    return [
        np.array([scores[np.roll(run, -shift), run].sum() for shift in range(len(run))])
        for run in run_members(runs)
    ]
