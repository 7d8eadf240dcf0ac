"""Benchmark of voxelwise encoding on the experiment's grid: 12 training and 6 test runs, 4 stages.

    python experiments/benchmarks/encoding.py [--voxels 5000] [--himalaya] [--out FILE]

Times fits (6 delays), ceilings, shift tests and identification for all voxels
(`neuromusic.encoding.voxelwise.encode_voxels`) on simulated series that the stages drive; the
target is 60 s and 2 GB for 5 000 voxels on 2 cores. With --himalaya, the fit of one stage is also
timed with himalaya's own solver, on all training rows. Writes JSON with the hardware.
"""

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import report

from neuromusic.design.bids import RunId
from neuromusic.design.experiment import load_experiment
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import used_rows
from neuromusic.encoding.options import DELAYS_TR, EncodingOptions
from neuromusic.encoding.ridge import ALPHAS, fit_ridge
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.voxelwise import encode_voxels
from neuromusic.fmri import volumes
from neuromusic.fmri.scans import volume_rows

STAGES = ("A1", "belt", "PB", "T2T3")
TR_S, CLIP_VOLUMES, TRIALS = 1.5, 10, 40


def runs(rng: np.random.Generator) -> Design:
    """Return the design of 12 runs of 40 clips, and 6 runs of 10 clips four times each."""
    experiment, out = load_experiment("ds003720"), {}
    for split, n_runs, unique in (("train", 12, 40), ("test", 6, 10)):
        for number in range(1, n_runs + 1):
            run = RunId("", "", experiment.task_of(split), number)
            clips = [f"{split}-{number}-{clip}" for clip in rng.permutation(unique)]
            trials = pd.DataFrame({"clip": [clips[-1], *(clips * (TRIALS // unique))]})
            trial = np.arange(TRIALS + 1)
            length_s = CLIP_VOLUMES * TR_S
            trials = trials.assign(
                trial=trial, repeat=(trial + unique - 1) // unique, onset_s=trial * length_s,
                duration_s=length_s, group="", is_dummy=trial == 0, **{"class": ""},
            )  # fmt: skip
            out[run] = RunDesign(run, split, None, TR_S, CLIP_VOLUMES * len(trials), trials)
    return Design(experiment, out)


def problem(voxels: int, components: int) -> tuple[np.ndarray, pd.DataFrame, dict[str, np.ndarray]]:
    """Return series (rows, voxels), the rows, and stage -> its delayed design."""
    rng = np.random.default_rng(0)
    design_of_runs = runs(rng)
    rows = volume_rows(design_of_runs.runs, design_of_runs, {})
    designs = {stage: design(rows, components, rng) for stage in STAGES}
    series = np.empty((len(rows), voxels), np.float32)
    for index, x in enumerate(designs.values()):
        driven = slice(index, None, len(STAGES))
        n_driven = len(range(voxels)[driven])
        signal = x @ rng.normal(size=(x.shape[1], n_driven)).astype(np.float32)
        series[:, driven] = signal / signal.std(0)
    series += 1.5 * rng.standard_normal(series.shape, dtype=np.float32)
    return series, rows, designs


def design(rows: pd.DataFrame, components: int, rng: np.random.Generator) -> np.ndarray:
    """Return random components of every clip, delayed within each run, (rows, columns)."""
    scale = 1 / np.sqrt(np.arange(1, components + 1))
    shape = (CLIP_VOLUMES, components)
    response = {clip: rng.normal(size=shape) * scale for clip in rows["clip"].unique()}
    parts = []
    for _, part in rows.groupby("run"):
        x = np.concatenate([response[clip] for clip in part["clip"].to_numpy()[::CLIP_VOLUMES]])
        parts.append(volumes.delayed(x, DELAYS_TR))
    return np.concatenate(parts).astype(np.float32)


def himalaya_seconds(x: np.ndarray, y: np.ndarray, runs: np.ndarray) -> float:
    """Return how long himalaya's own solver takes for one stage, in s."""
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV
    from sklearn.model_selection import PredefinedSplit

    set_backend("torch_cuda" if torch.cuda.is_available() else "torch")
    unit = float((x**2).sum() / x.shape[1])
    model = RidgeCV(
        alphas=ALPHAS * unit, cv=PredefinedSplit(runs), fit_intercept=True,
        solver_params={"n_targets_batch": 1000, "n_alphas_batch": 4, "n_targets_batch_refit": 100},
    )  # fmt: skip
    start = time.perf_counter()
    model.fit(x, y)
    return time.perf_counter() - start


def measure_encoding(
    series: np.ndarray, rows: pd.DataFrame, designs: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return time, memory and the mean prediction accuracy r of each stage."""
    before = peak_gigabytes()
    areas = Areas(["all"], np.ones(series.shape[1], np.int64))
    start, cpu = time.perf_counter(), time.process_time()
    options = EncodingOptions()
    used = used_rows(rows, designs.values(), options.high_pass_hz, TR_S)
    result = encode_voxels(series, used, Designs(designs), areas, options)
    return {
        "voxels": series.shape[1],
        "columns_per_stage": designs["A1"].shape[1],
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "gigabytes_before": before,
        "gigabytes_peak": peak_gigabytes(),
        "mean_r": {stage: float(result.voxels[f"r_{stage}"].mean()) for stage in STAGES},
    }


def peak_gigabytes() -> float:
    """Return the peak memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def compare_with_himalaya(
    series: np.ndarray, rows: pd.DataFrame, designs: dict[str, np.ndarray]
) -> dict[str, float]:
    """Return the times of our fit and himalaya's fit of one stage, and their ratio."""
    train = (rows["split"] == "train").to_numpy()
    x, of_runs = designs["A1"][train], rows["run"].to_numpy()[train]
    start = time.perf_counter()
    fit_ridge(x, series[train], of_runs)
    seconds = time.perf_counter() - start
    himalaya = himalaya_seconds(x, series[train], of_runs)
    return {
        "one_stage_seconds": seconds,
        "himalaya_one_stage_seconds": himalaya,
        "ratio": himalaya / seconds,
    }


def main() -> None:
    """Measure, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--voxels", type=int, default=5000)
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--himalaya", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("encoding.json"))
    arguments = parser.parse_args()
    series, rows, designs = problem(arguments.voxels, arguments.components)
    result = measure_encoding(series, rows, designs)
    if arguments.himalaya:
        result |= compare_with_himalaya(series, rows, designs)
    report(result, {"seconds": 60, "gigabytes_peak": 2}, arguments.out)


if __name__ == "__main__":
    main()
