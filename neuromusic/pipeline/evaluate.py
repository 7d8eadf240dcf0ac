"""Score a network on test clips and draw its figures."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuromusic.core import plan
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path, read_json, sha256, write_text
from neuromusic.core.outputs import is_up_to_date, remove_recorded
from neuromusic.core.records import arguments, hash_inputs, record, record_hash, write_record
from neuromusic.evaluation.reports import clean_report, score_report
from neuromusic.evaluation.scores import (
    Evaluation,
    as_input_of,
    check_scoring,
    score_network,
    training_set,
)
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.pipeline.network_figures import draw_figures
from neuromusic.training.estimates import scoring_s
from neuromusic.training.trained import (
    SCORES,
    SCORES_RECORD,
    WEIGHTS,
    TrainedNetwork,
    as_network,
    best_device,
)

log = logging.getLogger(__name__)

DRAWING_S = 5.0  # to draw the figures
DISK_BYTES = 3_000_000  # of scores and figures


def evaluate(
    network: TrainedNetwork | Path | str,
    *,
    prepared: PreparedSet | Path | str | None = None,
    artists: Path | str | None = None,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> dict[str, Any]:
    """Score a network on test clips, next to the same network with random weights.

    Writes ``evaluation.json``, ``predictions.tsv`` and ``figures/`` into the network's directory.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        The trained network, or its directory.
    prepared : PreparedSet, str or Path, optional
        Score the test clips of this set; by default of the set that the network was trained on (or
        the training runs that were held out with ``data.test_runs``).
    artists : str or Path, optional
        Artist table: a TSV with the columns track, artist_group and fault. With it, the clips whose
        artist is not in the training are also scored separately ("clean"), and intervals are over
        artists instead of clips.
    overwrite : bool
        Replace scores that were made with other settings, or of other weights or clips.
    figures : FigureStyle
        Formats and width of the figures.

    Returns
    -------
    dict
        The content of ``evaluation.json``: scores of clips and windows ("accuracy",
        "accuracy_ci95", "cross_entropy", "brier", "macro_f1" and "n" in "clip", "window" and
        "random_weights"), of each genre, the calibration, and chance.

    Raises
    ------
    InputError
        If the set has no test clips, does not fit the network or no longer exists, a track is
        missing from the artist table, or there are other scores and ``overwrite`` is False.

    Examples
    --------
    >>> import neuromusic as nm
    >>> scores = nm.evaluate("network")
    >>> scores["clip"]["n"], scores["chance"]
    (20, 0.1)
    >>> 0 <= scores["clip"]["accuracy"] <= 1
    True
    """
    trained = as_network(network)
    data = training_set(trained) if prepared is None else as_prepared(prepared)
    artists = None if artists is None else as_path(artists)
    content = _record(trained, data, artists, figures)
    file = trained.directory / SCORES[0]
    if is_up_to_date(trained.directory, content, SCORES_RECORD, overwrite):
        log.info("%s is up to date: network, clips and settings are unchanged", file)
        stored: dict[str, Any] = read_json(file, "evaluate again with overwrite=True (--overwrite)")
        return stored
    plan.begin(file, _work(trained, data, artists), [trained.directory, data.directory])
    evaluation = score_network(trained, data, artists)
    remove_recorded(trained.directory, SCORES_RECORD)
    drawn, skipped = draw_figures(trained, as_input_of(trained, data), evaluation, figures)
    write_evaluation(trained.directory, evaluation, content, drawn, SCORES_RECORD)
    log.info("%s", score_report(evaluation.scores))
    if artists:
        log.info("%s", clean_report(evaluation.scores["clean"]))
    log.info("wrote %s and %s", *(trained.directory / name for name in SCORES))
    for path in drawn:
        log.info("wrote %s", path)
    for reason in skipped:
        log.info("not drawn: %s", reason)
    return evaluation.scores


def _work(trained: TrainedNetwork, data: PreparedSet, artists: Path | None) -> plan.Work:
    """Check that the network can be scored; return the work, figures included."""
    n_rows = check_scoring(trained, data, artists)
    n_frames = as_input_of(trained, data).features.shape[2]
    seconds = scoring_s(trained, n_rows, n_frames)
    return plan.Work(
        f"scores of {n_rows} clips, by the trained network and with random weights",
        DRAWING_S + 2 * seconds,
        DISK_BYTES,
    )


def write_evaluation(
    directory: Path,
    evaluation: Evaluation,
    content: Mapping[str, Any],
    figures: Sequence[Path],
    record_name: str,
) -> None:
    """Write evaluation.json and predictions.tsv, then the record of both and of ``figures``.

    ``content`` is the output of `records.record`.
    """
    write_text(directory / SCORES[0], json.dumps(evaluation.scores, indent=2) + "\n")
    table = evaluation.predictions
    text = table.to_csv(
        sep="\t", index=False, na_rep="n/a", float_format="%.6f", lineterminator="\n"
    )
    write_text(directory / SCORES[1], text)
    paths = [*(directory / name for name in SCORES), *figures]
    outputs = {path.relative_to(directory).as_posix(): sha256(path) for path in paths}
    write_record(directory, {**content, "outputs": outputs}, record_name)


def _record(
    trained: TrainedNetwork, data: PreparedSet, artists: Path | None, figures: FigureStyle
) -> dict[str, Any]:
    """Return the record of an evaluation: which weights were scored on which set."""
    inputs = {
        "network": sha256(trained.directory / WEIGHTS),
        "prepared": record_hash(data.directory),
        **hash_inputs([artists] if artists else []),
    }
    settings, places = arguments(
        network=trained.directory, prepared=data.directory, artists=artists, figures=figures
    )
    content = record("evaluate", settings, inputs, str(best_device()), places)
    return content | {"function": "evaluate"}
