"""Score a network on test clips and draw its figures."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuromusic.core.files import sha256, write_text
from neuromusic.core.records import arguments, hash_inputs, record, record_hash, write_record
from neuromusic.evaluation.reports import clean_report, score_report
from neuromusic.evaluation.scores import Evaluation, as_input_of, score_network, training_set
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.pipeline.network_figures import draw_figures
from neuromusic.training.trained import (
    SCORES,
    SCORES_RECORD,
    WEIGHTS,
    TrainedNetwork,
    as_network,
    best_device,
)

log = logging.getLogger(__name__)


def evaluate(
    network: TrainedNetwork | Path | str,
    *,
    prepared: PreparedSet | Path | str | None = None,
    artists: Path | str | None = None,
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

    Returns
    -------
    dict
        The content of ``evaluation.json``: scores of clips and windows ("accuracy",
        "accuracy_ci95", "cross_entropy", "brier", "macro_f1" and "n" in "clip", "window" and
        "random_weights"), of each genre, the calibration, and chance.

    Raises
    ------
    InputError
        If the set has no test clips, does not fit the network or no longer exists, or a track
        is missing from the artist table.

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
    artists = None if artists is None else Path(artists)
    evaluation = score_network(trained, data, artists)
    figures, skipped = draw_figures(trained, as_input_of(trained, data), evaluation)
    content = _record(trained, data, artists)
    write_evaluation(trained.directory, evaluation, content, figures, SCORES_RECORD)
    log.info("%s", score_report(evaluation.scores))
    if artists:
        log.info("%s", clean_report(evaluation.scores["clean"]))
    log.info("wrote %s and %s", *(trained.directory / name for name in SCORES))
    for path in figures:
        log.info("wrote %s", path)
    for reason in skipped:
        log.info("not drawn: %s", reason)
    return evaluation.scores


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
    text = table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6f")
    write_text(directory / SCORES[1], text)
    paths = [*(directory / name for name in SCORES), *figures]
    outputs = {path.relative_to(directory).as_posix(): sha256(path) for path in paths}
    write_record(directory, {**content, "outputs": outputs}, record_name)


def _record(trained: TrainedNetwork, data: PreparedSet, artists: Path | None) -> dict[str, Any]:
    """Return the record of an evaluation: which weights were scored on which set."""
    inputs = {
        "network": sha256(trained.directory / WEIGHTS),
        "prepared": record_hash(data.directory),
        **hash_inputs([artists] if artists else []),
    }
    settings, places = arguments(
        network=trained.directory, prepared=data.directory, artists=artists
    )
    content = record("evaluate", settings, inputs, str(best_device()), places)
    return content | {"function": "evaluate"}
