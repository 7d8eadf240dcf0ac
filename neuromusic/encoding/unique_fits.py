"""Unique variance of the stages: regressions on residual designs, scores of voxels and of areas.

Two comparisons: UNIQUE, a stage beyond the acoustic baseline, and ABOVE, beyond the baseline and
the stage below. See `unique_variance` for the designs and `stats.partition` for the scores.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.encoding.fit_rows import UsedRows
from neuromusic.encoding.model_names import BASELINE
from neuromusic.encoding.ridge import fit_ridge
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

Floats = NDArray[np.float64]
Key = tuple[str, str]  # (UNIQUE or ABOVE, stage)


@dataclass
class UniqueTotals:
    """Sums over the voxels of each area, over all blocks of voxels so far.

    ``gain`` (clips, areas) are those of `added_r2`; ``shifts``, an array (clips, areas) per test
    run, those of `addition_sums` in units of R2; ``voxels`` (areas,) is the number of voxels.
    """

    voxels: NDArray[np.int64]
    gain: dict[Key, Floats] = field(default_factory=dict)
    shifts: dict[Key, list[Floats]] = field(default_factory=dict)

    def add(self, key: Key, gain: Floats, shifts: list[Floats]) -> None:
        """Add the sums over the voxels of a block."""
        if key in self.gain:
            gain = self.gain[key] + gain
            shifts = [old + new for old, new in zip(self.shifts[key], shifts, strict=True)]
        self.gain[key], self.shifts[key] = gain, shifts


def designs_of(nested: NestedDesigns) -> dict[Key, NDArray[np.float32]]:
    """Return the residual designs of all comparisons, each stage with its own one by one."""
    both = {UNIQUE: nested.beyond_baseline, ABOVE: nested.beyond_below}
    return {
        (kind, stage): designs[stage]
        for stage in nested.beyond_baseline
        for kind, designs in both.items()
        if stage in designs
    }


# --- Blocks of voxels -----------------------------------------------------------------------------


def fit_additions(
    series: NDArray[np.float32],
    used: UsedRows,
    nested: NestedDesigns,
    smaller: NDArray[np.float32],
    areas: Areas,
    totals: UniqueTotals,
    on_fit: Callable[[], None],
) -> dict[str, Floats]:
    """Fit and score what each stage adds to the prediction of the baseline, for a block of voxels.

    Parameters
    ----------
    series : array (rows, voxels)
        The voxels' series.
    used : UsedRows
        The rows that are fitted and scored.
    nested : NestedDesigns
        Designs on all rows.
    smaller : array (repeats x clips x volumes, voxels)
        The baseline's prediction of the rows ``used.test.ravel()``.
    areas : Areas
        The area of each voxel.
    totals : UniqueTotals
        To which the sums over these voxels are added.
    on_fit : callable
        Called after each regression.

    Returns
    -------
    dict of arrays (voxels,)
        For each stage unique_ (R2, signed) and unique_p_, above_ and above_p_.
    """
    masks = np.array([areas.label == number for number in range(1, len(areas.names) + 1)])
    totals.voxels += masks.sum(1)
    columns = {}
    rows = series[used.test.ravel()]
    for key, base, addition in _additions(series, used, nested, smaller):
        gain = added_r2(*(_mean(used, each) for each in (rows, base, addition)))
        parts = zip(*(used.played(each) for each in (rows, base, addition)), strict=True)
        sums = [addition_sums(*part) for part in parts]
        kind, stage = key
        columns[f"{kind}_{stage}"] = gain.sum(0)
        columns[f"{kind}_p_{stage}"] = shift_test(sums).p
        scale = _scale(_mean(used, rows))
        totals.add(key, np.nan_to_num(gain) @ masks.T, [(run * scale) @ masks.T for run in sums])
        on_fit()
    return columns


def _additions(
    series: NDArray[np.float32],
    used: UsedRows,
    nested: NestedDesigns,
    smaller: NDArray[np.float32],
) -> Iterator[tuple[Key, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield each comparison with the smaller model's prediction, and what the stage adds to it."""
    unique: dict[str, NDArray[np.float32]] = {}  # of this stage, and of the one below
    for (kind, stage), design in designs_of(nested).items():
        fit = fit_ridge(design[used.train], series[used.train], used.runs)
        addition = fit.predict(design[used.test.ravel()]) - fit.y_mean.astype(np.float32)
        if kind == UNIQUE:
            base = smaller
            below = nested.below.get(stage)
            unique = {name: unique[name] for name in unique if name == below} | {stage: addition}
        else:
            base = smaller + unique[nested.below[stage]]
        yield (kind, stage), base, addition


def _mean(used: UsedRows, repeats: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the repeats, (clips, volumes, voxels)."""
    return repeats.reshape(*used.test.shape, -1).mean(0)


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
            sums = [run[:, index] for run in totals.shifts[kind, stage]]
            rows.append(
                {
                    "area": area, "stage": stage,
                    "beyond": BASELINE if under is None else f"{BASELINE} and {under}",
                    "voxels": len(inside),
                    "significant": int((inside[f"{kind}_q_{stage}"] < LEVEL).sum()),
                    "smaller_r2": smaller.mean(), "r2": r2, "r2_low": low, "r2_high": high,
                    "p": p_of_shifts(sums),
                }
            )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    family = table["beyond"] == BASELINE
    return table.assign(p_holm=table.groupby(family)["p"].transform(multiple.holm))
