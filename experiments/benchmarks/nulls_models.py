"""The rows of nulls.py that need regressions, several stages, or no voxels at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nulls_simulations as simulated
import numpy as np
from nulls_simulations import LEVEL, Design, Floats32
from numpy.typing import NDArray

from neuromusic.encoding.fit_rows import PATTERN_FROM_S
from neuromusic.encoding.identification import identification
from neuromusic.encoding.options import DELAYS_TR
from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.rsa import area_rdms, similarity_table, stage_rdms
from neuromusic.encoding.scoring import clip_matches, unit_length
from neuromusic.encoding.unique_variance import area_unique, nested_designs
from neuromusic.fmri.volumes import delayed
from neuromusic.stats import reliability
from neuromusic.stats.area_contrasts import area_contrast
from neuromusic.stats.group import prevalence_test, subject_t_test
from neuromusic.stats.intervals import accuracy_ci95, difference_ci95
from neuromusic.stats.partition import added_r2, addition_test
from neuromusic.stats.resampled_t import corrected_resampled_t
from neuromusic.stats.resampling import random_halves
from neuromusic.stats.shifts import shift_sums, shift_test
from neuromusic.stats.significance import mantel_test

LEVELS = (0.05, 0.01, 0.001)
PATTERN_FROM = round(PATTERN_FROM_S / simulated.TR_S)
COMPONENTS, STAGES = 6, 3  # features of a stage, and stages
TRAINING_RUNS = 12
FITTED_VOXELS = 250  # to which one set of features is fitted
AREA_VOXELS, SHARED_NOISE = 50, 0.01
CONTRAST_EXPLAINABLE, STAGE_SCORE, COPIES = 0.1, 0.6, 5
UNIQUE_VOXELS = 50  # of an area; they share features
UNIQUE_SHARE, OWN_SHARE = 0.3, 0.3  # of a presentation that responds; of that, to the stage alone
AREAS_AT_ONCE = 20  # which are compared with the same stages

Array = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Numbers:
    """How many voxels, areas, explainable variances, fitted voxels and so on are simulated.

    Each is the number for one row of the table.
    """

    voxels: int
    areas: int
    explainable: tuple[float, ...]
    fitted: int
    cheap: int  # tests that take little time
    timed: int  # responses in time


def row(statistic: str, design: str, data: str, n: int, **values: Any) -> Row:
    """Return a row; ``p`` (n,) gives the shares below LEVELS."""
    p = values.pop("p", None)
    shares: list[float | None] = [None] * len(LEVELS)
    if p is not None:
        shares = [float((np.asarray(p) < level).mean()) for level in LEVELS]
    names = [f"< {level:g}".replace("0.", ".") for level in LEVELS]
    cells: Row = {"statistic": statistic, "design": design, "data": data, "n": n}
    cells |= dict(zip(names, shares, strict=True))
    return cells | {
        "estimate / truth": values.get("estimate_truth"), "coverage": values.get("coverage"),
    }  # fmt: skip


def prediction_p(design: Design, predicted: Floats32, measured: Floats32) -> Array:
    """Return p of predictions (repeats, clips, volumes, voxels), as `encode` does."""
    predicted, measured = predicted.mean(0), measured.mean(0)
    inside = [design.runs == run for run in np.unique(design.runs)]
    return shift_test([shift_sums(predicted[i], measured[i]) for i in inside]).p


# --- Regressions ----------------------------------------------------------------------------------


def as_rows(series: Floats32) -> Floats32:
    """Return (runs, volumes, columns) as rows."""
    return series.reshape(-1, series.shape[2])


def stage_design(laid: Floats32) -> Floats32:
    """Return the delayed and filtered features (rows, columns) of features on volumes."""
    runs = np.stack([delayed(run, DELAYS_TR) for run in laid])
    return as_rows(simulated.filtered_runs(runs))


def fitted_predictions(design: Design, numbers: Numbers) -> Iterator[Row]:
    """Fit STAGES stages by ridge regression to unrelated voxels; test each, and the best one."""
    training = simulated.real_design("train", TRAINING_RUNS)
    groups = np.repeat(np.arange(TRAINING_RUNS), training.n_clips // TRAINING_RUNS * 10)
    for number, kind in enumerate(("AR(1) .6", LEVEL)):
        p, best = [], []
        for first in range(0, numbers.fitted, FITTED_VOXELS):
            rng = np.random.default_rng([6, number, first])
            train, test = (_unrelated(each, kind, rng) for each in (training, design))
            of_stages = []
            for _ in range(STAGES):
                x, x_test = (
                    stage_design(simulated.laid_features(each, COMPONENTS, rng))
                    for each in (training, design)
                )
                fit = fit_ridge(x, train.reshape(len(x), -1), groups)
                predicted = fit.predict(x_test).reshape(len(design.clip), -1, FITTED_VOXELS)
                predicted = simulated.by_clip(design, predicted)
                of_stages.append((fit.loss, prediction_p(design, predicted, test)))
            loss, of_stage = (np.array(part) for part in zip(*of_stages, strict=True))
            p.append(of_stage[0])
            best.append(np.take_along_axis(of_stage, loss.argmin(0)[None], 0)[0])
        data = f"null: {kind}"
        yield row("p of r, fitted", design.name, data, numbers.fitted, p=np.concatenate(p))
        yield row("best_p", design.name, data, numbers.fitted, p=np.concatenate(best))


def _unrelated(design: Design, kind: str, rng: np.random.Generator) -> Floats32:
    if kind != LEVEL:
        return simulated.voxels_with_noise(design, kind, None, 0, FITTED_VOXELS, rng)
    response = simulated.signal(design, LEVEL, FITTED_VOXELS, rng)
    return simulated.voxels_with_noise(design, "AR(1) .3", response, 0.3, FITTED_VOXELS, rng)


def unique_variances(design: Design, numbers: Numbers) -> Iterator[Row]:
    """What a stage adds to a baseline: nothing, or a known share; the test and the interval."""
    p = np.concatenate(
        [
            _unique(design, 0.0, np.random.default_rng([7, first]))[1]
            for first in range(0, numbers.fitted, UNIQUE_VOXELS)
        ]
    )
    yield row("p of unique", design.name, "null: AR(1) .6, follows the baseline", len(p), p=p)
    many = simulated.simulated_design(20 * len(design.clip))
    inside = []
    for seed in range(max(2, numbers.areas // 40)):
        gain, _ = _unique(many, OWN_SHARE, np.random.default_rng([8, seed]))
        truth = gain.sum(0).mean() / 20
        runs = design.runs
        for part in np.split(gain, 20):
            _, low, high = area_unique(part, runs)
            inside.append(low <= truth <= high)
    data = f"own share {OWN_SHARE:g}, AR(1) .6"
    yield row("unique of an area", design.name, data, len(inside), coverage=float(np.mean(inside)))


def _unique(design: Design, own_share: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return contributions (clips, voxels) of a stage beyond a baseline, scaled as R2, and p."""
    training = simulated.real_design("train", TRAINING_RUNS)
    n_train = len(training.clip)
    mixing = rng.standard_normal((COMPONENTS, COMPONENTS)).astype(np.float32) / 2
    to_voxels = rng.standard_normal((2, COMPONENTS, UNIQUE_VOXELS)).astype(np.float32)
    shares = np.sqrt([1 - own_share, own_share]).astype(np.float32)
    designs, series = [], []
    for each in (training, design):
        base, own = (simulated.laid_features(each, COMPONENTS, rng) for _ in range(2))
        designs.append((stage_design(base), stage_design(base @ mixing + own)))
        response = simulated.hrf_matrix(each.clip.shape[1]) @ (
            shares[0] * (base @ to_voxels[0]) + shares[1] * (own @ to_voxels[1])
        )
        response /= np.float32(np.sqrt(np.square(simulated.filtered_runs(response)).mean((0, 1))))
        series.append(
            simulated.voxels_with_noise(
                each, "AR(1) .6", response, UNIQUE_SHARE, UNIQUE_VOXELS, rng
            )
        )
    base, stage = (np.concatenate(part) for part in zip(*designs, strict=True))
    train = np.arange(len(base)) < n_train * 400
    nested = nested_designs({"baseline": base}, {"stage": stage}, train)
    groups = np.repeat(np.arange(n_train), 400)
    y = series[0].reshape(-1, UNIQUE_VOXELS)
    predicted = []
    for x in (nested.baseline, nested.beyond_baseline["stage"]):
        fit = fit_ridge(x[train], y, groups)
        rows = (fit.predict(x[~train]) - fit.y_mean).astype(np.float32)
        rows = rows.reshape(len(design.clip), -1, UNIQUE_VOXELS)
        predicted.append(simulated.by_clip(design, rows).mean(0))
    measured = series[1].mean(0)
    return added_r2(measured, *predicted), addition_test(measured, *predicted, design.runs).p


# --- Stages and areas -----------------------------------------------------------------------------


def contrasts(design: Design, numbers: Numbers) -> Iterator[Row]:
    """Two stages, or a network and the copies of another, that predict an area equally well."""
    weights = reliability.clip_weights(design.runs)
    inside = np.ones((1, AREA_VOXELS), bool)
    results: dict[int, list[tuple[float, bool]]] = {1: [], COPIES: []}
    for index in range(4 * numbers.areas):
        rng = np.random.default_rng([9, index])
        response, _ = simulated.latent_signals(design, AREA_VOXELS, COMPONENTS, rng)
        measured = simulated.voxels_with_noise(
            design, "AR(1) .6", response, CONTRAST_EXPLAINABLE, AREA_VOXELS, rng, SHARED_NOISE
        ).mean(0)
        scores = []
        for _ in range(1 + COPIES):
            other, _ = simulated.latent_signals(design, AREA_VOXELS, COMPONENTS, rng)
            mixed = STAGE_SCORE * response + np.sqrt(1 - STAGE_SCORE**2) * other
            predicted = simulated.by_clip(design, simulated.filtered_runs(mixed)).mean(0)
            sums = reliability.correlation_draws(predicted, measured, weights, inside)
            scores.append(sums[:, 0] / AREA_VOXELS)
        for copies, found in results.items():
            test = area_contrast(scores[0], np.array(scores[1 : 1 + copies]))
            found.append((test.p, test.low <= 0 <= test.high))
    for copies, found in results.items():
        p, covered = zip(*found, strict=True)
        side = "a stage" if copies == 1 else f"{copies} copies"
        yield row(
            "difference of r of an area", design.name, f"null: a stage - {side}, AR(1) .6",
            len(p), p=p, coverage=float(np.mean(covered)),
        )  # fmt: skip


def identifications(design: Design, numbers: Numbers) -> Iterator[Row]:
    """Identify clips from unrelated predictions of an area, and test the area as a whole."""
    for number, kind in enumerate(("AR(1) .6", "1/f")):
        found, p_area = [], []
        for index in range(numbers.cheap):
            rng = np.random.default_rng([10, number, index])
            measured = simulated.voxels_with_noise(
                design, kind, None, 0, AREA_VOXELS, rng, 0.2
            ).mean(0)
            first, _ = simulated.latent_signals(design, AREA_VOXELS, COMPONENTS, rng)
            predicted = simulated.by_clip(design, simulated.filtered_runs(first)).mean(0)
            x, y = unit_length(predicted), unit_length(measured)
            found.append(identification(clip_matches(x, y), design.runs))
            parts = [design.runs == run for run in np.unique(design.runs)]
            sums = [shift_sums(x[i], y[i]).sum(1, keepdims=True) for i in parts]
            p_area.append(shift_test(sums).p[0])
        n, data = numbers.cheap, f"null: {kind}, correlated voxels"
        yield row("p of an area", design.name, data, n, p=p_area)
        for name in ("p_rank", "p_top1"):
            p = [each[name] for each in found]
            yield row(f"identification, {name}", design.name, data, n, p=p)


def similarities(design: Design, numbers: Numbers) -> Iterator[Row]:
    """Compare areas of unrelated voxels with stages, one tuned to genre and two smooth ones."""
    cells = [(kind, n) for n in (1, 5) for kind in ("AR(1) .6", "1/f", LEVEL)]
    for number, (kind, n_subjects) in enumerate(cells if len(design.clip) > 2 else cells[:2]):
        tables = [
            _similarity(design, kind, n_subjects, np.random.default_rng([11, number, index]))
            for index in range(-(-numbers.cheap // AREAS_AT_ONCE // (1 if n_subjects == 1 else 2)))
        ]
        p = np.concatenate([each[0] for each in tables])
        least = np.concatenate([each[1] for each in tables])
        name = f"{design.name}, {n_subjects} subject" + "s" * (n_subjects > 1)
        data = f"null: {kind}"
        yield row("similarity, p", name, f"{data}, stage tuned to genre", len(p), p=p)
        yield row("similarity, least p_max", name, f"{data}, {STAGES} stages", len(p), p=least)


def _similarity(
    design: Design, kind: str, n_subjects: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return p of the stage tuned to genre, and the least p_max, in each of AREAS_AT_ONCE areas."""
    n_clips, n_voxels = design.n_clips, AREA_VOXELS * AREAS_AT_ONCE
    per_run = n_clips // len(design.clip)
    genre = np.eye(per_run)[np.arange(n_clips) % per_run]
    stages = {"genre": genre + 0.1 * rng.standard_normal(genre.shape)}
    stages |= {f"smooth {i}": rng.standard_normal((n_clips, 20)) for i in range(1, STAGES)}
    response = simulated.signal(design, LEVEL, n_voxels, rng) if kind == LEVEL else None
    share = 0.1 if response is not None else 0.0  # the same response in all subjects
    noise = "AR(1) .3" if response is not None else kind
    subjects = []
    for _ in range(n_subjects):
        measured = simulated.voxels_with_noise(design, noise, response, share, n_voxels, rng)
        patterns = np.split(measured[:, :, PATTERN_FROM:].mean(2), AREAS_AT_ONCE, axis=2)
        by_area = {str(index): each for index, each in enumerate(patterns)}
        subjects.append(area_rdms(by_area, design.runs))
    units = {name: each.astype(np.float32) for name, each in stages.items()}
    found = similarity_table(stage_rdms(units, design.runs), subjects, design.runs, rng)
    p = found.loc[found["stage"] == "genre", "p"].to_numpy()
    return p, found.groupby("area", sort=False)["p_max"].min().to_numpy()


# --- Tests and intervals without voxels -----------------------------------------------------------


def others(n: int) -> Iterator[Row]:
    """Tests over subjects and splits, and intervals of accuracies."""
    rng = np.random.default_rng(5)
    for subjects in (5, 10):
        tests = [subject_t_test(rng.standard_normal(subjects)) for _ in range(n)]
        yield row(
            "p_t over subjects", f"{subjects} subjects", "null: normal", n,
            p=[test.p for test in tests],
            coverage=float(np.mean([test.low <= 0 <= test.high for test in tests])),
        )  # fmt: skip
    yield row(
        "p_global_null", "5 subjects", "null: uniform p", n,
        p=[prevalence_test(rng.random(5)).p for _ in range(n)],
    )  # fmt: skip
    inside = []
    for share in rng.random(n):
        p = np.where(rng.random(10) < share, 0.0, rng.random(10))
        found = prevalence_test(p)
        inside.append(found.low <= share <= found.high)
    yield row(
        "prevalence, 96 %", "10 subjects", "prevalence 0 to 1", n, coverage=float(np.mean(inside))
    )
    yield row(
        "over_baseline_p", "165 sounds, 10 halves", "null: equal features", n,
        p=[_resampled_p(rng, seed) for seed in range(n)],
    )  # fmt: skip
    for accuracy in (0.6, 0.9):
        hits = rng.random((n, 60)) < accuracy
        limits = np.array([accuracy_ci95(each, np.arange(60)) for each in hits])
        inside = (limits[:, 0] <= accuracy) & (accuracy <= limits[:, 1])
        yield row(
            "accuracy", "60 clips", f"accuracy {accuracy:g}", n,
            estimate_truth=float(hits.mean() / accuracy), coverage=float(np.mean(inside)),
        )  # fmt: skip
    pairs = rng.random((n, 2, 60)) < 0.6
    limits = np.array([difference_ci95(*pair, np.arange(60)) for pair in pairs])
    inside = (limits[:, 0] <= 0) & (limits[:, 1] >= 0)
    yield row("difference of accuracies", "60 clips", "equal", n, coverage=float(np.mean(inside)))
    yield confusions(n)


def confusions(n: int) -> Row:
    """Correlate unrelated confusion matrices of 10 genres, whose cells share rows and columns."""
    rng = np.random.default_rng(12)
    p = []
    for _ in range(n):
        first, second = (
            np.add.outer(*rng.standard_normal((2, 10))) + rng.standard_normal((10, 10))
            for _ in range(2)
        )
        p.append(mantel_test(first, second, rng, permutations=999)[1])
    return row("p of confusions", "10 genres", "null: unrelated matrices", n, p=p)


def _resampled_p(rng: np.random.Generator, seed: int) -> float:
    """Return p of two equally good sets of features over ten random halves of 165 sounds."""
    response, first, second = rng.standard_normal((3, 165))
    differences = []
    for train, test in random_halves(165, 10, seed):
        errors = []
        for feature in (first + response, second + response):
            slope = feature[train] @ response[train] / (feature[train] @ feature[train])
            errors.append(((response[test] - slope * feature[test]) ** 2).mean())
        differences.append(errors[0] - errors[1])
    return float(corrected_resampled_t(np.array(differences), 82, 83).p)
