"""Draw every figure of a run that its data allow."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.evaluation import read_predictions
from neuromusic.export import listen, on_run_grid
from neuromusic.metrics import calibration, reliability
from neuromusic.orders import TASK
from neuromusic.report import figures
from neuromusic.rundir import METRICS, Run
from neuromusic.store import PreparedSet
from neuromusic.variants import VARIANTS


def draw_run(
    run: Run, data: PreparedSet, counts: NDArray[np.int64], accuracy: float, table: pd.DataFrame
) -> tuple[list[Path], list[str]]:
    """Draw confusion, calibration, learning curves, variants and timeline into ``figures/``.

    ``table``: the predictions, a row a clip. Returns (the files written, why others could not be).
    """
    directory = run.directory / "figures"
    directory.mkdir(exist_ok=True)
    title = f"{run.config.model.name}: {accuracy:.1%} of {counts.sum()} clips"
    predicted = read_predictions(table, run.classes)
    calibrated = figures.reliability(reliability(*predicted), calibration(*predicted))
    written = [
        figures.save(figures.confusion(counts, run.classes, title), directory / "confusion.png"),
        figures.save(calibrated, directory / "reliability.png"),
        figures.save(
            figures.learning_curves(pd.read_csv(run.directory / METRICS)),
            directory / "learning_curves.png",
        ),
    ]
    skipped = []
    group = _clip_with_all_variants(data)
    if group is None:
        skipped.append("variants.png: the set was prepared without variants")
    elif data.meta["front_end"]["name"] != "logmel":
        skipped.append("variants.png: it shows log-mel, which this network does not hear")
    else:
        texts = [_brief(text) for text in group["parameters"]]
        mels = [data.row_features(int(row)) for row in group["row"]]
        figure = figures.variants(mels, data.frame_s, texts, group["clip"].iat[0])
        written.append(figures.save(figure, directory / "variants.png"))
    trials = _run_to_show(run, data)
    if trials is None:
        skipped.append("timeline.png: the set has no whole scanner run")
    else:
        row_of = data.row_of_clip()
        responses = {
            clip: {"probability": listen(run, data.row_features(row_of[clip]))["probability"]}
            for clip in trials["clip"].unique()
        }
        grid = on_run_grid(trials, responses, {"probability": len(run.classes)})
        first = trials.iloc[0]
        figure = figures.timeline(
            grid["probability"], trials, run.classes, f"{TASK[first['split']]} run {first['run']}"
        )
        written.append(figures.save(figure, directory / "timeline.png"))
    return written, skipped


def _clip_with_all_variants(data: PreparedSet) -> pd.DataFrame | None:
    rows = data.rows
    full = rows[rows["variant"] == len(VARIANTS) - 1]
    if full.empty:
        return None
    return rows[(rows["clip"] == full["clip"].iat[0])].sort_values("variant")


def _brief(parameters: str) -> str:
    items = json.loads(parameters).items()
    return ", ".join(f"{key} {value:.3g}" for key, value in items if key != "noise_seed") or " "


def _run_to_show(run: Run, data: PreparedSet) -> pd.DataFrame | None:
    """Return the trials of one whole run: of the test, else one that training left out."""
    table = data.presentations
    if table is None:
        return None
    there = set(data.row_of_clip())
    settings = run.config.data
    held = settings.test_runs or settings.validation_runs
    runs = sorted(table.loc[table["split"] == "train", "run"].unique())
    if isinstance(held, int):
        held = runs[len(runs) - held :]
    for split, numbers in (("test", [1]), ("train", [*held, *runs])):
        for number in numbers:
            trials = table[(table["split"] == split) & (table["run"] == number)]
            if len(trials) and set(trials["clip"]) <= there:
                return trials.sort_values("trial").reset_index(drop=True)
    return None
