"""Draw the figures of an evaluated network, as far as its prepared set allows."""

import json
from pathlib import Path

import pandas as pd

from neuromusic.core import plotting
from neuromusic.design.grid import n_volumes
from neuromusic.design.orders import TASK
from neuromusic.evaluation import plots
from neuromusic.evaluation.clean import read_predictions
from neuromusic.evaluation.metrics import calibration, reliability
from neuromusic.evaluation.scores import Evaluation
from neuromusic.features.prepared import PreparedSet
from neuromusic.fmri.activations import on_grid
from neuromusic.fmri.plots import timeline
from neuromusic.fmri.volumes import clip_volumes
from neuromusic.stimuli.variants import VARIANTS
from neuromusic.training.config import Data
from neuromusic.training.trained import METRICS, TrainedNetwork


def draw_figures(
    trained: TrainedNetwork, inputs: PreparedSet, evaluation: Evaluation
) -> tuple[list[Path], list[str]]:
    """Draw confusion, calibration, learning curves, variants and timeline into ``figures/``.

    ``inputs`` is the prepared set that was scored, as the network's input. Returns (the files that
    were written, why others were not).
    """
    directory = trained.directory / "figures"
    directory.mkdir(exist_ok=True)
    written = [
        _draw_confusion(trained, evaluation, directory / "confusion.png"),
        _draw_reliability(trained, evaluation, directory / "reliability.png"),
        plotting.save(
            plots.learning_curves(pd.read_csv(trained.directory / METRICS)),
            directory / "learning_curves.png",
        ),
    ]
    skipped = []
    clip = _clip_with_all_variants(inputs)
    if clip is None:
        skipped.append("variants.png: the set was prepared without variants")
    elif inputs.meta.front_end_name != "logmel":
        skipped.append("variants.png: shows log-mel, which is not the input of this network")
    else:
        written.append(_draw_variants(inputs, clip, directory / "variants.png"))
    trials = _run_to_show(trained.config.data, inputs)
    if trials is None:
        skipped.append("timeline.png: the set has no whole scanner run")
    else:
        written.append(_draw_timeline(trained, inputs, trials, directory / "timeline.png"))
    return written, skipped


def _draw_confusion(trained: TrainedNetwork, evaluation: Evaluation, path: Path) -> Path:
    counts, accuracy = evaluation.confusion, evaluation.scores["clip"]["accuracy"]
    title = f"{trained.config.model.name}: {accuracy:.1%} of {counts.sum()} clips"
    return plotting.save(plots.confusion(counts, trained.classes, title), path)


def _draw_reliability(trained: TrainedNetwork, evaluation: Evaluation, path: Path) -> Path:
    predicted = read_predictions(evaluation.predictions, trained.classes)
    figure = plots.reliability(reliability(*predicted), calibration(*predicted))
    return plotting.save(figure, path)


# --- Variants -------------------------------------------------------------------------------------


def _clip_with_all_variants(data: PreparedSet) -> pd.DataFrame | None:
    """Return the rows of the first clip that has all variants; None if there is none."""
    rows = data.rows
    last = rows[rows["variant"] == len(VARIANTS) - 1]
    if last.empty:
        return None
    return rows[rows["clip"] == last["clip"].iat[0]].sort_values("variant")


def _draw_variants(data: PreparedSet, rows: pd.DataFrame, path: Path) -> Path:
    texts = [_brief(text) for text in rows["parameters"]]
    mels = [data.row_features(int(row)) for row in rows["row"]]
    return plotting.save(plots.variants(mels, data.frame_s, texts, rows["clip"].iat[0]), path)


def _brief(parameters: str) -> str:
    items = json.loads(parameters).items()
    return ", ".join(f"{key} {value:.3g}" for key, value in items if key != "noise_seed") or " "


# --- Timeline of a scanner run --------------------------------------------------------------------


def _run_to_show(settings: Data, data: PreparedSet) -> pd.DataFrame | None:
    """Return the trials of a run whose clips are all in the set; None if there is none.

    The first test run if possible, otherwise a training run, preferably one that was held out.
    """
    table = data.presentations
    if table is None:
        return None
    clips = set(data.row_of_clip())
    runs = sorted(table.loc[table["split"] == "train", "run"].unique())
    held_out = settings.test_runs or settings.validation_runs
    if isinstance(held_out, int):
        held_out = runs[len(runs) - held_out :]
    for split, numbers in (("test", [1]), ("train", [*held_out, *runs])):
        for number in numbers:
            trials = table[(table["split"] == split) & (table["run"] == number)]
            if len(trials) and set(trials["clip"]) <= clips:
                return trials.sort_values("trial").reset_index(drop=True)
    return None


def _draw_timeline(
    trained: TrainedNetwork, data: PreparedSet, trials: pd.DataFrame, path: Path
) -> Path:
    row_of = data.row_of_clip()
    probability_of = {
        clip: clip_volumes(trained.network, data.row_features(row_of[clip]), trained.hop_frames)[0]
        for clip in trials["clip"].unique()
    }
    probability = on_grid(trials, probability_of, n_volumes(len(trials) - 1))
    first = trials.iloc[0]
    title = f"{TASK[first['split']]} run {first['run']}"
    return plotting.save(timeline(probability, trials, trained.classes, title), path)
