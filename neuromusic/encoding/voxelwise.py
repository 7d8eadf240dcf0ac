"""Voxelwise encoding: how well each stage of a network predicts each voxel of one subject.

Each voxel is fitted by ridge regression on the training runs and scored on the test clips, averaged
over their repeats, beside the noise ceiling.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.progress import Bar, progress
from neuromusic.encoding import scoring
from neuromusic.encoding.area_results import AreaResults
from neuromusic.encoding.blocks import BlockScores, Sums
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import UsedRows, fit_folds, warn_if_untestable
from neuromusic.encoding.fits import Fits, Outline
from neuromusic.encoding.model_names import BASELINE, JOINT
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.rsa import area_rdms
from neuromusic.encoding.score_tables import (
    RELIABILITY,
    AreaTotals,
    area_table,
    mean_r,
    with_best,
    with_q,
    with_reliability,
)
from neuromusic.encoding.unique_fits import (
    UniqueTotals,
    fit_additions,
    unique_table,
    with_unique_q,
)
from neuromusic.stats import reliability
from neuromusic.stats.shifts import shift_sums, shift_test

EDGES, DRAWS, MATCHES, SHIFTS = "edges", "draws", "matches", "shifts"  # first part of keys of sums


@dataclass(frozen=True, kw_only=True)
class Encoding(AreaResults):
    """How well each stage predicts the voxels of one subject, and its areas.

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
    edges : dict of arrays (2,)
        Stage -> number of voxels with the smallest and with the largest penalty of the grid.
    left_out : list of str
        One sentence for each reason why stages have no unique variance.
    """

    voxels: pd.DataFrame
    edges: dict[str, NDArray[np.int64]]
    left_out: list[str] = field(default_factory=list)


def encode_voxels(
    series: NDArray[np.float32],
    used: UsedRows,
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
        Cleaned voxels; all are fitted as one block.
    used : UsedRows
        Which rows are fitted and scored, see `used_rows`.
    designs : Designs
        As `stage_design` returns them.
    areas : Areas
        Area of each of the voxels.
    options : EncodingOptions
        ``banded``: also fit the first JOINT_COMPONENTS components of all stages of the trained
        network together, with one penalty per stage, and use one penalty per group in the acoustic
        baseline.
    label : str
        Beginning of the text of the progress bar.
    clean : collection of str, optional
        Test clips on which areas are also scored separately.

    Returns
    -------
    Encoding
        The stages in the order of ``designs``, then JOINT and BASELINE.
    """
    fits = Fits.of(used, designs, options.banded, clean)
    with progress(f"{label}: fitting {series.shape[1]:,} voxels", fits.n_fits) as bar:
        block = encode_block(np.asarray(series), fits, areas, bar)
    return encoding_of(block, fits.outline, areas, label)


# --- Blocks of voxels -----------------------------------------------------------------------------


def encode_block(
    series: NDArray[np.float32], fits: Fits, areas: Areas, bar: Bar | None = None
) -> BlockScores:
    """Fit and score the voxels of ``series`` (rows, voxels); ``bar`` counts the regressions."""
    bar = bar or Bar("", None)
    label, used, weights = bar.label, fits.outline.used, fits.weights
    rows = used.centred(series[used.test.ravel()])
    standard = used.standardised(rows)
    measured = standard.reshape(*used.test.shape, -1)  # (repeats, clips, volumes, voxels)
    unit = [scoring.unit_length(each) for each in used.scored(standard)]
    inside = {name: areas.label == number for number, name in enumerate(areas.names, start=1)}
    masks = np.array(list(inside.values()))
    columns: dict[str, NDArray[np.floating]] = {}
    sums: Sums = {}
    if len(measured) > 1:
        powers = reliability.clip_powers(measured, used.clip_runs, used.drift_cycles)
        if used.each_repeat:  # the ceiling of one presentation
            powers = powers._replace(mean=powers.single)
        columns = _ceiling_columns(powers, measured, used)
        sums[DRAWS, RELIABILITY] = reliability.reliability_draws(powers, weights, masks)
    for name in fits.models:
        bar.label = f"{label}, {_stage_text(name)}"
        fit = fit_folds(fits.of_model(name), series, used)
        centred = used.centred(fit.repeats)
        predictions = used.standardised(centred)
        r, p, shifts = _score(predictions, standard, used)
        r2 = _r2(centred, rows, used)
        scores = {"r": r, "r2": r2, "p": p, "mse": fit.loss, "alpha": fit.alpha}
        predicted = [scoring.unit_length(each) for each in used.scored(predictions)]
        columns |= {f"{key}_{name}": values for key, values in scores.items()}
        sums[EDGES, name] = fit.edges.astype(np.float64)
        sums[DRAWS, name] = _mean(reliability.correlation_draws, predicted, unit, weights, masks)
        if not used.in_order:
            scale = (masks * _scale(predictions, standard)).T
            for number, each in enumerate(shifts):
                sums[SHIFTS, name, str(number)] = each @ scale
        for area, mask in inside.items():
            sums[MATCHES, area, name] = _mean(
                scoring.clip_matches, [each[..., mask] for each in predicted],
                [each[..., mask] for each in unit],
            )  # fmt: skip
        bar.advance()
    if BASELINE in fits.models:  # the last one, so these are its predictions
        bar.label = f"{label}, unique variance"

        def added(key: tuple[str, str]) -> NDArray[np.float32]:
            out = fit_folds(fits.of_comparison(key), series, used, centred=True).repeats
            bar.advance()
            return out

        unique, totals = fit_additions(series, used, fits.nested, fit.repeats, areas, added)
        columns |= unique
        sums |= totals
    bar.label = label
    patterns = {
        name: measured[:, :, used.pattern_from :, mask].mean(2) for name, mask in inside.items()
    }
    return BlockScores(
        {name: np.asarray(values, np.float64) for name, values in columns.items()}, patterns, sums
    )


def encoding_of(block: BlockScores, outline: Outline, areas: Areas, label: str) -> Encoding:
    """Return the result for all voxels of a subject.

    ``block`` has the scores of all of them, see `blocks.joined`, and ``areas`` the area of each;
    ``label`` begins warnings.
    """
    used, models = outline.used, outline.models
    warn_if_untestable(used, label)
    voxels = with_reliability(pd.DataFrame(block.columns), models)
    voxels = with_unique_q(with_q(with_best(voxels, outline.stages), models))
    sums, n_runs = block.sums, len(used.blocks)
    of_lines = {
        (area, name): [sums[SHIFTS, name, str(run)][:, index] for run in range(n_runs)]
        for name in models
        for index, area in enumerate(areas.names)
        if not used.in_order
    }
    totals = AreaTotals(
        {(key[1], key[2]): value for key, value in sums.items() if key[0] == MATCHES},
        {key[1]: value for key, value in sums.items() if key[0] == DRAWS},
        used.clip_runs, of_lines, used.has_folds, outline.has_tests,
    )  # fmt: skip
    beyond = UniqueTotals.of(sums, areas, n_runs, used.has_folds, outline.has_tests)
    edges = {name: sums[EDGES, name].astype(np.int64) for name in models}
    return Encoding(
        voxels=voxels,
        edges=edges,
        left_out=outline.left_out,
        areas=area_table(voxels, areas, totals, outline.sets),
        rdms=area_rdms(block.patterns, used.clip_runs),
        clips=used.clips,
        clip_runs=used.clip_runs,
        n_volumes=used.test.shape[2],
        area_r=mean_r(areas, totals, outline.sets[0]),
        area_shifts={key: totals.shifts(key, outline.sets[0]) for key in totals.matches},
        has_folds=used.has_folds,
        unique=unique_table(voxels, areas, beyond, outline.below, used.clip_runs),
    )


def _mean(
    function: Callable[..., NDArray[np.float64]],
    predicted: Sequence[NDArray[np.float32]],
    measured: Sequence[NDArray[np.float32]],
    *more: Any,
) -> NDArray[np.float64]:
    """Return the mean of a score over what is scored: one array, or one for each repeat."""
    parts = [function(x, y, *more) for x, y in zip(predicted, measured, strict=True)]
    return parts[0] if len(parts) == 1 else np.asarray(np.mean(parts, axis=0))


def _scale(predicted: NDArray[np.float32], measured: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 1 / the product of the lengths of two arrays (rows, voxels); 0 if one is constant."""
    product = predicted.std(0, dtype=np.float64) * measured.std(0, dtype=np.float64)
    return np.divide(1, product * len(measured), out=np.zeros_like(product), where=product > 0)


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
            measured, used.clip_runs, used.drift_cycles, used.tr_s
        ),
    }  # fmt: skip


def _score(
    predicted: NDArray[np.float32], measured: NDArray[np.float32], used: UsedRows
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[NDArray[np.float64]]]:
    """Score predictions of measurements, both (``used.test.ravel()``, voxels).

    Returns r and p (voxels,), and the matches of each run at each shift.
    """
    pairs = zip(used.played(predicted), used.played(measured), strict=True)
    sums = [shift_sums(x, y) for x, y in pairs]
    x, y = _flat(predicted, used), _flat(measured, used)
    return _mean(scoring.correlation, x, y), shift_test(sums, used.has_folds).p, sums


def _r2(
    predicted: NDArray[np.float32], measured: NDArray[np.float32], used: UsedRows
) -> NDArray[np.float64]:
    return _mean(scoring.r2, _flat(measured, used), _flat(predicted, used))


def _flat(rows: NDArray[np.float32], used: UsedRows) -> list[NDArray[np.float32]]:
    """Return what is scored as arrays (clips x volumes, voxels)."""
    return [each.reshape(-1, each.shape[-1]) for each in used.scored(rows)]
