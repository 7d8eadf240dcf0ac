"""Draw every figure of a run that its data allow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core import plotting
from neuromusic.core.files import sha256, write_text
from neuromusic.core.progress import Say
from neuromusic.core.records import hash_inputs, record, record_hash, write_record
from neuromusic.design.orders import TASK
from neuromusic.evaluation import plots
from neuromusic.evaluation.metrics import calibration, reliability
from neuromusic.evaluation.scores import evaluate, read_predictions
from neuromusic.features.prepared import PreparedSet
from neuromusic.fmri.activations import listen, on_run_grid
from neuromusic.fmri.plots import timeline
from neuromusic.stimuli.variants import VARIANTS
from neuromusic.training.trained import (
    METRICS,
    SCORES,
    SCORES_RECORD,
    WEIGHTS,
    TrainedNetwork,
    best_device,
)


def draw_run(
    run: TrainedNetwork,
    data: PreparedSet,
    counts: NDArray[np.int64],
    accuracy: float,
    table: pd.DataFrame,
) -> tuple[list[Path], list[str]]:
    """Draw confusion, calibration, learning curves, variants and timeline into ``figures/``.

    ``table``: the predictions, a row a clip. Returns (the files written, why others could not be).
    """
    directory = run.directory / "figures"
    directory.mkdir(exist_ok=True)
    title = f"{run.config.model.name}: {accuracy:.1%} of {counts.sum()} clips"
    predicted = read_predictions(table, run.classes)
    calibrated = plots.reliability(reliability(*predicted), calibration(*predicted))
    written = [
        plotting.save(plots.confusion(counts, run.classes, title), directory / "confusion.png"),
        plotting.save(calibrated, directory / "reliability.png"),
        plotting.save(
            plots.learning_curves(pd.read_csv(run.directory / METRICS)),
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
        figure = plots.variants(mels, data.frame_s, texts, group["clip"].iat[0])
        written.append(plotting.save(figure, directory / "variants.png"))
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
        figure = timeline(
            grid["probability"], trials, run.classes, f"{TASK[first['split']]} run {first['run']}"
        )
        written.append(plotting.save(figure, directory / "timeline.png"))
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


def _run_to_show(run: TrainedNetwork, data: PreparedSet) -> pd.DataFrame | None:
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


def write_evaluation(
    directory: Path, scores: dict[str, Any], table: pd.DataFrame, made: dict[str, Any],
    figures: list[Path], name: str = SCORES_RECORD,
) -> None:  # fmt: skip
    """Write evaluation.json, predictions.tsv and the record of both and of ``figures``.

    ``made``: what `provenance.record` returns; ``name``: its file, which is written last.
    """
    write_text(directory / SCORES[0], json.dumps(scores, indent=2) + "\n")
    text = table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6f")
    write_text(directory / SCORES[1], text)
    paths = [*(directory / name for name in SCORES), *figures]
    outputs = {path.relative_to(directory).as_posix(): sha256(path) for path in paths}
    write_record(directory, made | {"outputs": outputs}, name)


def evaluation_record(
    run: TrainedNetwork, data: PreparedSet, artists: Path | None
) -> dict[str, Any]:
    """Return the record of an evaluation: which weights were scored on which set."""
    inputs = {
        "run": sha256(run.directory / WEIGHTS),
        "prepared": record_hash(data.directory),
        **hash_inputs([artists] if artists else []),
    }
    places = {"run": run.directory, "prepared": data.directory}
    return record("evaluate", {}, inputs, str(best_device()), places)


def make_evaluation(
    directory: Path, prepared: Path | None, say: Say, artists: Path | None = None
) -> dict[str, Any]:
    """Score a run; write its evaluation.json, predictions.tsv and figures; return the scores.

    With an artist table also the clips of artists that the run never heard.
    """
    from neuromusic.evaluation.scores import clean_text, heard_by, own_set, score_text

    pass
    from neuromusic.features.prepared import open_prepared
    from neuromusic.training.trained import load_network

    run = load_network(directory)
    data = open_prepared(prepared) if prepared else own_set(run)
    scores, table, counts = evaluate(run, data, artists)
    written, skipped = draw_run(run, heard_by(run, data), counts, scores["clip"]["accuracy"], table)
    write_evaluation(directory, scores, table, evaluation_record(run, data, artists), written)
    say(score_text(scores))
    if artists:
        say(clean_text(scores["clean"]))
    say(f"wrote {directory / 'evaluation.json'} and {directory / 'predictions.tsv'}")
    for path in written:
        say(f"wrote {path}")
    for reason in skipped:
        say(f"not drawn: {reason}")
    return scores
