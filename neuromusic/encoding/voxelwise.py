"""Voxelwise encoding: how well each stage of a network predicts each voxel of one subject.

Each voxel is fitted by ridge regression on the training runs and scored on the test clips, averaged
over their repeats, beside the noise ceiling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.progress import Bar, progress
from neuromusic.encoding import scoring
from neuromusic.encoding.options import DELAYS_TR
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.rois import Areas
from neuromusic.fmri.scans import repeat_rows
from neuromusic.stats import multiple, reliability, significance

VOXELS_AT_ONCE = 5000  # voxels whose series and weights are in memory
CEILING_FLOOR = 0.3  # least noise ceiling of a reliable voxel; its r is divided by the ceiling
PATTERN_FROM_TR = 4  # first volume of a clip's pattern: the response to the clip before has faded
JOINT = "all stages"
# Components of each stage in the joint fit, whose search takes time with the cube of their number.
JOINT_COMPONENTS = 20

Designs = Mapping[str, NDArray[np.float32]]  # stage -> (rows, delays x components)
Matches = Mapping[tuple[str, str], NDArray[np.floating]]  # (area, stage) -> (clips, clips)


@dataclass(frozen=True)
class Encoding:
    """How well each stage predicts the voxels of one subject.

    Parameters
    ----------
    voxels : pandas.DataFrame
        One row per voxel: explainable, explainable_low, explainable_high, ceiling_r, reliable
        (ceiling above CEILING_FLOOR, and interval of explainable above 0), and for each stage r_,
        r2_, p_, alpha_, rc_ (r divided by the ceiling; NaN if not reliable) and q_.
    areas : pandas.DataFrame
        One row per area and stage, see `area_table`.
    edges : dict of arrays (2,)
        Stage -> number of voxels with the smallest and with the largest penalty of the grid.
    patterns : dict of arrays (repeats, clips, voxels)
        Area -> the mean of each presentation's volumes from PATTERN_FROM_TR.
    clips : list of str
        The test clips, in the order of the patterns.
    clip_r : dict of arrays (clips,)
        (area, stage) -> what each clip contributes to the area's mean r, which is their sum.
    """

    voxels: pd.DataFrame
    areas: pd.DataFrame
    edges: dict[str, NDArray[np.int64]]
    patterns: dict[str, NDArray[np.float32]]
    clips: list[str]
    clip_r: dict[tuple[str, str], NDArray[np.float64]]


def encode_voxels(
    series: NDArray[np.float32],
    rows: pd.DataFrame,
    designs: Designs,
    areas: Areas,
    rng: np.random.Generator,
    joined: Sequence[str] = (),
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
    rng : numpy.random.Generator
        Seeds the bootstraps, permutations and searches.
    joined : sequence of str
        Stages whose first JOINT_COMPONENTS components are also fitted together, with one penalty
        per stage (banded ridge).
    label : str
        Beginning of the text of the progress bar.

    Returns
    -------
    Encoding
        The stages in the order of ``designs``, then JOINT.
    """
    used = _used_rows(rows, designs)
    models = _models(designs, joined)
    n_voxels, seed, n_clips = series.shape[1], int(rng.integers(2**32)), len(used.clips)
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
            block_rng = np.random.default_rng([seed, first])
            block = _encode_block(np.asarray(series[:, part]), used, models, labels, block_rng, bar)
            for key, total in matches.items():
                total += block.matches[key]
            for name, count in edges.items():
                count += block.edges[name]
            tables.append(block.voxels)
            patterns.append(block.patterns)
    voxels = _with_reliability(pd.concat(tables, ignore_index=True), list(models))
    table = area_table(voxels, areas, matches)
    joined_patterns = {
        area: np.concatenate([block[area] for block in patterns], axis=2) for area in areas.names
    }
    contributions = clip_contributions(voxels, areas, matches)
    return Encoding(voxels, table, edges, joined_patterns, used.clips, contributions)


# --- Rows and models ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _UsedRows:
    """Which rows are fitted, and which are scored."""

    train: NDArray[np.bool_]  # (rows,)
    runs: NDArray[np.int64]  # (training rows,), the run of each
    test: NDArray[np.int64]  # (repeats, clips, volumes), numbers of rows
    clips: list[str]


def _used_rows(rows: pd.DataFrame, designs: Designs) -> _UsedRows:
    usable: NDArray[np.bool_] = np.all(
        [np.isfinite(design).all(1) for design in designs.values()], axis=0
    )
    train = usable & (rows["split"] == "train").to_numpy()
    test, clips = repeat_rows(rows, usable)
    return _UsedRows(train, rows["run"].to_numpy()[train], test, clips)


@dataclass(frozen=True)
class _Model:
    """One regression: its design (rows, columns), and the columns in each band if it has bands."""

    design: NDArray[np.float32]
    bands: list[int] | None = None


def _models(designs: Designs, joined: Sequence[str]) -> dict[str, _Model]:
    """Return one model per stage, and JOINT if there are stages to join."""
    models = {name: _Model(design) for name, design in designs.items()}
    if joined:
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
    """Results for some voxels; see `Encoding`. ``matches`` are sums over the voxels of an area."""

    voxels: pd.DataFrame
    edges: dict[str, NDArray[np.int64]]
    patterns: dict[str, NDArray[np.float32]]
    matches: Matches


def _encode_block(
    series: NDArray[np.float32],
    used: _UsedRows,
    models: Mapping[str, _Model],
    areas: Areas,
    rng: np.random.Generator,
    bar: Bar,
) -> _Block:
    """Fit and score the voxels of ``series`` (rows, voxels)."""
    label = bar.label
    measured = series[used.test]  # (repeats, clips, volumes, voxels)
    mean = measured.mean(0)
    inside = {name: areas.label == number for number, name in enumerate(areas.names, start=1)}
    patterns = {
        name: measured[:, :, PATTERN_FROM_TR:, mask].mean(2) for name, mask in inside.items()
    }
    columns = _ceiling_columns(measured, rng) if len(measured) > 1 else {}
    matches, edges = {}, {}
    for name, model in models.items():
        bar.label = f"{label}, {_stage_text(name)}"
        fit = fit_ridge(model.design[used.train], series[used.train], used.runs, bands=model.bands)
        repeats = fit.predict(model.design[used.test.ravel()]).reshape(measured.shape)
        scores, clip_matches = _score(repeats.mean(0), mean, rng)
        scores["alpha"] = fit.alpha
        columns |= {f"{key}_{name}": values for key, values in scores.items()}
        edges[name] = np.array([fit.lowest.sum(), fit.highest.sum()])
        for area, mask in inside.items():
            matches[area, name] = clip_matches[mask].sum(0)
        bar.advance()
    bar.label = label
    return _Block(pd.DataFrame(columns, dtype=np.float64), edges, patterns, matches)


def _stage_text(name: str) -> str:
    return name if name == JOINT else f"stage {name}"


def _ceiling_columns(
    measured: NDArray[np.float32], rng: np.random.Generator
) -> dict[str, NDArray[np.floating]]:
    ceiling = reliability.noise_ceiling(measured, rng)
    low, high = ceiling.interval
    return {
        "explainable": ceiling.explainable, "explainable_low": low, "explainable_high": high,
        "ceiling_r": ceiling.r,
    }  # fmt: skip


def _score(
    predicted: NDArray[np.floating], measured: NDArray[np.floating], rng: np.random.Generator
) -> tuple[dict[str, NDArray[np.floating]], NDArray[np.floating]]:
    """Score predictions of the mean of the repeats; both are (clips, volumes, voxels).

    Returns r, r2 and p (voxels,), and `scoring.clip_matches` (voxels, clips, clips).
    """
    matches = scoring.clip_matches(predicted, measured)
    x, y = (array.reshape(-1, array.shape[-1]) for array in (predicted, measured))
    p = significance.clip_permutation_p(matches, rng)
    return {"r": scoring.correlation(x, y), "r2": scoring.r2(y, x), "p": p}, matches


# --- Tables ---------------------------------------------------------------------------------------


def _with_reliability(voxels: pd.DataFrame, stages: Sequence[str]) -> pd.DataFrame:
    """Add reliable, and rc_ and q_ of each stage; see `Encoding`."""
    if "ceiling_r" not in voxels:
        voxels = voxels.assign(explainable_low=np.nan, ceiling_r=np.nan)
    # The ceiling of noise is above the floor now and then, but not with its whole interval.
    voxels["reliable"] = (voxels["ceiling_r"] > CEILING_FLOOR) & (voxels["explainable_low"] > 0)
    for name in stages:
        relative = voxels["r_" + name] / voxels["ceiling_r"]
        voxels[f"rc_{name}"] = relative.where(voxels["reliable"])
        p = voxels[f"p_{name}"].to_numpy()
        multiple.warn_if_nan(p, f"voxels of stage {name}")
        voxels[f"q_{name}"] = multiple.false_discovery(p)
    return voxels


def area_table(voxels: pd.DataFrame, areas: Areas, matches: Matches) -> pd.DataFrame:
    """Return one row per stage and area that has voxels: means, and identification of clips.

    ``voxels`` are those of `Encoding`, ``matches`` are sums over the voxels of each area.

    Columns: area, stage, voxels, reliable and significant (numbers of voxels; significant if q is
    below 0.05), ceiling_r, r and r2 (means), rc (mean over reliable voxels), clips, top1 and top5
    (shares of the clips), mean_rank (from 1).
    """
    rows = []
    for (area, stage), match in matches.items():
        inside = voxels[areas.label == areas.names.index(area) + 1]
        if inside.empty:
            continue
        ranks = scoring.identification_ranks(match)
        rows.append(
            {
                "area": area,
                "stage": stage,
                "voxels": len(inside),
                "reliable": int(inside["reliable"].sum()),
                "significant": int((inside[f"q_{stage}"] < 0.05).sum()),
                "ceiling_r": inside["ceiling_r"].mean(),
                "r": inside[f"r_{stage}"].mean(),
                "r2": inside[f"r2_{stage}"].mean(),
                "rc": inside[f"rc_{stage}"].mean(),
                "clips": len(ranks),
                "top1": float((ranks == 1).mean()),
                "top5": float((ranks <= 5).mean()),
                "mean_rank": float(ranks.mean()),
            }
        )
    return pd.DataFrame(rows)


def clip_contributions(
    voxels: pd.DataFrame, areas: Areas, matches: Matches
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return `Encoding.clip_r`; parameters as for `area_table`."""
    contributions = {}
    for (area, stage), match in matches.items():
        inside = areas.label == areas.names.index(area) + 1
        n_voxels = int(voxels.loc[inside, f"r_{stage}"].notna().sum())
        if n_voxels:
            contributions[area, stage] = np.diag(match).astype(np.float64) / n_voxels
    return contributions
