"""Shared by the tests of the export formats: export, and compute what should be in the files."""

import contextlib
import logging

import numpy as np
from sklearn.decomposition import PCA

from neuromusic.design.lists import read_lists
from neuromusic.fmri.export.formats import FORMATS, Regressors
from neuromusic.pipeline.export import export

TRAINING = "task-Training_run-01"
TEST = "task-Test_run-01"
MISSING = "jazz.00001_15s.wav"


@contextlib.contextmanager
def log_messages():
    """Yield a list that collects the messages of the package's loggers."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("neuromusic")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def presentations(root, split, run):
    """Return the presentations of a run, directly from the list."""
    table = read_lists(root / "lists")
    return table[(table["split"] == split) & (table["run"] == run)].sort_values("trial")


def onsets_of(trials):
    """Return condition -> onsets by hand: a presentation every 15 s, the dummy at 0."""
    onsets = {"dummy": [0.0]}
    for row in trials.itertuples():
        if row.trial > 0:
            onsets.setdefault(row.genre, []).append(row.trial * 15.0)
    return onsets


def stage_rows(root, stem, stage):
    return np.load(root / "out/activations" / f"{stem}_stage-{stage}_activations.npy")


def training_rows(root, stage):
    """Return a stage's volumes in both training runs without the dummies."""
    runs = [stage_rows(root, f"task-Training_run-{run:02d}", stage)[10:] for run in (1, 2)]
    return np.concatenate(runs).astype(np.float64)


def components_by_sklearn(root, stage):
    """Fit scikit-learn's PCA on the training runs' volumes without the dummies."""
    return PCA(3, whiten=True, svd_solver="full").fit(training_rows(root, stage))


def export_everything(root, out):
    """Export in every format, three components of two stages, also in nilearn's designs."""
    regressors = Regressors(components=3, stages=("A1", "T2T3"), nilearn=("all",))
    return export(root / "run", root / "lists", out=out, formats=FORMATS, regressors=regressors)
