"""Voxelwise encoding: how well each stage of a network predicts each voxel of one subject.

Each voxel is fitted by ridge regression on the training runs and scored on the test clips, averaged
over their repeats, beside the noise ceiling.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.progress import Bar, progress
from neuromusic.design import grid
from neuromusic.encoding import scoring
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.score_tables import (
    RELIABILITY,
    Draws,
    Matches,
    area_table,
    clip_contributions,
    with_best,
    with_q,
    with_reliability,
)
from neuromusic.encoding.stage_components import JOINT, RANDOM
from neuromusic.fmri.scans import repeat_rows, shift_blocks
from neuromusic.stats import reliability
from neuromusic.stats.shifts import LEAST_CLIPS, shift_sums, shift_test

log = logging.getLogger(__name__)

VOXELS_AT_ONCE = 5000  # voxels whose series and weights are in memory
PATTERN_FROM_TR = 4  # first volume of a clip's pattern: the response to the clip before has faded
# Components of each stage in the joint fit, whose search takes time with the cube of their number.
JOINT_COMPONENTS = 20

Designs = Mapping[str, NDArray[np.float32]]  # stage -> (rows, delays x components)


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
        best_q: chosen on the training runs, scored on the test runs.
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
    clip_r : dict of arrays (clips,)
        (area, stage) -> what each clip contributes to the area's mean r, which is their sum.
    """

    voxels: pd.DataFrame
    areas: pd.DataFrame
    edges: dict[str, NDArray[np.int64]]
    patterns: dict[str, NDArray[np.float32]]
    clips: list[str]
    clip_runs: NDArray[np.int64]
    clip_r: dict[tuple[str, str], NDArray[np.float64]]


def encode_voxels(
    series: NDArray[np.float32],
    rows: pd.DataFrame,
    designs: Designs,
    areas: Areas,
    options: EncodingOptions,
    label: str = "encoding",
) -> Encoding:
    """Fit each voxel by each stage on the training runs; score it on the mean of the test repeats.

    Parameters
    ----------
    series : array (rows, voxels)
        Cleaned voxels, as `clean_scans` returns them; read in blocks of voxels.
    rows : pandas.DataFrame
        As in `Scans`.
    designs : mapping of arrays (rows, columns)
        Stage -> its design, as `stage_design` returns it. Rows with NaN are neither fitted nor
        scored.
    areas : Areas
        Area of each of the voxels.
    options : EncodingOptions
        ``banded``: also fit the first JOINT_COMPONENTS components of all stages of the trained
        network together, with one penalty per stage. ``high_pass_hz``: the filter of the series.
    label : str
        Beginning of the text of the progress bar.

    Returns
    -------
    Encoding
        The stages in the order of ``designs``, then JOINT.
    """
    used = _used_rows(rows, designs, options.high_pass_hz)
    models = _models(designs, options.banded)
    n_voxels, n_clips = series.shape[1], len(used.clips)
    weights = reliability.clip_weights(used.clip_runs)
    draws: Draws = {}
    matches = {
        (area, name): np.zeros((n_clips, n_clips)) for area in areas.names for name in models
    }
    edges = {name: np.zeros(2, np.int64) for name in models}
    tables, patterns = [], []
    starts = range(0, n_voxels, VOXELS_AT_ONCE)
    with progress(f"{label}: fitting {n_voxels:,} voxels", len(starts) * len(models)) as bar:
        for first in starts:
            part = slice(first, first + VOXELS_AT_ONCE)
            labels = Areas(areas.names, areas.label[part])
            block = _encode_block(np.asarray(series[:, part]), used, models, labels, weights, bar)
            for key, total in matches.items():
                total += block.matches[key]
            for name, count in edges.items():
                count += block.edges[name]
            for name, sums in block.draws.items():
                draws[name] = draws.get(name, 0) + sums
            tables.append(block.voxels)
            patterns.append(block.patterns)
    _warn_if_untestable(used, label)
    voxels = with_reliability(pd.concat(tables, ignore_index=True), list(models))
    voxels = with_q(with_best(voxels, list(designs)), list(models))
    table = area_table(voxels, areas, matches, draws, used.clip_runs)
    joined_patterns = {
        area: np.concatenate([block[area] for block in patterns], axis=2) for area in areas.names
    }
    contributions = clip_contributions(areas, matches)
    return Encoding(
        voxels, table, edges, joined_patterns, used.clips, used.clip_runs,
        contributions,
    )  # fmt: skip


# --- Rows and models ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _UsedRows:
    """Which rows are fitted, and which are scored."""

    train: NDArray[np.bool_]  # (rows,)
    runs: NDArray[np.int64]  # (training rows,), the run of each
    test: NDArray[np.int64]  # (repeats, clips, volumes), numbers of rows
    clips: list[str]
    clip_runs: NDArray[np.int64]  # (clips,)
    blocks: list[NDArray[np.int64]]  # see `shift_blocks`
    drift_cycles: float | None  # see `_drift_cycles`


def _used_rows(rows: pd.DataFrame, designs: Designs, high_pass_hz: float) -> _UsedRows:
    usable: NDArray[np.bool_] = np.all(
        [np.isfinite(design).all(1) for design in designs.values()], axis=0
    )
    train = usable & (rows["split"] == "train").to_numpy()
    test, clips = repeat_rows(rows, usable)
    runs = rows["run"].to_numpy()
    blocks = shift_blocks(rows, test)
    drift = _drift_cycles(rows, blocks, len(test), high_pass_hz)
    return _UsedRows(train, runs[train], test, clips, runs[test[0, :, 0]], blocks, drift)


def _drift_cycles(
    rows: pd.DataFrame, blocks: Sequence[NDArray[np.int64]], n_repeats: int, high_pass_hz: float
) -> float | None:
    """Return how many cycles of the slowest frequency that was not removed fit into a test run.

    None if a test run does not play its clips ``n_repeats`` times in a fixed order, or if test runs
    have different lengths: then the noise within a cycle cannot be told from the signal.
    """
    n_volumes = rows[rows["split"] == "test"].groupby("run").size()
    if n_volumes.nunique() != 1 or any(len(block) != n_repeats for block in blocks):
        return None
    return float(high_pass_hz * n_volumes.iat[0] * grid.TR_S)


def _warn_if_untestable(used: _UsedRows, label: str) -> None:
    """Say which numbers the test runs are too few for."""
    if max(block.shape[1] for block in used.blocks) < LEAST_CLIPS:
        log.warning("%s: no test run has %d clips, so there are no p values", label, LEAST_CLIPS)
    if len(used.test) < 2:
        log.warning(
            "%s: the test clips were not repeated, so the noise is unknown: there is neither "
            "explainable variance nor a ceiling", label,
        )  # fmt: skip
    elif used.drift_cycles is None:
        log.warning(
            "%s: not every test run repeats its clips in a fixed order, so it cannot be tested "
            "which voxels are reliable; the ceilings of areas are given", label,
        )  # fmt: skip


@dataclass(frozen=True)
class _Model:
    """One regression: its design (rows, columns), and the columns in each band if it has bands."""

    design: NDArray[np.float32]
    bands: list[int] | None = None


def _models(designs: Designs, banded: bool) -> dict[str, _Model]:
    """Return one model per stage and, if ``banded``, JOINT of those of the trained network."""
    models = {name: _Model(design) for name, design in designs.items()}
    if banded:
        joined = [name for name in designs if not name.startswith(RANDOM)]
        parts = [_first_components(designs[name]) for name in joined]
        models[JOINT] = _Model(np.hstack(parts), [part.shape[1] for part in parts])
    return models


def _first_components(design: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the columns of the first JOINT_COMPONENTS components (rows, delays x components)."""
    by_delay = design.reshape(len(design), len(DELAYS_TR), -1)[:, :, :JOINT_COMPONENTS]
    return by_delay.reshape(len(design), -1)


# --- Blocks of voxels -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Results for some voxels; see `Encoding`. ``matches`` and ``draws`` are sums over voxels."""

    voxels: pd.DataFrame
    edges: dict[str, NDArray[np.int64]]
    patterns: dict[str, NDArray[np.float32]]
    matches: Matches
    draws: Draws


def _encode_block(
    series: NDArray[np.float32],
    used: _UsedRows,
    models: Mapping[str, _Model],
    areas: Areas,
    weights: NDArray[np.float64],
    bar: Bar,
) -> _Block:
    """Fit and score the voxels of ``series`` (rows, voxels)."""
    label = bar.label
    measured = series[used.test]  # (repeats, clips, volumes, voxels)
    unit = scoring.unit_length(measured.mean(0))
    inside = {name: areas.label == number for number, name in enumerate(areas.names, start=1)}
    patterns = {
        name: measured[:, :, PATTERN_FROM_TR:, mask].mean(2) for name, mask in inside.items()
    }
    masks = np.array(list(inside.values()))
    columns: dict[str, NDArray[np.floating]] = {}
    draws: Draws = {}
    if len(measured) > 1:
        powers = reliability.clip_powers(measured, used.clip_runs, used.drift_cycles)
        columns = _ceiling_columns(powers, measured, used)
        draws[RELIABILITY] = reliability.reliability_draws(powers, weights, masks)
    matches, edges = {}, {}
    for name, model in models.items():
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
    bar.label = label
    return _Block(pd.DataFrame(columns, dtype=np.float64), edges, patterns, matches, draws)


def _stage_text(name: str) -> str:
    return name if name == JOINT else f"stage {name}"


def _ceiling_columns(
    powers: reliability.ClipPowers,
    measured: NDArray[np.float32],
    used: _UsedRows,
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
