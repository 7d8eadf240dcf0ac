"""Intervals of an area's mean r over clips and subjects, and which stage is best beyond chance."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.encoding.stage_components import JOINT, RANDOM
from neuromusic.encoding.voxelwise import Encoding

DRAWS = 5000
LEVEL = 0.05  # of all outlined cells together

Floats = NDArray[np.float64]


def area_intervals(
    results: Mapping[str, Encoding], stages: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Return the mean r of each area and stage over the subjects, with bootstrap intervals.

    Test clips are drawn with replacement, the same for all stages, and so are the subjects if there
    are several.

    Parameters
    ----------
    results : mapping of Encoding
        Subject -> result.
    stages : sequence of str
        The stages of the trained network, among which the best is looked for.
    rng : numpy.random.Generator
        Draws the clips and subjects.

    Returns
    -------
    pandas.DataFrame
        One row per area, network and stage: area, stage, network, subjects (number), r, r_low and
        r_high (95 % interval), and best: whether the stage is above 0 and above every other of
        ``stages`` in nearly all draws, at a level of 5 % after Bonferroni for all areas and
        stages. Ties are never best.
    """
    keys = list(dict.fromkeys(key for result in results.values() for key in result.clip_r))
    drawn = _draw(results, keys, rng)
    areas = list(dict.fromkeys(area for area, _ in keys))
    share_needed = 1 - LEVEL / (len(areas) * max(1, len(stages)))
    rows = []
    for area, stage in keys:
        low, high = np.nanpercentile(drawn[area, stage], [2.5, 97.5])
        means = [
            float(result.clip_r[area, stage].sum())
            for result in results.values()
            if (area, stage) in result.clip_r
        ]
        others = [drawn[area, other] for other in stages if other != stage]
        is_random = stage.startswith(RANDOM)
        rows.append(
            {
                "area": area,
                "stage": stage.removeprefix(RANDOM),
                "network": "random" if is_random else "trained",
                "subjects": len(means),
                "r": float(np.mean(means)),
                "r_low": float(low),
                "r_high": float(high),
                "best": not is_random
                and stage != JOINT
                and _is_above([np.zeros(DRAWS), *others], drawn[area, stage], share_needed),
            }
        )
    return pd.DataFrame(rows)


def _draw(
    results: Mapping[str, Encoding], keys: Sequence[tuple[str, str]], rng: np.random.Generator
) -> dict[tuple[str, str], Floats]:
    """Return (area, stage) -> bootstrapped means over the subjects (draws,); NaN if none has it."""
    clips = sorted({clip for result in results.values() for clip in result.clips})
    index = {clip: number for number, clip in enumerate(clips)}
    of_clip = rng.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), DRAWS)
    n = len(results)
    of_subject = rng.multinomial(n, np.full(n, 1 / n), DRAWS)
    total = {key: np.zeros(DRAWS) for key in keys}
    weight = {key: np.zeros(DRAWS) for key in keys}
    for number, result in enumerate(results.values()):
        drawn = of_clip[:, [index[clip] for clip in result.clips]]
        scale = len(result.clips) / np.maximum(drawn.sum(1), 1)
        for key, contributions in result.clip_r.items():
            total[key] += of_subject[:, number] * (drawn @ contributions) * scale
            weight[key] += of_subject[:, number]
    with np.errstate(invalid="ignore"):
        return {key: total[key] / weight[key] for key in keys}


def _is_above(others: Sequence[Floats], drawn: Floats, share: float) -> bool:
    """Return whether ``drawn`` is above each of ``others`` in at least a share of the draws."""
    is_drawn = np.isfinite(drawn)
    return all(np.mean((drawn > other)[is_drawn]) >= share for other in others)
