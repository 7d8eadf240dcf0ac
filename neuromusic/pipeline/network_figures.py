"""Draw the figures of an evaluated network, as far as its prepared set allows."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from neuromusic.core.figures import FigureStyle, percent, save
from neuromusic.design.orders import EXPERIMENT, TASK
from neuromusic.design.timing import Placement
from neuromusic.evaluation import plots, training_plots
from neuromusic.evaluation.clean import read_predictions
from neuromusic.evaluation.metrics import reliability
from neuromusic.evaluation.scores import Evaluation
from neuromusic.features.prepared import PreparedSet, clip_with_all_variants
from neuromusic.fmri.layout import on_grid
from neuromusic.fmri.plots import timeline
from neuromusic.fmri.volumes import applied_volumes
from neuromusic.training.config import Data
from neuromusic.training.trained import METRICS, TrainedNetwork


def draw_figures(
    trained: TrainedNetwork, inputs: PreparedSet, evaluation: Evaluation, style: FigureStyle
) -> tuple[list[Path], list[str]]:
    """Draw confusion, calibration, learning curves, variants and timeline into ``figures/``.

    ``inputs`` is the prepared set that was scored, as the network's input. Returns (the files that
    were written, why others were not).
    """
    directory = trained.directory / "figures"
    directory.mkdir(exist_ok=True)
    name = trained.config.model.name
    figures = {
        "confusion": confusion(evaluation, trained.classes, name, style),
        "reliability": calibration_of(evaluation, trained.classes, name, style),
    }
    skipped = []
    if len(trained.parts) == 1:
        metrics = pd.read_csv(trained.directory / METRICS)
        figures["learning_curves"] = training_plots.learning_curves(metrics, name, style)
    else:
        skipped.append("learning curves: an ensemble is not trained; its members have some")
    clip = clip_with_all_variants(inputs)
    if clip is None:
        skipped.append("variants: the set was prepared without variants")
    elif inputs.meta.front_end_name != "logmel":
        skipped.append("variants: shows log-mel, which is not the input of this network")
    else:
        figures["variants"] = _draw_variants(inputs, clip, style)
    trials = _run_to_show(trained.config.data, inputs)
    if trials is None:
        skipped.append("timeline: the set has no whole scanner run")
    else:
        figures["timeline"] = _draw_timeline(trained, inputs, trials, style)
    written = [save(figure, directory / name, style) for name, figure in figures.items()]
    return [path for paths in written for path in paths], skipped


def confusion(evaluation: Evaluation, classes: list[str], name: str, style: FigureStyle) -> Figure:
    """Draw the confusion matrix of an evaluation or cross-validation; ``name`` starts its title."""
    clip = evaluation.scores["clip"]
    title = f"{name}: {percent(clip['accuracy'])} of {clip['n']} clips correct"
    return plots.confusion(evaluation.confusion, classes, title, style)


def calibration_of(
    evaluation: Evaluation, classes: list[str], name: str, style: FigureStyle
) -> Figure:
    """Draw the calibration of an evaluation or cross-validation; ``name`` starts its title."""
    bins = reliability(*read_predictions(evaluation.predictions, classes))
    title = f"{name}, {len(evaluation.predictions)} clips"
    return plots.reliability(bins, evaluation.scores["calibration"], title, style)


# --- Variants -------------------------------------------------------------------------------------


def _draw_variants(data: PreparedSet, rows: pd.DataFrame, style: FigureStyle) -> Figure:
    texts = [training_plots.brief(text) for text in rows["parameters"]]
    mels = [data.row_features(int(row)) for row in rows["row"]]
    return training_plots.variants(mels, data.frame_s, texts, rows["clip"].iat[0], style)


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
    trained: TrainedNetwork, data: PreparedSet, trials: pd.DataFrame, style: FigureStyle
) -> Figure:
    time, row_of = EXPERIMENT.time, data.row_of_clip()
    assert time.tr_s is not None and time.duration_s is not None
    placement = Placement(time.tr_s, 0.0, time.duration_s)
    probability_of = {}
    for clip in trials["clip"].unique():
        features = data.row_features(row_of[clip])
        results = applied_volumes(trained, features, [placement])
        probability_of[clip] = results[0][0]
    probability = on_grid(trials, probability_of, len(trials) * placement.n_volumes)
    first = trials.iloc[0]
    title = f"{TASK[first['split']]} run {first['run']}"
    trials = trials.assign(duration_s=time.duration_s)
    return timeline(probability, trials, time.tr_s, trained.classes, title, style)
