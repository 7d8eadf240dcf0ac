"""TODO: docstring."""

from pathlib import Path
from typing import Any

from neuromusic.core.progress import Say
from neuromusic.core.records import RECORD, hash_inputs, record, record_hash
from neuromusic.pipeline.train import make_run
from neuromusic.training.config import Config


def make_crossval(
    config: Config, prepared: Path, folds: int, out: Path, say: Say, artists: Path | None = None
) -> dict[str, Any]:
    """Cross-validate an experiment over the training runs; return the pooled scores."""
    from neuromusic.core import plotting
    from neuromusic.evaluation import plots
    from neuromusic.evaluation.crossval import cross_validate, text
    from neuromusic.evaluation.metrics import reliability
    from neuromusic.evaluation.scores import read_predictions
    from neuromusic.features.prepared import open_prepared
    from neuromusic.pipeline.evaluate import write_evaluation
    from neuromusic.training.build import check_one_device

    check_one_device(config, "crossval")
    data = open_prepared(prepared)
    scores, table, counts = cross_validate(
        config, data, folds, out, lambda fold, path: make_run(fold, prepared, path, True, say),
        artists,
    )  # fmt: skip
    s = scores["clip"]
    title = f"{config.model.name}, {folds} folds: {s['accuracy']:.1%} of {s['n']} clips"
    bins = reliability(*read_predictions(table, data.classes))
    written = [
        plotting.save(plots.confusion(counts, data.classes, title), out / "confusion.png"),
        plotting.save(plots.reliability(bins, scores["calibration"]), out / "reliability.png"),
    ]
    inputs = {"prepared": record_hash(prepared), **hash_inputs([artists] if artists else [])}
    settings = {"folds": folds, **config.of_training()}
    made = record("crossval", settings, inputs, places={"prepared": prepared})
    write_evaluation(out, scores, table, made, written, RECORD)
    say(text(scores))
    say(f"wrote {out / 'evaluation.json'}, predictions.tsv, confusion.png and reliability.png")
    return scores
