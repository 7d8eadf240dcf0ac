"""Unique variance of the stages: regressions on residual designs, scores of voxels and of areas.

Two comparisons: UNIQUE, a stage beyond the acoustic baseline, and ABOVE, beyond the baseline and
the stage below. See `unique_variance` for the designs and `stats.partition` for the scores.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.encoding.blocks import Sums
from neuromusic.encoding.fit_rows import UsedRows
from neuromusic.encoding.model_names import BASELINE
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.score_tables import LEVEL, p_of_shifts
from neuromusic.encoding.unique_variance import NestedDesigns, area_unique
from neuromusic.stats import multiple
from neuromusic.stats.partition import added_r2, addition_sums
from neuromusic.stats.shifts import shift_test

UNIQUE, ABOVE = "unique", "above"
COLUMNS = (
    "area", "stage", "beyond", "voxels", "significant", "smaller_r2", "r2", "r2_low", "r2_high",
    "p", "p_holm",
)  # fmt: skip

GAIN, GAIN_SHIFTS = "gain", "gain of shifts"  # the first part of keys of `Sums`

Floats = NDArray[np.float64]
Key = tuple[str, str]  # (UNIQUE or ABOVE, stage)
# Fits the residual designs of a comparison; returns what they add to the prediction of the scored
# rows, (repeats x clips x volumes, voxels).
Fit = Callable[[Key], NDArray[np.float32]]


@dataclass(frozen=True)
class UniqueTotals:
    """Sums over the voxels of each area.

    ``gain`` (clips, areas) are those of `added_r2`; ``shifts``, an array (clips, areas) per test
    run, those of `addition_sums` in units of R2; ``voxels`` (areas,) is the number of voxels.
    ``has_folds`` and ``has_tests`` are as in `AreaTotals`.
    """

    voxels: NDArray[np.int64]
    gain: Mapping[Key, Floats]
    shifts: Mapping[Key, list[Floats]]
    has_folds: bool
    has_tests: bool = True

    @classmethod
    def of(
        cls, sums: Sums, areas: Areas, n_runs: int, has_folds: bool, has_tests: bool
    ) -> "UniqueTotals":
        """Return the totals of the sums of `fit_additions` over all blocks of voxels."""
        n_voxels = np.array([len(areas.voxels(name)) for name in areas.names])
        gain = {(key[1], key[2]): value for key, value in sums.items() if key[0] == GAIN}
        shifts = {key: [sums[GAIN_SHIFTS, *key, str(run)] for run in range(n_runs)] for key in gain}
        return cls(n_voxels, gain, shifts, has_folds, has_tests)


def designs_of(nested: Sequence[NestedDesigns]) -> dict[Key, list[NDArray[np.float32]]]:
    """Return the residual designs in each fold of all comparisons, those of a stage one by one.

    Comparisons that are not possible in all folds are left out.
    """
    both = {UNIQUE: "beyond_baseline", ABOVE: "beyond_below"}
    found = {}
    for stage in nested[0].beyond_baseline:
        for kind, attribute in both.items():
            designs = [getattr(fold, attribute).get(stage) for fold in nested]
            if all(design is not None for design in designs):
                found[kind, stage] = designs
    return {
        key: designs
        for key, designs in found.items()
        if key[0] == UNIQUE or (UNIQUE, nested[0].below[key[1]]) in found
    }


# --- Blocks of voxels -----------------------------------------------------------------------------


def fit_additions(
    series: NDArray[np.float32],
    used: UsedRows,
    nested: Sequence[NestedDesigns],
    smaller: NDArray[np.float32],
    areas: Areas,
    fit: Fit,
) -> tuple[dict[str, Floats], Sums]:
    """Fit and score what each stage adds to the prediction of the baseline, for a block of voxels.

    Parameters
    ----------
    series : array (rows, voxels)
        The voxels' series.
    used : UsedRows
        The rows that are fitted and scored.
    nested : sequence of NestedDesigns
        Designs on all rows, for each fold.
    smaller : array (repeats x clips x volumes, voxels)
        The baseline's prediction of the rows ``used.test.ravel()``.
    areas : Areas
        The area of each voxel.
    fit : callable
        Fits the residual designs of a comparison to the series.

    Returns
    -------
    columns : dict of arrays (voxels,)
        For each stage unique_ (R2, signed) and unique_p_, above_ and above_p_.
    sums : dict of arrays
        Sums over these voxels, for `UniqueTotals`.
    """
    masks = np.array([areas.label == number for number in range(1, len(areas.names) + 1)])
    columns: dict[str, Floats] = {}
    totals: Sums = {}
    rows = used.centred(series[used.test.ravel()])
    for key, base, addition in _additions(nested, smaller, fit):
        base, addition = used.centred(base), used.centred(addition)
        scored = zip(*(used.scored(each) for each in (rows, base, addition)), strict=True)
        gain = np.mean([added_r2(*each) for each in scored], axis=0)
        parts = zip(*(used.played(each) for each in (rows, base, addition)), strict=True)
        sums = [addition_sums(*part) for part in parts]
        kind, stage = key
        columns[f"{kind}_{stage}"] = gain.sum(0)
        columns[f"{kind}_p_{stage}"] = shift_test(sums, used.has_folds).p
        scale = np.mean([_scale(each) for each in used.scored(rows)], axis=0)
        totals[GAIN, *key] = np.nan_to_num(gain) @ masks.T
        for number, run in enumerate(sums):
            totals[GAIN_SHIFTS, *key, str(number)] = (run * scale) @ masks.T
    return columns, totals


def _additions(
    nested: Sequence[NestedDesigns], smaller: NDArray[np.float32], fit: Fit
) -> Iterator[tuple[Key, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield each comparison with the smaller model's prediction, and what the stage adds to it."""
    unique: dict[str, NDArray[np.float32]] = {}  # of this stage, and of the one below
    below_of = nested[0].below
    for kind, stage in designs_of(nested):
        addition = fit((kind, stage))
        if kind == UNIQUE:
            base = smaller
            below = below_of.get(stage)
            unique = {name: unique[name] for name in unique if name == below} | {stage: addition}
        else:
            base = smaller + unique[below_of[stage]]
        yield (kind, stage), base, addition


def _scale(measured: NDArray[np.float32]) -> Floats:
    """Return 1 / the sum of squares of each voxel (clips, volumes, voxels) about its mean."""
    total = measured.var((0, 1), dtype=np.float64) * measured[..., 0].size
    return np.divide(1, total, out=np.zeros_like(total), where=total > 0)


# --- Tables ---------------------------------------------------------------------------------------


def unique_families(columns: Iterable[str]) -> dict[str, list[str]]:
    """Return UNIQUE and ABOVE -> the stages that columns of voxels have such p values of.

    False discovery rates are over all voxels of a subject and these stages together.
    """
    names = list(columns)
    families = {
        kind: [name.removeprefix(start) for name in names if name.startswith(start)]
        for kind, start in ((UNIQUE, f"{UNIQUE}_p_"), (ABOVE, f"{ABOVE}_p_"))
    }
    return {kind: stages for kind, stages in families.items() if stages}


def with_unique_q(voxels: pd.DataFrame) -> pd.DataFrame:
    """Add unique_q_ and above_q_ of each stage, over the families of `unique_families`."""
    columns: dict[str, Floats] = {}
    for kind, stages in unique_families(voxels.columns).items():
        p = voxels[[f"{kind}_p_{stage}" for stage in stages]].to_numpy()
        multiple.warn_if_nan(p, f"voxels x stages, {kind} variance")
        q = multiple.false_discovery(p.ravel()).reshape(p.shape)
        columns |= {f"{kind}_q_{stage}": q[:, index] for index, stage in enumerate(stages)}
    return voxels.assign(**columns)


def unique_table(
    voxels: pd.DataFrame,
    areas: Areas,
    totals: UniqueTotals,
    below: Mapping[str, str],
    runs: NDArray[np.int64],
) -> pd.DataFrame:
    """Return the unique variance of each stage in each area that has voxels.

    Parameters
    ----------
    voxels : pandas.DataFrame
        Scores of the voxels, with the q values of `with_unique_q`.
    areas : Areas
        The area of each voxel.
    totals : UniqueTotals
        Sums over all voxels.
    below : mapping of str
        Stage -> the stage below.
    runs : array (clips,)
        Test run of each clip.

    Returns
    -------
    pandas.DataFrame
        area, stage, beyond (the smaller model), voxels, significant (number with q below LEVEL),
        smaller_r2 (R2 of the smaller model), r2 (what the stage adds to it) with r2_low and r2_high
        (`area_unique`), each a mean over the voxels, p (one-sided, from shifts, of the area as a
        whole) and p_holm (over the areas and stages with the same kind of smaller model).
    """
    rows = []
    for index, area in enumerate(areas.names):
        inside = voxels[areas.label == index + 1]
        if inside.empty:
            continue
        for (kind, stage), gain in totals.gain.items():
            of_baseline = inside[f"r2_{BASELINE}"]
            under = below[stage] if kind == ABOVE else None
            smaller = of_baseline if under is None else of_baseline + inside[f"{UNIQUE}_{under}"]
            r2, low, high = area_unique(gain[:, [index]] / totals.voxels[index], runs)
            of_runs = totals.shifts[kind, stage] if totals.has_tests else []
            sums = [run[:, index] for run in of_runs]
            rows.append(
                {
                    "area": area, "stage": stage,
                    "beyond": BASELINE if under is None else f"{BASELINE} and {under}",
                    "voxels": len(inside),
                    "significant": int((inside[f"{kind}_q_{stage}"] < LEVEL).sum()),
                    "smaller_r2": smaller.mean(), "r2": r2, "r2_low": low, "r2_high": high,
                    "p": p_of_shifts(sums, totals.has_folds),
                }
            )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    family = table["beyond"] == BASELINE
    return table.assign(p_holm=table.groupby(family)["p"].transform(multiple.holm))
