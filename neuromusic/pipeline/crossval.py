"""Cross-validation of a network over runs or artists."""

import logging
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core import plan
from neuromusic.core.errors import InputError, listed
from neuromusic.core.figures import FigureStyle, save
from neuromusic.core.files import as_path, read_json
from neuromusic.core.outputs import is_up_to_date
from neuromusic.core.records import (
    RECORD,
    arguments,
    hash_inputs,
    read_record,
    record,
    record_hash,
)
from neuromusic.design.artists import read_artists, with_artists
from neuromusic.evaluation.crossval import Group, cross_validate, held_out
from neuromusic.evaluation.reports import crossval_report
from neuromusic.evaluation.scores import Evaluation
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.pipeline.evaluate import write_evaluation
from neuromusic.pipeline.network_figures import calibration_of, confusion
from neuromusic.pipeline.train import train
from neuromusic.training.build import build_network, check_one_device
from neuromusic.training.config import Config, as_config
from neuromusic.training.devices import check_devices
from neuromusic.training.estimates import training_work
from neuromusic.training.resume import clear
from neuromusic.training.selection import select
from neuromusic.training.trained import SCORES, WEIGHTS, TrainedNetwork

log = logging.getLogger(__name__)

OWN_FILES = ("fold-*", *SCORES, RECORD, "confusion.*", "reliability.*")


def crossval(
    config: Config | Path | str | dict[str, Any],
    prepared: PreparedSet | Path | str,
    *,
    out: Path | str,
    folds: int = 4,
    group: Group = "run",
    artists: Path | str | None = None,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> dict[str, Any]:
    """Score every training clip by a network that was trained without its run, or its artist.

    Writes one trained network per fold (``fold-1`` and so on), the pooled scores
    (``evaluation.json``), ``predictions.tsv`` and figures. Folds that are already trained are not
    trained again, so the same call continues a cross-validation that was interrupted.

    Parameters
    ----------
    config : Config, str, Path or dict
        Settings, as in `train`.
    prepared : PreparedSet, str or Path
        The prepared set, or its directory.
    out : str or Path
        Output directory.
    folds : int
        Number of groups into which the training runs, or the artists, are divided.
    group : {"run", "artist"}
        What is left out together: whole runs, or all clips of an artist. Runs share artists, and
        that flatters every score; folds of artists are stratified by class.
    artists : str or Path, optional
        Artist table: a TSV with the columns track, artist_group and fault. With it, the clips whose
        artist is not in the training of their fold are also scored separately ("clean"), and
        intervals are over artists instead of clips. Required for ``group="artist"``, where all
        clips are clean.
    overwrite : bool
        Replace everything in ``out`` that was made with other settings.
    figures : FigureStyle
        Formats and width of the figures.

    Returns
    -------
    dict
        The content of ``evaluation.json``: scores of all clips together ("clip"), the accuracy of
        each fold ("folds") and of random weights, the calibration, and chance.

    Raises
    ------
    InputError
        If the set has fewer training runs or artists than folds, the settings name several devices,
        a track is missing from the artist table, or ``out`` contains something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> settings = {"model": {"name": "cortex-z", "options": {"size": "tiny"}},
    ...             "data": {"window_s": 5.0, "hop_s": 2.5, "validation_runs": 0},
    ...             "train": {"epochs": 1}}
    >>> scores = nm.crossval(settings, "prepared_npz", out="cv", folds=3)
    >>> scores["clip"]["n"], len(scores["folds"])
    (30, 3)
    """
    config, out = as_config(config), as_path(out)
    artists = None if artists is None else as_path(artists)
    check_one_device(config, "crossval")
    check_devices(config.train)
    data = as_prepared(prepared)
    content = _record(config, data, folds, group, artists, figures)
    if is_up_to_date(out, content, overwrite=overwrite):
        log.info("%s is up to date: its inputs and settings are unchanged", out)
        scores: dict[str, Any] = read_json(out / SCORES[0], "call again with overwrite=True")
        return scores
    held = held_out(data, folds, group, artists)
    work = _work(config, data, held, artists if group == "run" else None)
    _check_target(out, folds, overwrite)
    plan.begin(out, work, [data.directory], plan.size_of(out))
    _clear_others(out, folds)

    def train_fold(fold_config: Config, fold: int) -> TrainedNetwork:
        directory = out / f"fold-{fold}"
        return train(fold_config, data, out=directory, resume=True, overwrite=overwrite)

    evaluation = cross_validate(config, data, held, train_fold, artists)
    title = f"{config.model.name}, {folds} folds{' of artists' if group == 'artist' else ''}"
    drawn = _draw_figures(evaluation, data.classes, title, out, figures)
    # The weights too, so that `verify` notices when the scores are not those of these networks.
    weights = [out / f"fold-{fold}" / WEIGHTS for fold in range(1, folds + 1)]
    write_evaluation(out, evaluation, content, [*drawn, *weights], RECORD)
    log.info("%s", crossval_report(evaluation.scores))
    names = ", ".join(path.name for path in drawn)
    log.info("wrote %s: evaluation.json, predictions.tsv, %s", out, names)
    return evaluation.scores


def _record(
    config: Config, data: PreparedSet, folds: int, group: Group, artists: Path | None,
    figures: FigureStyle,
) -> dict[str, Any]:  # fmt: skip
    inputs = {"prepared": record_hash(data.directory)}
    inputs |= hash_inputs([artists] if artists else [])
    settings, places = arguments(
        prepared=data.directory, folds=folds, artists=artists, figures=figures
    )
    if group != "run":  # records of older versions have no group
        settings["group"] = group
    return record("crossval", settings | config.of_training(), inputs, places=places)


def _warn_of_single_artists(clips: pd.DataFrame) -> None:
    """Warn of genres of which all clips are by one artist; ``clips`` has genre and artist."""
    n_artists = clips.groupby("genre")["artist"].nunique()
    single = list(n_artists.index[n_artists == 1])
    if single:
        log.warning(
            "all clips of %s are by one artist: a fold that trains on such a genre has no "
            "artist-clean clip of it", listed(single),
        )  # fmt: skip


def _work(
    config: Config, data: PreparedSet, held: list[dict[str, Any]], artists: Path | None
) -> plan.Work:
    """Check the settings and the artist table; return the work of all folds."""
    folds = len(held)
    inputs, network = build_network(config, data)
    inputs.check_readable()
    for settings in held:
        select(inputs, config.data.model_copy(update=settings))
    if artists:
        used = data.rows[data.rows["split"].isin(["train", "valid"])]
        named = with_artists(used[["clip", "track", "genre"]], read_artists(artists), artists)
        _warn_of_single_artists(named)
    one = training_work(config, network)
    assert one.seconds is not None
    return plan.Work(
        f"{folds} folds of {one.computes}", folds * one.seconds, folds * one.disk_bytes
    )


def _check_target(out: Path, folds: int, overwrite: bool) -> None:
    """Raise InputError if ``out`` contains anything but a cross-validation of these folds."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; out must name a directory")
    if not out.is_dir():
        return
    command = (read_record(out) or {}).get("command", "crossval")
    names = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    others = [name for name in names if not any(fnmatch(name, own) for own in OWN_FILES)]
    if others or command != "crossval":
        raise InputError(
            f"{out}: contains something else; choose another directory for out, or move that one "
            "away"
        )
    more = [name for name in _more_folds(out, folds) if not overwrite]
    if more:
        raise InputError(
            f"{out}: contains {listed(more)} of a cross-validation with more folds: choose another "
            "out, or replace it with overwrite=True (--overwrite)"
        )


def _more_folds(out: Path, folds: int) -> list[str]:
    """Return the folds in ``out`` that a cross-validation with ``folds`` folds does not have."""
    own = {f"fold-{fold}" for fold in range(1, folds + 1)}
    return sorted({path.name for path in out.glob("fold-*")} - own)


def _clear_others(out: Path, folds: int) -> None:
    """Remove other scores, which may be overwritten, and folds that are too many."""
    if not (out / RECORD).is_file():
        for name in _more_folds(out, folds):
            clear(out / name)
            (out / name).rmdir()
    else:
        clear(out)


def _draw_figures(
    evaluation: Evaluation, classes: list[str], title: str, out: Path, style: FigureStyle
) -> list[Path]:
    return [
        *save(confusion(evaluation, classes, title, style), out / "confusion", style),
        *save(calibration_of(evaluation, classes, title, style), out / "reliability", style),
    ]
