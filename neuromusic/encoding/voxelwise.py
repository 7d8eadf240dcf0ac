"""Voxelwise encoding: how well each stage of a network predicts each voxel, beside the ceiling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.progress import track
from neuromusic.encoding import rsa, scoring
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.fmri.components import fit_components
from neuromusic.fmri.scans import repeat_rows
from neuromusic.stats import multiple, reliability, significance

DELAYS_TR = (1, 2, 3, 4, 5, 6)
HIGH_PASS_HZ = 1 / 256  # a test run repeats itself after 150 s: a filter at 128 s takes signal away
BLOCK = 5000  # voxels whose images and weights are held at a time
CEILING_FLOOR = 0.3  # a voxel is reliable, and its r divided by its ceiling, where that is above
PATTERN_FROM_TR = 4  # a clip's pattern is the mean of its volumes from here, past the clip before
JOINT = "all stages"
JOINT_COMPONENTS = (
    20  # of each stage where all are fitted together: the search grows with their cube
)

Features = Mapping[str, NDArray[np.float32]]  # stage -> (rows, delays x components)


@dataclass(frozen=True)
class Encoding:
    """What one subject's voxels say of one network.

    ``voxels``: a row a voxel that was scored, with explainable, explainable_low, explainable_high,
    ceiling_r, reliable (ceiling above CEILING_FLOOR, interval above 0) and for each stage r_, r2_,
    rc_ (r over its ceiling, NaN where not reliable), p_, q_, alpha_. ``areas``: a row an area and
    stage. ``edges``: stage -> (voxels whose penalty is the smallest of the grid, the largest).
    ``patterns``: area -> (repeats, clips, voxels).
    """

    voxels: pd.DataFrame
    areas: pd.DataFrame
    edges: dict[str, NDArray[np.int64]]
    patterns: dict[str, NDArray[np.float32]]
    clips: list[str]


def stage_scores(
    block: NDArray[np.float32], training: NDArray[np.bool_], n: int
) -> tuple[NDArray[np.float32], float]:
    """Return the principal components of a stage's responses to clips, and what they explain.

    ``block`` (n_clips, volumes of a clip, units); fitted on the clips that ``training`` (n_clips,)
    marks, every unit standardised there. The scores keep their variances, whose sum over all
    components is 1, so that a ridge on them is one on the units.
    """
    rows = block[training].reshape(-1, block.shape[2]).astype(np.float64)
    rows = rows[np.isfinite(rows).all(1)]  # a clip may end before its presentation does
    mean, deviation = rows.mean(0), rows.std(0)
    varies = deviation > 1e-9 * max(float(deviation.max()), 1e-30)
    standard = (rows[:, varies] - mean[varies]) / deviation[varies]
    fitted = fit_components(standard.astype(np.float32), n)
    whole = (block[..., varies] - mean[varies]) / deviation[varies]
    projected = fitted.project(whole) * fitted.deviation / np.sqrt(varies.sum())
    return projected.astype(np.float32), float(fitted.explained.sum())


def encode(
    y: NDArray[np.float32],
    rows: pd.DataFrame,
    features: Features,
    label: NDArray[np.int64],
    names: Sequence[str],
    rng: np.random.Generator,
    joined: Sequence[str] = (),
) -> Encoding:
    """Fit every voxel by every stage on the training runs; score it on the mean test repeat.

    Parameters
    ----------
    y : (rows, voxels)
        Cleaned images, such as `subjects.clean_scans` returns; read block by block.
    rows : DataFrame
        As in `subjects.Scans`.
    features : stage -> (rows, features)
        As `subjects.stage_features` returns; rows with NaN are neither fitted nor scored.
    label : (voxels,)
        The area of each voxel, n for ``names[n - 1]``.
    joined : sequence of str
        Stages whose first JOINT_COMPONENTS are fitted together as well, with a penalty for each
        stage (banded ridge).

    Returns
    -------
    Encoding
        Stages in the order of ``features``, JOINT after them.
    """
    usable = np.all([np.isfinite(x).all(1) for x in features.values()], axis=0)
    train = usable & (rows["split"] == "train").to_numpy()
    runs = rows["run"].to_numpy()[train]
    cube, clips = repeat_rows(rows, usable)
    designs: dict[str, tuple[NDArray[np.float32], list[int] | None]] = {
        name: (x, None) for name, x in features.items()
    }
    if joined:
        parts = [_first_components(features[name]) for name in joined]
        designs[JOINT] = np.hstack(parts), [x.shape[1] for x in parts]
    n_voxels, seed = y.shape[1], int(rng.integers(2**32))
    blocks: list[pd.DataFrame] = []
    matches = {(a, s): np.zeros((len(clips), len(clips))) for a in names for s in designs}
    edges = {name: np.zeros(2, np.int64) for name in designs}
    patterns: dict[str, list[NDArray[np.float32]]] = {area: [] for area in names}
    for first in track(range(0, n_voxels, BLOCK), "encode", -(-n_voxels // BLOCK)):
        part = np.asarray(y[:, first : first + BLOCK])
        measured = part[cube]  # (repeats, clips, volumes, voxels)
        mean = measured.mean(0)
        draws = np.random.default_rng([seed, first])
        inside = {
            area: label[first : first + BLOCK] == index for index, area in enumerate(names, start=1)
        }
        for area, mine in inside.items():
            patterns[area].append(measured[:, :, PATTERN_FROM_TR:, mine].mean(2))
        columns = _ceiling_columns(measured, draws) if len(cube) > 1 else {}
        for name, (x, bands) in designs.items():
            fit = fit_ridge(x[train], part[train], runs, bands=bands)
            predicted = fit.predict(x[cube.ravel()]).reshape(measured.shape).mean(0)
            found, fits = _score(predicted, mean, draws)
            found["alpha"] = fit.alpha
            columns |= {f"{key}_{name}": value for key, value in found.items()}
            edges[name] += fit.lowest.sum(), fit.highest.sum()
            for area, mine in inside.items():
                matches[area, name] += fits[mine].sum(0)
        blocks.append(pd.DataFrame(columns, dtype=np.float64))
    voxels = _above_chance(pd.concat(blocks, ignore_index=True), list(designs))
    areas = area_table(voxels, label, names, matches)
    joined_patterns = {area: np.concatenate(parts, axis=2) for area, parts in patterns.items()}
    return Encoding(voxels, areas, edges, joined_patterns, clips)


def _first_components(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the JOINT_COMPONENTS first components of (rows, delays x components)."""
    by_delay = x.reshape(len(x), len(DELAYS_TR), -1)[:, :, :JOINT_COMPONENTS]
    return by_delay.reshape(len(x), -1)


def _ceiling_columns(
    measured: NDArray[np.float32], draws: np.random.Generator
) -> dict[str, NDArray[np.floating]]:
    ceiling = reliability.noise_ceiling(measured, draws)
    low, high = ceiling.interval
    return {
        "explainable": ceiling.explainable, "explainable_low": low, "explainable_high": high,
        "ceiling_r": ceiling.r,
    }  # fmt: skip


def _score(
    predicted: NDArray[np.floating], mean: NDArray[np.floating], draws: np.random.Generator
) -> tuple[dict[str, NDArray[np.floating]], NDArray[np.floating]]:
    """Score what is predicted (clips, volumes, voxels) on the mean of the repeats.

    Returns r, r2 and p (voxels,), and how well each clip matches each (voxels, clips, clips).
    """
    fits = scoring.clip_matches(predicted, mean)
    flat, true = (each.reshape(-1, each.shape[-1]) for each in (predicted, mean))
    p = significance.permutation_p(fits, draws)
    return {"r": scoring.correlation(flat, true), "r2": scoring.r2(true, flat), "p": p}, fits


def _above_chance(voxels: pd.DataFrame, stages: Sequence[str]) -> pd.DataFrame:
    """Add reliable, and rc_ and q_ of each stage; see `Encoding`."""
    if "ceiling_r" not in voxels:
        voxels = voxels.assign(explainable_low=np.nan, ceiling_r=np.nan)
    # Noise alone reaches the floor now and then, but not with its whole interval.
    voxels["reliable"] = (voxels["ceiling_r"] > CEILING_FLOOR) & (voxels["explainable_low"] > 0)
    for name in stages:
        above = voxels["r_" + name] / voxels["ceiling_r"]
        voxels[f"rc_{name}"] = above.where(voxels["reliable"])
        voxels[f"q_{name}"] = multiple.false_discovery(voxels[f"p_{name}"].to_numpy())
    return voxels


def area_table(
    voxels: pd.DataFrame,
    label: NDArray[np.int64],
    names: Sequence[str],
    matches: Mapping[tuple[str, str], NDArray[np.float64]],
) -> pd.DataFrame:
    """Return a row an area that has voxels and stage: means over them, and which clip was heard.

    r and r2 are means, rc that of the ``reliable`` voxels; ``significant`` ones have q below 0.05;
    top1 and top5 are shares of the clips, mean_rank is from 1.
    """
    out = []
    for (area, stage), matrix in matches.items():
        own = voxels[label == names.index(area) + 1]
        if own.empty:
            continue
        ranks = scoring.identification(matrix)
        out.append(
            {
                "area": area,
                "stage": stage,
                "voxels": len(own),
                "reliable": int(own["reliable"].sum()),
                "significant": int((own[f"q_{stage}"] < 0.05).sum()),
                "ceiling_r": own["ceiling_r"].mean(),
                "r": own[f"r_{stage}"].mean(),
                "r2": own[f"r2_{stage}"].mean(),
                "rc": own[f"rc_{stage}"].mean(),
                "clips": len(ranks),
                "top1": float((ranks == 1).mean()),
                "top5": float((ranks <= 5).mean()),
                "mean_rank": float(ranks.mean()),
            }
        )
    return pd.DataFrame(out)


def stage_by_area(
    stages: Mapping[str, NDArray[np.float32]],
    patterns: Sequence[Mapping[str, NDArray[np.float32]]],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare the dissimilarities of stages with those of areas over the test clips.

    ``stages``: stage -> (clips, units); ``patterns``: a subject's area -> (repeats, clips, voxels),
    one mapping a subject, their clips in the same order. Returns a row an area and stage: rho of
    the mean of the subjects' dissimilarities, its p, and the noise ceiling (between subjects, or
    for one subject between repeats).
    """
    out = []
    for area in dict.fromkeys(area for subject in patterns for area in subject):
        of = [
            subject[area] for subject in patterns if area in subject and subject[area].shape[2] > 1
        ]
        if not of:
            continue
        rdms = [rsa.dissimilarity(each.mean(0)) for each in of]
        if len(rdms) > 1:
            low, high = rsa.subject_ceiling(rdms)
        else:
            low = high = rsa.repeat_ceiling(of[0]) if len(of[0]) > 1 else float("nan")
        mean = np.mean([rdm / rdm.std() for rdm in rdms], axis=0)
        for stage, units in stages.items():
            rho, p = rsa.similarity(rsa.dissimilarity(units), mean, rng)
            out.append(
                {
                    "area": area, "stage": stage, "rho": rho, "p": p, "ceiling_low": low,
                    "ceiling_high": high, "subjects": len(rdms),
                }
            )  # fmt: skip
    return pd.DataFrame(out)
