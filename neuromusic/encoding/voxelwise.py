"""Voxelwise encoding: how well each stage of a network predicts each voxel of one subject.

Each voxel is fitted by ridge regression on the training runs and scored on the test clips, averaged
over their repeats, beside the noise ceiling.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.progress import Bar, progress
from neuromusic.encoding import scoring
from neuromusic.encoding.clip_sets import clip_sets
from neuromusic.encoding.fit_rows import UsedRows, used_rows, warn_if_untestable
from neuromusic.encoding.model_names import BASELINE, JOINT, is_trained
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.score_tables import (
    RELIABILITY,
    AreaTotals,
    Draws,
    Matches,
    area_table,
    mean_r,
    with_best,
    with_q,
    with_reliability,
)
from neuromusic.encoding.unique_fits import (
    UniqueTotals,
    designs_of,
    fit_additions,
    unique_table,
    with_unique_q,
)
from neuromusic.encoding.unique_variance import NestedDesigns, nested_designs
from neuromusic.stats import reliability
from neuromusic.stats.shifts import shift_sums, shift_test

VOXELS_AT_ONCE = 5000  # voxels whose series and weights are in memory
PATTERN_FROM_TR = 4  # first volume of a clip's pattern: the response to the clip before has faded
# Components of each group of the acoustic baseline, and of each stage beside it and in the joint
# fit, whose search takes time with the cube of their number.
JOINT_COMPONENTS = 20

StageDesigns = Mapping[str, NDArray[np.float32]]  # stage or group -> (rows, delays x components)


@dataclass(frozen=True)
class Designs:
    """The designs of all regressions: features on the rows of `Scans`.

    ``stages`` are those of all networks, ``groups`` those of the acoustic baseline, which may have
    none.
    """

    stages: StageDesigns
    groups: StageDesigns = field(default_factory=dict)


@dataclass(frozen=True)
class Encoding:
    """How well each stage predicts the voxels of one subject.

    Parameters
    ----------
    voxels : pandas.DataFrame
        One row per voxel: explainable, explainable_low, explainable_high, ceiling_r, p_reliable,
        q_reliable, reliable (q below .05), and for each stage r_, r2_, p_, mse_ (on the training
        runs, each left out), alpha_, rc_ (r divided by the ceiling; NaN if not reliable) and q_.
        Then best, the stage of the trained network with the least mse_, with best_r, best_p and
        best_q: chosen on the training runs, scored on the test runs. For each stage of the trained
        network also unique_, unique_p_ and unique_q_, what it explains beyond the acoustic baseline
        (R2, signed), and above_, above_p_ and above_q_, beyond the baseline and the stage below.
    areas : pandas.DataFrame
        One row per area and stage, see `area_table`.
    edges : dict of arrays (2,)
        Stage -> number of voxels with the smallest and with the largest penalty of the grid.
    patterns : dict of arrays (repeats, clips, voxels)
        Area -> the mean of each presentation's volumes from PATTERN_FROM_TR.
    clips : list of str
        The test clips, in the order of the patterns.
    clip_runs : array (clips,) int64
        The test run of each clip, the first one if there are several.
    area_r : dict of arrays (1 + groups,)
        (area, stage) -> the area's mean r over all test clips, then without each group of clips;
        see `reliability.clip_weights`.
    area_shifts : dict of lists of arrays (clips of a run,)
        (area, stage) -> how well the predictions of each run match the area at each shift; see
        `shifts.shift_test`. None if a run does not repeat its clips in a fixed order.
    unique : pandas.DataFrame
        Unique variance of each stage in each area, see `unique_table`; without rows if there is no
        acoustic baseline.
    left_out : list of str
        One sentence for each reason why stages have no unique variance.
    """

    voxels: pd.DataFrame
    areas: pd.DataFrame
    edges: dict[str, NDArray[np.int64]]
    patterns: dict[str, NDArray[np.float32]]
    clips: list[str]
    clip_runs: NDArray[np.int64]
    area_r: dict[tuple[str, str], NDArray[np.float64]]
    area_shifts: dict[tuple[str, str], list[NDArray[np.float64]] | None]
    unique: pd.DataFrame = field(default_factory=pd.DataFrame)
    left_out: list[str] = field(default_factory=list)


def encode_voxels(
    series: NDArray[np.float32],
    rows: pd.DataFrame,
    designs: Designs,
    areas: Areas,
    options: EncodingOptions,
    label: str = "encoding",
    clean: Collection[str] | None = None,
) -> Encoding:
    """Fit each voxel by each stage on the training runs; score it on the mean of the test repeats.

    Parameters
    ----------
    series : array (rows, voxels)
        Cleaned voxels, as `clean_scans` returns them; read in blocks of voxels.
    rows : pandas.DataFrame
        As in `Scans`.
    designs : Designs
        As `stage_design` returns them. Rows with NaN are neither fitted nor scored.
    areas : Areas
        Area of each of the voxels.
    options : EncodingOptions
        ``banded``: also fit the first JOINT_COMPONENTS components of all stages of the trained
        network together, with one penalty per stage, and use one penalty per group in the acoustic
        baseline. ``high_pass_hz``: the filter of the series.
    label : str
        Beginning of the text of the progress bar.
    clean : collection of str, optional
        Test clips on which areas are also scored separately.

    Returns
    -------
    Encoding
        The stages in the order of ``designs``, then JOINT and BASELINE.
    """
    every = [*designs.stages.values(), *designs.groups.values()]
    used = used_rows(rows, every, options.high_pass_hz)
    nested = _nested(designs, used.train)
    sets = clip_sets(used.clips, used.clip_runs, clean)
    weights = np.vstack([each.weights for each in sets])
    beyond = UniqueTotals(np.zeros(len(areas.names), np.int64))
    fits = _Fits(used, _models(designs, options.banded), nested, beyond, weights)
    block = _encode_blocks(series, fits, areas, label)
    warn_if_untestable(used, label)
    models = list(fits.models)
    voxels = with_reliability(pd.concat(block.voxels, ignore_index=True), models)
    voxels = with_unique_q(with_q(with_best(voxels, list(designs.stages)), models))
    totals = AreaTotals(block.matches, block.draws, used.clip_runs, used.in_order)
    table = area_table(voxels, areas, totals, sets)
    return Encoding(
        voxels, table, block.edges,
        {area: np.concatenate(parts, axis=2) for area, parts in block.patterns.items()},
        used.clips, used.clip_runs, mean_r(areas, totals, sets[0]),
        {key: totals.shifts(key, sets[0]) for key in block.matches},
        unique_table(voxels, areas, beyond, nested.below, used.clip_runs), nested.left_out,
    )  # fmt: skip


# --- Models ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Model:
    """One regression: its design (rows, columns), and the columns in each band if it has bands."""

    design: NDArray[np.float32]
    bands: list[int] | None = None


def _models(designs: Designs, banded: bool) -> dict[str, _Model]:
    """Return one model per stage, JOINT of the trained network if ``banded``, and BASELINE."""
    models = {name: _Model(design) for name, design in designs.stages.items()}
    if banded:
        models[JOINT] = _joined(list(_trained_designs(designs).values()), banded)
    if designs.groups:
        models[BASELINE] = _joined(list(designs.groups.values()), banded)
    return models


def _joined(parts: list[NDArray[np.float32]], banded: bool) -> _Model:
    return _Model(np.hstack(parts), [part.shape[1] for part in parts] if banded else None)


def _trained_designs(designs: Designs) -> dict[str, NDArray[np.float32]]:
    """Return the first components of each stage of the trained network."""
    return {
        name: _first_components(design)
        for name, design in designs.stages.items()
        if is_trained(name)
    }


def _nested(designs: Designs, train: NDArray[np.bool_]) -> NestedDesigns:
    """Return the residual designs of the trained network's stages; none without a baseline."""
    if not designs.groups:
        return NestedDesigns(np.empty((len(train), 0), np.float32), [], {}, {}, {}, [])
    return nested_designs(designs.groups, _trained_designs(designs), train)


def _first_components(design: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the columns of the first JOINT_COMPONENTS components (rows, delays x components)."""
    by_delay = design.reshape(len(design), len(DELAYS_TR), -1)[:, :, :JOINT_COMPONENTS]
    return by_delay.reshape(len(design), -1)


# --- Blocks of voxels -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fits:
    """What all blocks share: rows, regressions, and the weights of the clips in each draw.

    ``beyond`` are the sums of unique variance, to which each block adds its own.
    """

    used: UsedRows
    models: Mapping[str, _Model]
    nested: NestedDesigns
    beyond: UniqueTotals
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class _Block:
    """Results for some voxels; see `Encoding`. ``matches`` and ``draws`` are sums over voxels."""

    voxels: list[pd.DataFrame]
    edges: dict[str, NDArray[np.int64]]
    patterns: dict[str, list[NDArray[np.float32]]]
    matches: Matches
    draws: Draws

    def add(self, other: "_Block") -> None:
        """Add the results for other voxels, in place."""
        self.voxels.extend(other.voxels)
        for area, parts in other.patterns.items():
            self.patterns[area].extend(parts)
        for name, count in other.edges.items():
            self.edges[name] += count
        for key, match in other.matches.items():
            self.matches[key] += match
        for name, sums in other.draws.items():
            self.draws[name] += sums


def _encode_blocks(series: NDArray[np.float32], fits: _Fits, areas: Areas, label: str) -> _Block:
    """Fit and score all voxels, a block of them in memory at a time."""
    starts = range(0, series.shape[1], VOXELS_AT_ONCE)
    n_fits = len(fits.models) + len(designs_of(fits.nested))
    total: _Block | None = None
    text = f"{label}: fitting {series.shape[1]:,} voxels"
    with progress(text, len(starts) * n_fits) as bar:
        for first in starts:
            part = slice(first, first + VOXELS_AT_ONCE)
            labels = Areas(areas.names, areas.label[part])
            block = _encode_block(np.asarray(series[:, part]), fits, labels, bar)
            if total is None:
                total = block
            else:
                total.add(block)
    assert total is not None
    return total


def _encode_block(series: NDArray[np.float32], fits: _Fits, areas: Areas, bar: Bar) -> _Block:
    """Fit and score the voxels of ``series`` (rows, voxels)."""
    label, used, weights = bar.label, fits.used, fits.weights
    measured = series[used.test]  # (repeats, clips, volumes, voxels)
    unit = scoring.unit_length(measured.mean(0))
    inside = {name: areas.label == number for number, name in enumerate(areas.names, start=1)}
    patterns = {
        name: [measured[:, :, PATTERN_FROM_TR:, mask].mean(2)] for name, mask in inside.items()
    }
    masks = np.array(list(inside.values()))
    columns: dict[str, NDArray[np.floating]] = {}
    draws: Draws = {}
    if len(measured) > 1:
        powers = reliability.clip_powers(measured, used.clip_runs, used.drift_cycles)
        columns = _ceiling_columns(powers, measured, used)
        draws[RELIABILITY] = reliability.reliability_draws(powers, weights, masks)
    matches, edges = {}, {}
    for name, model in fits.models.items():
        bar.label = f"{label}, {_stage_text(name)}"
        fit = fit_ridge(model.design[used.train], series[used.train], used.runs, bands=model.bands)
        repeats = fit.predict(model.design[used.test.ravel()])
        scores, predicted = _score(repeats, measured, used.blocks)
        scores |= {"mse": fit.loss, "alpha": fit.alpha}
        columns |= {f"{key}_{name}": values for key, values in scores.items()}
        edges[name] = np.array([fit.lowest.sum(), fit.highest.sum()])
        draws[name] = reliability.correlation_draws(predicted, unit, weights, masks)
        for area, mask in inside.items():
            matches[area, name] = scoring.clip_matches(predicted[..., mask], unit[..., mask])
        bar.advance()
    if BASELINE in fits.models:  # the last one, so these are its predictions
        bar.label = f"{label}, unique variance"
        columns |= fit_additions(
            series, used, fits.nested, repeats, areas, fits.beyond, bar.advance
        )
    bar.label = label
    return _Block([pd.DataFrame(columns, dtype=np.float64)], edges, patterns, matches, draws)


def _stage_text(name: str) -> str:
    return name if name in (JOINT, BASELINE) else f"stage {name}"


def _ceiling_columns(
    powers: reliability.ClipPowers,
    measured: NDArray[np.float32],
    used: UsedRows,
) -> dict[str, NDArray[np.floating]]:
    explainable = reliability.explainable_variance(powers)
    signed = reliability.signed_reliability(powers)
    return {
        "explainable": explainable.share, "explainable_low": explainable.low,
        "explainable_high": explainable.high,
        "ceiling_r": np.sqrt(np.where(signed > 0, signed, np.nan)),
        "p_reliable": reliability.reliability_test(
            measured, used.clip_runs, used.drift_cycles
        ),
    }  # fmt: skip


def _score(
    repeats: NDArray[np.float32],
    measured: NDArray[np.float32],
    blocks: Sequence[NDArray[np.int64]],
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float32]]:
    """Score predictions ``repeats`` (rows, voxels) of ``measured`` (repeats, clips, ..., voxels).

    Returns r, r2 and p (voxels,), and the mean prediction (clips, volumes, voxels) in unit length.
    """
    predicted, mean = repeats.reshape(measured.shape).mean(0), measured.mean(0)
    rows = measured.reshape(repeats.shape)
    sums = [shift_sums(repeats[block].mean(0), rows[block].mean(0)) for block in blocks]
    x, y = (array.reshape(-1, array.shape[-1]) for array in (predicted, mean))
    scores = {"r": scoring.correlation(x, y), "r2": scoring.r2(y, x), "p": shift_test(sums).p}
    return scores, scoring.unit_length(predicted)
