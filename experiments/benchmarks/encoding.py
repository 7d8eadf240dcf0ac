"""Encoding on the experiment's grid: 12 training and 6 test runs, 4 stages, 6 delays.

    python experiments/benchmarks/encoding.py [--voxels 5000] [--himalaya] [--out FILE]

Fits, ceilings, permutations and identification of all voxels (`neuromusic.fmri.encoding.encode`) on
series that the stages drive; target 60 s and 2 GB for 5 000 voxels on 2 cores. With --himalaya the
fit of one stage is timed beside himalaya's own solver on all rows. Writes JSON with the hardware.
"""

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from neuromusic.design import grid
from neuromusic.encoding.ridge import ALPHAS, fit_ridge
from neuromusic.encoding.voxelwise import DELAYS_TR, encode
from neuromusic.fmri import volumes
from neuromusic.fmri.scans import volume_rows

STAGES = ("A1", "belt", "PB", "T2T3")


def trials(rng: np.random.Generator) -> dict[tuple[str, int], pd.DataFrame]:
    """Return presentations of 12 runs of 40 clips and 6 of 10 clips, four times."""
    out = {}
    for split, n_runs, unique in (("train", 12, 40), ("test", 6, 10)):
        for run in range(1, n_runs + 1):
            clips = [f"{split}-{run}-{number}" for number in rng.permutation(unique)]
            clips = [clips[-1], *(clips * (40 // unique))]
            table = pd.DataFrame({"clip": clips, "trial": range(41)})
            table["volume"] = table["trial"] * grid.VOLUMES_PER_CLIP
            table["repeat"] = (table["trial"] + unique - 1) // unique
            out[split, run] = table
    return out


def problem(voxels: int, components: int) -> tuple[np.ndarray, pd.DataFrame, dict[str, np.ndarray]]:
    """Return series, rows and delayed features of each stage."""
    rng = np.random.default_rng(0)
    rows = volume_rows(trials(rng))
    scale = 1 / np.sqrt(np.arange(1, components + 1))
    features = {}
    for stage in STAGES:
        own = {clip: rng.normal(size=(10, components)) * scale for clip in rows["clip"].unique()}
        parts = []
        for _, part in rows.groupby(["split", "run"], sort=False):
            x = np.concatenate([own[clip] for clip in part["clip"].to_numpy()[::10]])
            parts.append(volumes.delayed(x, DELAYS_TR))
        features[stage] = np.concatenate(parts).astype(np.float32)
    y = np.empty((len(rows), voxels), np.float32)
    for index, x in enumerate(features.values()):
        mine = slice(index, None, len(STAGES))
        weights = rng.normal(size=(x.shape[1], len(range(voxels)[mine]))).astype(np.float32)
        signal = x @ weights
        y[:, mine] = signal / signal.std(0)
    y += 1.5 * rng.standard_normal(y.shape, dtype=np.float32)
    return y, rows, features


def himalayas(x: np.ndarray, y: np.ndarray, runs: np.ndarray) -> float:
    """Return the seconds of himalaya's solver on all rows, one stage."""
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


def main() -> None:
    """Time it and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--voxels", type=int, default=5000)
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--himalaya", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("encoding.json"))
    given = parser.parse_args()
    y, rows, features = problem(given.voxels, given.components)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    label = np.ones(given.voxels, np.int64)
    start, cpu = time.perf_counter(), time.process_time()
    found = encode(y, rows, features, label, ["all"], np.random.default_rng(0))
    result = {
        "voxels": given.voxels,
        "features_a_stage": given.components * len(DELAYS_TR),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "gigabytes_before": before,
        "gigabytes_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "mean_r": {stage: float(found.voxels[f"r_{stage}"].mean()) for stage in STAGES},
    }
    if given.himalaya:
        train = (rows["split"] == "train").to_numpy()
        x, runs = features["A1"][train], rows["run"].to_numpy()[train]
        start = time.perf_counter()
        fit_ridge(x, y[train], runs)
        result["one_stage_seconds"] = time.perf_counter() - start
        result["himalaya_one_stage_seconds"] = himalayas(x, y[train], runs)
        result["ratio"] = result["himalaya_one_stage_seconds"] / result["one_stage_seconds"]
    result["hardware"] = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    for key, value in result.items():
        print(f"{key:28} {value:.2f}" if isinstance(value, float) else f"{key:28} {value}")
    given.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
