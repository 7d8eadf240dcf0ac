"""The rows of nulls.py for folds: leave one run out, leave sounds out, leave groups of sounds out.

The runs are like those of ds000113: 8 runs that all play the same 25 sounds of 6 s, each in an
order of its own, with silences of 4, 6 or 8 s, and onsets some ms after a volume begins. They go
through the package's own folds, designs, regressions and tests.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import nulls_simulations as simulated
import numpy as np
import pandas as pd
from nulls_models import STAGE_SCORE, Numbers, Row, row
from nulls_simulations import LEVEL, Floats32

from neuromusic.design.bids import RunId
from neuromusic.design.experiment import Encoding as Division
from neuromusic.design.experiment import Experiment, Files, Sounds
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.design.timing import HIGH_PASS_HZ, all_placements
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import UsedRows, used_rows
from neuromusic.encoding.folds import make_folds
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.subjects import designs_alone
from neuromusic.encoding.voxelwise import Encoding, encode_voxels
from neuromusic.fmri.bold import filtered
from neuromusic.fmri.hrf import hrf
from neuromusic.fmri.layout import PlacedClip, lay_on_volumes
from neuromusic.fmri.scan_series import stage_design
from neuromusic.fmri.scans import Scans, volume_rows
from neuromusic.fmri.volumes import convolved
from neuromusic.fmri.voxel_space import VoxelSpace
from neuromusic.stats.area_contrasts import area_contrast

SCHEMES = {"runs": "leave a run out", "sounds": "leave sounds out", "groups": "leave groups out"}
RUNS, SOUNDS, GROUP, TR_S, VOLUMES = 8, 25, 5, 2.0, 153
SOUND_S, SILENCES_S = 6.0, (4.0, 6.0, 8.0)
COMPONENTS = 6
AREAS, AREA_VOXELS = 5, 20  # that are fitted by the same features
SHARED_NOISE = 0.1
EXPLAINABLE = 0.1  # of planted responses
UNRELATED = 0.3  # of voxels that respond unlike the features
NULLS = ("white", "AR(1) .6", LEVEL)
BASE = "follows the baseline"
CALIBRATION_RUNS, CALIBRATION_VOXELS = 48, 300
Courses = dict[PlacedClip, Floats32]


# --- Runs and voxels ------------------------------------------------------------------------------


def runs_like_ds000113(scheme: str, rng: np.random.Generator, n_runs: int = RUNS) -> Scans:
    """Return runs without images, in random orders."""
    runs = {}
    for number in range(1, n_runs + 1):
        order = rng.permutation(SOUNDS)
        silence_s = rng.permutation([*np.repeat(SILENCES_S, SOUNDS // 3), SILENCES_S[1]])
        onset_s = np.cumsum([0, *(SOUND_S + silence_s)])[:-1]
        trials = pd.DataFrame(
            {
                "trial": np.arange(1, SOUNDS + 1),
                "repeat": 1,
                "onset_s": (onset_s + rng.uniform(0, 0.02, SOUNDS)).round(2),
                "duration_s": SOUND_S,
                "clip": [f"{sound:02d}.wav" for sound in order],
                "class": "",
                "group": [f"piece {sound // GROUP}" for sound in order],
                "is_dummy": False,
            }
        )
        run = RunId("01", "", "listen", number)
        runs[run] = RunDesign(run, None, None, TR_S, VOLUMES, trials)
    experiment = Experiment(
        name="runs like ds000113",
        files=Files(tasks=("listen",)),
        sounds=Sounds(sound="stim", group="piece"),
        encoding=Division(split=scheme),
    )
    rows = volume_rows(runs, Design(experiment, runs), {})
    space = VoxelSpace("array", (1,), None, ())
    return Scans("01", space, {}, runs, {}, rows, [], experiment.encoding)


def courses(scans: Scans, columns: int, rng: np.random.Generator, level: bool = False) -> Courses:
    """Return a smooth time course per sound and column, or one level per sound."""
    found = {}
    for clip, places in sorted(all_placements(_trials(scans)).items()):
        longest = max(place.n_volumes for place in places)
        size = (1 if level else longest, columns)
        course = rng.standard_normal(size, np.float32)
        for volume in range(1, len(course)):
            rho = np.float32(simulated.CLIP_CORRELATION)
            course[volume] = rho * course[volume - 1] + np.sqrt(1 - rho**2) * course[volume]
        course = np.resize(course, (longest, columns))
        found |= {(clip, place): course[: place.n_volumes] for place in places}
    return found


def _trials(scans: Scans) -> list[tuple[pd.DataFrame, float]]:
    return [(run.trials, TR_S) for run in scans.runs.values()]


def responses(scans: Scans, of_sounds: Courses) -> Floats32:
    """Return responses to courses, (runs, volumes, columns), with power 1 after the filter."""
    rest = np.zeros(next(iter(of_sounds.values())).shape[1])
    series = np.stack(
        [
            convolved(lay_on_volumes(trials, of_sounds, TR_S, VOLUMES, rest), hrf("spm", TR_S))
            for trials, _ in _trials(scans)
        ]
    )
    series = filter_matrix() @ series.astype(np.float32)
    return series / np.sqrt(np.square(series).mean((0, 1)))


@lru_cache
def filter_matrix() -> Floats32:
    """Return the filter of `encode`, (volumes, volumes)."""
    return filtered(np.eye(VOLUMES), TR_S, HIGH_PASS_HZ, standardise=False)


def cleaned_noise(
    kind: str, n_runs: int, voxels: int, rng: np.random.Generator, areas: int
) -> Floats32:
    """Return filtered noise and drift, (runs, volumes, voxels), with power 1 on average."""
    shape = (n_runs, VOLUMES, voxels)
    shared = simulated.noise(kind, (n_runs, VOLUMES, areas), rng).repeat(voxels // areas, axis=2)
    noise = np.float32(np.sqrt(1 - SHARED_NOISE)) * simulated.noise(kind, shape, rng)
    noise += np.float32(np.sqrt(SHARED_NOISE)) * shared
    power = np.square(filter_matrix() @ simulated.noise_matrix(kind, VOLUMES)).sum() / VOLUMES
    return filter_matrix() @ (noise / np.float32(np.sqrt(power)) + simulated.drift(shape, rng))


def voxels_of(
    kind: str, response: Floats32 | None, share: float, rng: np.random.Generator, areas: int,
    n_runs: int = RUNS,
) -> Floats32:  # fmt: skip
    """Return cleaned series (rows, voxels) of areas with a response, of which ``share`` is it."""
    voxels = areas * AREA_VOXELS
    series = cleaned_noise(kind, n_runs, voxels, rng, areas)
    if response is not None:
        series = np.float32(np.sqrt(1 - share)) * series + np.float32(np.sqrt(share)) * response
    return simulated.standardised(series).reshape(-1, voxels)


# --- Encodings ------------------------------------------------------------------------------------


def encode(
    scans: Scans, series: Floats32, stages: dict[str, Courses], groups: dict[str, Courses]
) -> Encoding:
    """Encode voxels of equally large areas as `neuromusic encode` does."""
    used, designs = fold_designs(scans, stages, groups)
    n_areas = series.shape[1] // AREA_VOXELS
    names = [f"area {number}" for number in range(n_areas)]
    areas = Areas(names, np.repeat(np.arange(1, n_areas + 1), AREA_VOXELS))
    return encode_voxels(series, used, designs, areas, EncodingOptions())


def fold_designs(
    scans: Scans, stages: dict[str, Courses], groups: dict[str, Courses]
) -> tuple[UsedRows, Designs]:
    """Return the rows of the folds, and the designs of courses."""

    def designs_of(only: frozenset[str] | None = None) -> Designs:
        rest = np.zeros(COMPONENTS)
        return Designs(
            *(
                {
                    name: stage_design(scans, each, rest, DELAYS_TR, HIGH_PASS_HZ, only)
                    for name, each in named.items()
                }
                for named in (stages, groups)
            )
        )

    designs = designs_of()
    folds = partial(make_folds, scans, delays_tr=DELAYS_TR, high_pass_hz=HIGH_PASS_HZ)
    every = [*designs.stages.values(), *designs.groups.values()]
    used = used_rows(scans.rows, every, HIGH_PASS_HZ, TR_S, folds)
    if any(fold.clips is not None for fold in used.folds):
        designs = replace(designs, alone=designs_alone(used, designs_of))
    return used, designs


def null_encoding(scheme: str, kind: str, seed: list[int], n_runs: int = RUNS) -> Encoding:
    """Encode voxels that are unrelated to the stage A1; with BASE they follow the baseline."""
    rng = np.random.default_rng(seed)
    scans = runs_like_ds000113(scheme, rng, n_runs)
    first = courses(scans, COMPONENTS, rng)
    stages, groups = {"A1": first}, {}
    voxels = AREAS * AREA_VOXELS
    if kind == LEVEL:
        response = responses(scans, courses(scans, voxels, rng, level=True))
        series = voxels_of("AR(1) .6", response, UNRELATED, rng, AREAS)
    elif kind == BASE:
        groups = {"baseline": courses(scans, COMPONENTS, rng)}
        mixing = rng.standard_normal((COMPONENTS, COMPONENTS)).astype(np.float32) / 2
        stages = {"A1": {key: groups["baseline"][key] @ mixing + first[key] for key in first}}
        to_voxels = rng.standard_normal((COMPONENTS, voxels)).astype(np.float32)
        response = responses(scans, {key: x @ to_voxels for key, x in groups["baseline"].items()})
        series = voxels_of("AR(1) .6", response, UNRELATED, rng, AREAS)
    else:
        series = voxels_of(kind, None, 0, rng, AREAS, n_runs)
    return encode(scans, series, stages, groups)


def true_encoding(scheme: str, seed: list[int]) -> Encoding:
    """Encode an area that the stage A1 drives, in noise of AR(1) .6."""
    rng = np.random.default_rng(seed)
    scans = runs_like_ds000113(scheme, rng)
    of_stage = courses(scans, COMPONENTS, rng)
    to_voxels = rng.standard_normal((COMPONENTS, AREA_VOXELS)).astype(np.float32)
    response = responses(scans, {key: x @ to_voxels for key, x in of_stage.items()})
    series = voxels_of("AR(1) .6", response, EXPLAINABLE, rng, 1)
    return encode(scans, series, {"A1": of_stage}, {})


def equal_stages(scheme: str, share: float, seed: list[int]) -> Encoding:
    """Encode areas that the stages A1 and belt predict equally well, in noise of AR(1) .6."""
    rng = np.random.default_rng(seed)
    scans = runs_like_ds000113(scheme, rng)
    driving, first, second = (courses(scans, COMPONENTS, rng) for _ in range(3))
    rest = np.float32(np.sqrt(1 - STAGE_SCORE**2))
    stages = {
        name: {key: np.float32(STAGE_SCORE) * driving[key] + rest * each[key] for key in each}
        for name, each in (("A1", first), ("belt", second))
    }
    to_voxels = rng.standard_normal((COMPONENTS, AREAS * AREA_VOXELS)).astype(np.float32)
    response = responses(scans, {key: x @ to_voxels for key, x in driving.items()})
    return encode(scans, voxels_of("AR(1) .6", response, share, rng, AREAS), stages, {})


class Truth(NamedTuple):
    """What endless runs would give: shares of one presentation, and of the mean of the repeats."""

    explainable: float
    ceiling: float


@lru_cache
def truth(scheme: str) -> Truth:
    """Return the truth about `true_encoding`: what runs in any order have in common."""
    rng = np.random.default_rng(0)
    scans = runs_like_ds000113(scheme, rng, CALIBRATION_RUNS)
    of_stage = courses(scans, CALIBRATION_VOXELS, rng)
    noise = cleaned_noise("AR(1) .6", CALIBRATION_RUNS, CALIBRATION_VOXELS, rng, 1)
    series = np.float32(np.sqrt(1 - EXPLAINABLE)) * noise
    series += np.float32(np.sqrt(EXPLAINABLE)) * responses(scans, of_stage)
    series = simulated.standardised(series).reshape(-1, CALIBRATION_VOXELS)
    used, _ = fold_designs(scans, {"A1": courses(scans, 1, rng)}, {})
    rows = used.standardised(used.centred(series[used.test.ravel()]))
    measured = rows.reshape(*used.test.shape, -1)
    n = len(measured)  # their noise is independent
    mean, single = (float(np.square(each).mean()) for each in (measured.mean(0), measured))
    common = (n * mean - single) / (n - 1)
    noise_of_mean = (single - common) / (1 if used.each_repeat else RUNS)
    return Truth(common / single, float(np.sqrt(common / (common + noise_of_mean))))


# --- Rows -----------------------------------------------------------------------------------------


def schemes(numbers: Numbers) -> Iterator[Row]:
    """Yield the rows of all schemes."""
    for number, scheme in enumerate(SCHEMES):
        yield from null_rows(scheme, number, numbers)
        yield contrast_row(scheme, number, numbers)
        yield from true_rows(scheme, number, numbers)
    yield from two_run_rows(numbers)


def two_run_rows(numbers: Numbers) -> Iterator[Row]:
    """Each of two runs predicted from the other, whose parts choose the penalty."""
    for number, kind in enumerate(("white", "AR(1) .6")):
        found = [
            null_encoding("runs", kind, [16, number, first], n_runs=2)
            for first in range(0, numbers.fitted, AREAS * AREA_VOXELS)
        ]
        yield from rows_of_null(found, "leave one of 2 runs out", f"null: {kind}")


def null_rows(scheme: str, number: int, numbers: Numbers) -> Iterator[Row]:
    """Voxels and areas that a stage does not predict: their p, and the mean of r."""
    name, of_runs = SCHEMES[scheme], scheme == "runs"
    for kind_number, kind in enumerate((*NULLS, BASE)):
        found = [
            null_encoding(scheme, kind, [13, number, kind_number, first])
            for first in range(0, numbers.fitted, AREAS * AREA_VOXELS)
        ]
        if kind == BASE:
            voxels = pd.concat([each.voxels for each in found])
            data = f"null: AR(1) .6, {BASE}"
            yield row("p of unique", name, data, len(voxels), p=voxels["unique_p_A1"])
            p = pd.concat([each.unique for each in found])["p"]
            if p.notna().any():
                yield row("p of unique, area", name, data, len(p), p=p)
            continue
        # The same sounds in other runs: a response to them is predicted, whatever it is.
        data = f"unrelated: {kind}" if kind == LEVEL and of_runs else f"null: {kind}"
        yield from rows_of_null(found, name, data)


def rows_of_null(found: list[Encoding], name: str, data: str) -> Iterator[Row]:
    """The p of voxels and areas, and the mean of r."""
    voxels = pd.concat([each.voxels for each in found])
    yield row("p of r", name, data, len(voxels), p=voxels["p_A1"])
    r = float(voxels["r_A1"].mean())
    yield row("mean r (truth: 0)", name, data, len(voxels), estimate_truth=r)
    areas = pd.concat([each.areas for each in found])
    for column, label in (("p", "p of an area"), ("p_rank", "identification, p_rank")):
        if areas[column].notna().any():
            yield row(label, name, data, len(areas), p=areas[column])


def contrast_row(scheme: str, number: int, numbers: Numbers) -> Row:
    """Two stages that predict areas equally well."""
    tests = []
    for index in range(-(-2 * numbers.areas // AREAS)):
        found = equal_stages(scheme, EXPLAINABLE, [15, number, index])
        for area in found.areas["area"].unique():
            sides = (found.area_r[area, stage] for stage in ("A1", "belt"))
            tests.append(area_contrast(*sides, found.has_folds))
    return row(
        "difference of r of an area", SCHEMES[scheme], "null: a stage - a stage, AR(1) .6",
        len(tests), p=[each.p for each in tests],
        coverage=float(np.mean([each.low <= 0 <= each.high for each in tests])),
    )  # fmt: skip


def true_rows(scheme: str, number: int, numbers: Numbers) -> Iterator[Row]:
    """Areas that a stage predicts: estimates, and intervals over other sounds."""
    name, known = SCHEMES[scheme], truth(scheme)
    data = f"explainable {EXPLAINABLE:g}, AR(1) .6"
    found = [true_encoding(scheme, [14, number, index]) for index in range(numbers.areas)]
    voxels = pd.concat([each.voxels for each in found])
    areas = pd.concat([each.areas for each in found])
    low, high = voxels["explainable_low"], voxels["explainable_high"]
    yield row(
        "explainable", name, data, len(voxels),
        estimate_truth=float(voxels["explainable"].mean() / known.explainable),
        coverage=float(((low <= known.explainable) & (known.explainable <= high)).mean()),
    )  # fmt: skip
    r = float(areas["r"].mean())  # of a model fitted to as much: only known from the simulation
    for column, label, true in (
        ("r", "r", r), ("ceiling_r", "ceiling", known.ceiling), ("rc", "rc", r / known.ceiling),
    ):  # fmt: skip
        low, high = areas[f"{column}_low"], areas[f"{column}_high"]
        yield row(
            f"{label} of an area", name, data, len(areas),
            estimate_truth=float(areas[column].median() / true),
            coverage=float(((low <= true) & (true <= high)).mean()),
        )  # fmt: skip
    p = voxels["p_A1"]
    yield row("p of r", name, f"power: {data}", len(p), p=p)
