"""Simulate every test, interval and ceiling of an encoding under its null and a known truth.

    python experiments/benchmarks/nulls.py [--size small|full] [--folds | --timed] [--out FILE]

The runs are those of ds003720 (all 6 test runs, or the first 2); for folds they are like those of
ds000113 (nulls_schemes.py). Voxels are simulated (nulls_simulations.py) and go through the
package's own filter and statistics. Prints a Markdown table, explained in
docs/explanation/statistics.md. On one core ``small`` takes four minutes, ``full`` about an hour.
The same size gives the same table.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nulls_models as models
import nulls_simulations as simulated
import numpy as np
from nulls_models import Numbers, Row, prediction_p, row
from nulls_schemes import schemes
from nulls_simulations import COURSE, LEVEL, NOISES, RESPONSES, Design, Floats32, real_design
from nulls_timed import timed_responses

from neuromusic.stats import reliability

EXPLAINABLE = (0.01, 0.02, 0.03, 0.05, 0.1, 0.3)
TRUE_SCORE = 0.6  # correlation of the prediction with the noiseless response
POWER_EXPLAINABLE = 0.05  # of the voxels whose detection is counted
UNRELATED_EXPLAINABLE = 0.3  # of voxels that respond unlike the features
AREA_VOXELS, AREA_LATENTS, SHARED_NOISE = 200, 20, 0.01
BLOCK = 2000  # voxels at once
SIZES = {
    "small": Numbers(
        voxels=2000, areas=20, explainable=(0.02, 0.3), fitted=500, cheap=200, timed=200
    ),
    "full": Numbers(
        voxels=16_000, areas=160, explainable=EXPLAINABLE, fitted=8000, cheap=4000, timed=400
    ),
}
HEADER = (
    "statistic", "design", "data", "n", "< .05", "< .01", "< .001", "estimate / truth", "coverage",
)  # fmt: skip


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--folds", action="store_true", help="only the rows of nulls_schemes.py")
    parser.add_argument("--timed", action="store_true", help="only those of nulls_timed.py")
    parser.add_argument("--out", type=Path, help="also write the table to this file, line by line")
    args = parser.parse_args()
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    print("\n".join(lines), flush=True)
    start = time.process_time()
    numbers = SIZES[args.size]
    only_timed = timed_responses(numbers.timed) if args.timed else table(numbers)
    for cells in schemes(numbers) if args.folds else only_timed:
        lines.append("| " + " | ".join(_text(cells[key]) for key in HEADER) + " |")
        print(lines[-1], flush=True)
        if args.out:
            args.out.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"\n{time.process_time() - start:.0f} s of processor time")


def table(numbers: Numbers) -> Iterator[Row]:
    """Yield the rows of the table; each has the keys HEADER, with None where nothing applies."""
    for n_runs in (6, 2):
        design = real_design("test", n_runs)
        yield from predictions(design, numbers)
        yield from models.fitted_predictions(design, numbers)
        yield from single_voxels(design, numbers)
        yield from area_scores(design, numbers)
        yield from models.contrasts(design, numbers)
        yield from models.unique_variances(design, numbers)
        yield from models.identifications(design, numbers)
        yield from models.similarities(design, numbers)
    yield from models.others(numbers.cheap)
    yield from timed_responses(numbers.timed)
    yield from schemes(numbers)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.4f}"
    return "" if value is None else str(value)


# --- Voxels ---------------------------------------------------------------------------------------


def in_blocks(n: int, block: int, seed: list[int], one: Callable[[Any], Any]) -> list[Any]:
    """Return what ``one`` returns for each block of n, with its own generator."""
    return [one(np.random.default_rng([*seed, first])) for first in range(0, n, block)]


def null_voxels(design: Design, kind: str, rng: np.random.Generator) -> Floats32:
    """Return cleaned voxels: noise of ``kind``, or responses in noise of AR(1) .3."""
    if kind in NOISES:
        return simulated.voxels_with_noise(design, kind, None, 0, BLOCK, rng)
    response = simulated.signal(design, kind, BLOCK, rng)
    return simulated.voxels_with_noise(
        design, NOISES[1], response, UNRELATED_EXPLAINABLE, BLOCK, rng
    )


def two_responses(first: Floats32, second: Floats32) -> Floats32:
    """Return a response that correlates TRUE_SCORE with the first of two unrelated ones."""
    return np.float32(TRUE_SCORE) * first + np.float32(np.sqrt(1 - TRUE_SCORE**2)) * second


def predictions(design: Design, numbers: Numbers) -> Iterator[Row]:
    """Test given predictions of unrelated voxels, and of voxels that they predict."""

    def null(kind: str, rng: np.random.Generator) -> Any:
        predicted = simulated.filtered_runs(simulated.signal(design, COURSE, BLOCK, rng))
        return prediction_p(
            design, simulated.by_clip(design, predicted), null_voxels(design, kind, rng)
        )

    def driven(kind: str, rng: np.random.Generator) -> Any:
        first, second = (simulated.signal(design, COURSE, BLOCK, rng) for _ in range(2))
        response = two_responses(first, second)
        measured = simulated.voxels_with_noise(
            design, kind, response, POWER_EXPLAINABLE, BLOCK, rng
        )
        predicted = simulated.by_clip(design, simulated.filtered_runs(first))
        return prediction_p(design, predicted, measured)

    for number, kind in enumerate(NOISES + RESPONSES):
        n = numbers.voxels
        p = np.concatenate(in_blocks(n, BLOCK, [1, number], partial(null, kind)))
        yield row("p of r", design.name, f"null: {kind}", n, p=p)
    for number, kind in enumerate(NOISES):
        p = np.concatenate(in_blocks(BLOCK, BLOCK, [2, number], partial(driven, kind)))
        data = f"power: explainable {POWER_EXPLAINABLE:g}, score {TRUE_SCORE:g}, {kind}"
        yield row("p of r", design.name, data, BLOCK, p=p)


def single_voxels(design: Design, numbers: Numbers) -> Iterator[Row]:
    """Explainable variance with its interval, and the test of the reliability."""

    def block(kind: str, share: float, rng: np.random.Generator) -> Any:
        response = simulated.signal(design, LEVEL, BLOCK, rng) if share else None
        measured = simulated.voxels_with_noise(design, kind, response, share, BLOCK, rng)
        powers = reliability.clip_powers(measured, design.runs, design.drift_cycles)
        p = reliability.reliability_test(measured, design.runs, design.drift_cycles, simulated.TR_S)
        return (*reliability.explainable_variance(powers), p)

    for number, kind in enumerate(NOISES):
        for share in (0.0, POWER_EXPLAINABLE, 0.3):
            seed = [3, number, round(100 * share)]
            found = in_blocks(numbers.voxels, BLOCK, seed, partial(block, kind, share))
            value, low, high, p = (np.concatenate(part) for part in zip(*found, strict=True))
            truth = simulated.truth(kind, LEVEL, share).explainable if share else 0.0
            inside = float(((low <= truth) & (truth <= high)).mean())
            if share < 0.3:
                data = f"power: explainable {share:g}, {kind}" if share else f"null: {kind}"
                yield row("p_reliable", design.name, data, len(p), p=p)
            ratio = float(value.mean() / truth) if share else None
            yield row(
                "explainable", design.name, f"explainable {share:g}, {kind}", len(p),
                estimate_truth=ratio, coverage=inside,
            )  # fmt: skip


# --- Areas ----------------------------------------------------------------------------------------


def area_scores(design: Design, numbers: Numbers) -> Iterator[Row]:
    """Mean r, ceiling and rc of an area: their ratio to the truth, and their intervals."""
    weights, inside = reliability.clip_weights(design.runs), np.ones((1, AREA_VOXELS), bool)

    def one(kind: str, share: float, rng: np.random.Generator) -> reliability.AreaScore:
        first, second = simulated.latent_signals(design, AREA_VOXELS, AREA_LATENTS, rng)
        measured = simulated.voxels_with_noise(
            design, kind, two_responses(first, second), share, AREA_VOXELS, rng, SHARED_NOISE
        )
        predicted = simulated.by_clip(design, simulated.filtered_runs(first)).mean(0)
        powers = reliability.clip_powers(measured, design.runs, design.drift_cycles)
        r_sums = reliability.correlation_draws(predicted, measured.mean(0), weights, inside)
        of_repeats = reliability.reliability_draws(powers, weights, inside)
        return reliability.area_score(r_sums[:, 0], of_repeats[:, 0], AREA_VOXELS)

    for number, kind in enumerate(NOISES):
        for share in numbers.explainable:
            seed = [4, number, round(100 * share)]
            found = np.array(in_blocks(numbers.areas, 1, seed, partial(one, kind, share)))
            truth = simulated.truth(kind, COURSE, share, TRUE_SCORE)
            for column, name in enumerate(("r", "ceiling", "score")):
                true = getattr(truth, name)
                value, low, high = found[:, 3 * column : 3 * column + 3].T
                known = np.isfinite(low)
                yield row(
                    f"{'rc' if name == 'score' else name} of an area", design.name,
                    f"explainable {share:g}, {kind}", int(known.sum()),
                    estimate_truth=float(np.nanmedian(value) / true),
                    coverage=float(((low <= true) & (true <= high))[known].mean()),
                )  # fmt: skip


if __name__ == "__main__":
    main()
