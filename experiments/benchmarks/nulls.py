"""Simulate every test, interval and ceiling of an encoding under its null and a known truth.

    python experiments/benchmarks/nulls.py [--size small|full] [--out FILE]

The test runs are those of ds003720 (all 6, and the first 2), voxels are simulated
(nulls_simulations.py) and go through the package's own filter and statistics. Prints a Markdown
table, which docs/statistics.md explains. ``small`` takes two minutes, ``full`` half an hour on one
core. The same size gives the same table.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nulls_simulations as simulated
import numpy as np
from nulls_simulations import LEVEL, NOISES, RESPONSES, UNRELATED_EXPLAINABLE, Array, Design

from neuromusic.design import grid
from neuromusic.encoding.options import HIGH_PASS_HZ
from neuromusic.encoding.rsa import similarity_table
from neuromusic.encoding.voxelwise import PATTERN_FROM_TR
from neuromusic.stats import reliability
from neuromusic.stats.group import prevalence_test, subject_t_test
from neuromusic.stats.intervals import accuracy_ci95, difference_ci95
from neuromusic.stats.resampled_t import corrected_resampled_t
from neuromusic.stats.resampling import random_halves
from neuromusic.stats.shifts import shift_sums, shift_test

LEVELS = (0.05, 0.01, 0.001)
EXPLAINABLE = (0.01, 0.02, 0.03, 0.05, 0.1, 0.3)
TRUE_SCORE = 0.6  # correlation of the prediction with the noiseless response
POWER_EXPLAINABLE = 0.05  # of the voxels whose detection is counted
AREA_VOXELS, AREA_LATENTS, SHARED_NOISE = 200, 20, 0.01
PATTERN_VOXELS = 50  # of an area in a similarity
BLOCK = 2000  # voxels at once
COLUMNS = (
    "statistic", "design", "data", "n", "< .05", "< .01", "< .001", "estimate / truth", "coverage",
)  # fmt: skip
# Size -> voxels per cell, areas per cell, cheap simulations per cell.
SIZES = {"small": (2000, 12, 400), "full": (16_000, 300, 4000)}

Row = dict[str, Any]


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    text = markdown(list(table(args.size)))
    print(text)
    if args.out:
        args.out.write_text(text + "\n", "utf-8")


def table(size: str) -> Iterator[Row]:
    """Yield the rows of the table; each has the keys COLUMNS, with None where nothing applies."""
    voxels, areas, cheap = SIZES[size]
    for n_runs in (6, 2):
        design = simulated.test_design(n_runs)
        yield from predictions(design, voxels)
        yield from single_voxels(design, voxels)
        yield from area_scores(design, areas)
        yield from similarity(design, cheap // 4)
    yield from others(cheap)


def row(statistic: str, design: str, data: str, n: int, **values: Any) -> Row:
    """Return a row; ``p`` (n,) gives the shares below LEVELS."""
    p = values.pop("p", None)
    shares = [float((np.asarray(p) < level).mean()) for level in LEVELS] if p is not None else []
    cells: Row = dict.fromkeys(COLUMNS)
    cells |= {"statistic": statistic, "design": design, "data": data, "n": n}
    cells |= dict(zip(COLUMNS[4:7], shares, strict=False))
    return cells | {key.replace("_", " / "): value for key, value in values.items()}


def markdown(rows: list[Row]) -> str:
    """Return the table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(_text(cells[key]) for key in COLUMNS) + " |" for cells in rows]
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}".replace("0.", ".", 1) if value < 1 else f"{value:.3f}"
    return "" if value is None else str(value)


# --- Voxels ---------------------------------------------------------------------------------------


def in_blocks(voxels: int, seed: list[int], block: Callable[[Any], Any]) -> list[Any]:
    """Return what ``block`` returns for each BLOCK of voxels, with its own generator."""
    return [block(np.random.default_rng([*seed, first])) for first in range(0, voxels, BLOCK)]


def data_of(design: Design, kind: str, rng: np.random.Generator) -> Any:
    """Return cleaned null voxels: noise of ``kind``, or responses in noise of AR(1) .3."""
    if kind in NOISES:
        return simulated.voxels_with_noise(design, kind, None, 0, BLOCK, rng)
    response = simulated.signal(design, kind, BLOCK, rng)
    return simulated.voxels_with_noise(
        design, NOISES[1], response, UNRELATED_EXPLAINABLE, BLOCK, rng
    )


def prediction_p(design: Design, predicted: Any, measured: Any) -> Array:
    """Return p of predictions (repeats, clips, volumes, voxels), as `encode` does."""
    sums = [
        shift_sums(predicted.mean(0)[design.runs == run], measured.mean(0)[design.runs == run])
        for run in np.unique(design.runs)
    ]
    return shift_test(sums).p


def predictions(design: Design, voxels: int) -> Iterator[Row]:
    """Test fixed linear predictions of unrelated voxels, and of voxels that they predict."""

    def null(kind: str, rng: np.random.Generator) -> Array:
        predicted = simulated.signal(design, simulated.COURSE, BLOCK, rng)
        measured = data_of(design, kind, rng)
        return prediction_p(design, simulated.filtered_runs(design, predicted), measured)

    def driven(kind: str, rng: np.random.Generator) -> Array:
        first, second = (simulated.signal(design, simulated.COURSE, BLOCK, rng) for _ in range(2))
        response = TRUE_SCORE * first + np.sqrt(1 - TRUE_SCORE**2) * second
        measured = simulated.voxels_with_noise(
            design, kind, response, POWER_EXPLAINABLE, BLOCK, rng
        )
        return prediction_p(design, simulated.filtered_runs(design, first), measured)

    for number, kind in enumerate(NOISES + RESPONSES):
        p = np.concatenate(in_blocks(voxels, [1, number], partial(null, kind)))
        yield row("p of r", design.name, f"null: {kind}", len(p), p=p)
    for number, kind in enumerate(NOISES):
        p = np.concatenate(in_blocks(BLOCK, [2, number], partial(driven, kind)))
        yield row("p of r", design.name, f"power: explainable .05, {kind}", len(p), p=p)


def drift_cycles(design: Design) -> float:
    """Return up to how many cycles per run the filter removes."""
    n_volumes = design.clip.shape[1] - grid.VOLUMES_PER_CLIP
    return HIGH_PASS_HZ * n_volumes * grid.TR_S


def single_voxels(design: Design, voxels: int) -> Iterator[Row]:
    """Explainable variance with its interval, and the test of the reliability."""

    def block(kind: str, share: float, rng: np.random.Generator) -> Any:
        response = simulated.signal(design, LEVEL, BLOCK, rng) if share else None
        measured = simulated.voxels_with_noise(design, kind, response, share, BLOCK, rng)
        powers = reliability.clip_powers(measured, design.runs, drift_cycles(design))
        p = reliability.reliability_test(measured, design.runs, drift_cycles(design))
        return (*reliability.explainable_variance(powers), p)

    for number, kind in enumerate(NOISES):
        for share in (0.0, 0.05, 0.3):
            n = voxels if not share else BLOCK
            seed = [3, number, round(100 * share)]
            found = in_blocks(n, seed, partial(block, kind, share))
            value, low, high, p = (np.concatenate(part) for part in zip(*found, strict=True))
            inside = float(((low <= share) & (share <= high)).mean())
            data = f"explainable {share:g}, {kind}" if share else f"null: {kind}"
            ratio = float(value.mean() / share) if share else None
            yield row("p of the reliability", design.name, data, n, p=p)
            yield row(
                "explainable variance", design.name, data, n, estimate_truth=ratio, coverage=inside
            )


def area_scores(design: Design, areas: int) -> Iterator[Row]:
    """Mean r, ceiling and score of an area: their ratio to the truth, and their intervals."""
    inside = np.ones((1, AREA_VOXELS), bool)
    weights = reliability.clip_weights(design.runs)

    def one(kind: str, share: float, rng: np.random.Generator) -> reliability.AreaScore:
        first, second = simulated.latent_signals(design, AREA_VOXELS, AREA_LATENTS, rng)
        response = TRUE_SCORE * first + np.sqrt(1 - TRUE_SCORE**2) * second
        measured = simulated.voxels_with_noise(
            design, kind, response, share, AREA_VOXELS, rng, SHARED_NOISE
        )
        predicted = simulated.filtered_runs(design, first).mean(0)
        powers = reliability.clip_powers(measured, design.runs, drift_cycles(design))
        r_sums = reliability.correlation_draws(predicted, measured.mean(0), weights, inside)
        of_repeats = reliability.reliability_draws(powers, weights, inside)
        return reliability.area_score(r_sums[:, 0], of_repeats[:, 0], AREA_VOXELS)

    for number, kind in enumerate(NOISES):
        for share in EXPLAINABLE:
            seeds = ([4, number, round(100 * share), index] for index in range(areas))
            found = np.array([one(kind, share, np.random.default_rng(seed)) for seed in seeds])
            noise = (1 - share) * simulated.noise_in_mean(kind, design)
            ceiling = np.sqrt(share / (share + noise))
            truths = (("r", TRUE_SCORE * ceiling), ("ceiling", ceiling), ("score", TRUE_SCORE))
            for column, (name, truth) in enumerate(truths):
                value, low, high = found[:, 3 * column : 3 * column + 3].T
                known = np.isfinite(low)
                yield row(
                    f"{name} of an area", design.name, f"explainable {share:g}, {kind}",
                    int(known.sum()), estimate_truth=float(np.nanmedian(value) / truth),
                    coverage=float(((low <= truth) & (truth <= high))[known].mean())
                    if known.any() else None,
                )  # fmt: skip


def similarity(design: Design, areas: int) -> Iterator[Row]:
    """Compare areas of noise with a stage whose units answer to the genre of a clip."""
    n_clips = design.n_clips
    genre = np.eye(n_clips // len(design.clip))[np.arange(n_clips) % (n_clips // len(design.clip))]
    for number, kind in enumerate(NOISES):
        p = []
        for index in range(areas):
            rng = np.random.default_rng([5, number, index])
            stages = {"genre": (genre + 0.1 * rng.standard_normal(genre.shape)).astype(np.float32)}
            measured = simulated.voxels_with_noise(design, kind, None, 0, PATTERN_VOXELS, rng)
            patterns = {"area": measured[:, :, PATTERN_FROM_TR:].mean(2)}
            p.append(similarity_table(stages, [patterns], design.runs, rng)["p"].iat[0])
        yield row("p of rho", design.name, f"null: stage tuned to genre, {kind}", areas, p=p)


# --- Tests and intervals without voxels -----------------------------------------------------------


def others(n: int) -> Iterator[Row]:
    """Tests over splits and subjects, and intervals of accuracies."""
    rng = np.random.default_rng(5)
    yield row(
        "t over subjects", "5 subjects", "null: normal", n,
        p=[subject_t_test(rng.standard_normal(5)).p for _ in range(n)],
    )  # fmt: skip
    yield row(
        "prevalence", "5 subjects", "null: uniform p", n,
        p=[prevalence_test(rng.random(5)).p for _ in range(n)],
    )  # fmt: skip
    yield row(
        "corrected resampled t", "165 sounds, 10 halves", "null: equal features", n,
        p=[_resampled_p(rng, seed) for seed in range(n)],
    )  # fmt: skip
    for accuracy in (0.6, 0.9):
        hits = rng.random((n, 60)) < accuracy
        limits = np.array([accuracy_ci95(each, np.arange(60)) for each in hits])
        inside = (limits[:, 0] <= accuracy) & (accuracy <= limits[:, 1])
        yield row(
            "accuracy", "60 clips", f"accuracy {accuracy:g}", n,
            estimate_truth=float(hits.mean() / accuracy), coverage=float(inside.mean()),
        )  # fmt: skip
    limits = np.array(
        [
            difference_ci95(rng.random(60) < 0.6, rng.random(60) < 0.6, np.arange(60))
            for _ in range(n)
        ]
    )
    inside = (limits[:, 0] <= 0) & (limits[:, 1] >= 0)
    yield row(
        "difference of accuracies", "60 clips", "no difference", n, coverage=float(inside.mean())
    )


def _resampled_p(rng: np.random.Generator, seed: int) -> float:
    """Return p of two equally good sets of features over ten random halves of 165 sounds."""
    response, first, second = rng.standard_normal((3, 165))
    first, second = first + response, second + response
    differences = []
    for train, test in random_halves(165, 10, seed):
        errors = []
        for feature in (first, second):
            slope = feature[train] @ response[train] / (feature[train] @ feature[train])
            errors.append(((response[test] - slope * feature[test]) ** 2).mean())
        differences.append(errors[0] - errors[1])
    return float(corrected_resampled_t(np.array(differences), 82, 83).p)


if __name__ == "__main__":
    main()
