"""Run all steps of an experiment: lists, prepare, train, evaluate, export."""

import logging
from pathlib import Path
from typing import Any, Literal

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_json, sha256
from neuromusic.core.parallel import Machine, available_cores
from neuromusic.core.records import read_record, record_hash
from neuromusic.features.prepared import PreparedSet
from neuromusic.models.registry import model_entry
from neuromusic.pipeline.evaluate import evaluate
from neuromusic.pipeline.export import export
from neuromusic.pipeline.lists import make_file_lists, make_lists
from neuromusic.pipeline.prepare import prepare, prepare_features
from neuromusic.pipeline.train import train
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.build import check_one_device
from neuromusic.training.config import Config, Paths, as_config
from neuromusic.training.trained import SCORES_RECORD, WEIGHTS, TrainedNetwork

log = logging.getLogger(__name__)

Source = Literal["clips", "folder", "features"]


def run(
    config: Config | Path | str | dict[str, Any], *, workers: int | None = None
) -> dict[str, Any]:
    """Run all steps of an experiment; steps whose output is up to date are skipped.

    The input and the output are named in the section ``paths`` of the settings. The input is one of
    ``clips`` (with ``train_order`` and ``test_order``), ``folder`` (a tree of class/file, with
    ``split``) and ``features`` (with ``test_features``). The output directory ``out`` gets
    ``run_dataset``, ``prepared``, ``run`` (the trained network) and, with order files, ``export``.

    Parameters
    ----------
    config : Config, str, Path or dict
        Settings: a `Config`, a TOML file, a dictionary, or the name of a model.
    workers : int, optional
        Number of processes; one per available core by default.

    Returns
    -------
    dict
        The scores, as in ``evaluation.json``; see `evaluate`.

    Raises
    ------
    InputError
        If ``paths`` does not name exactly one input, or any step raises it.

    Examples
    --------
    >>> import neuromusic as nm
    >>> settings = {"paths": {"features": "train.npz", "test_features": "test.npz", "out": "all"},
    ...             "data": {"window_s": 5.0, "hop_s": 2.5}, "train": {"epochs": 1},
    ...             "model": {"options": {"size": "tiny"}}}
    >>> scores = nm.run(settings)
    >>> scores["clip"]["n"]
    20
    """
    config = as_config(config)
    check_one_device(config, "run")
    source = _source(config.paths)
    out = Path(config.paths.out)
    prepared = _prepare(config, source, out, Machine(workers or available_cores()))
    network = train(config, prepared, out=out / "run", resume=True)
    scores = _scores(network, prepared)
    if source == "clips":
        export(network, out / "run_dataset", out=out / "export")
    return scores


def _source(paths: Paths) -> Source:
    """Return which input the settings name; raise InputError unless it is exactly one."""
    sources: tuple[Source, ...] = ("clips", "folder", "features")
    given = [name for name in sources if getattr(paths, name)]
    if len(given) != 1:
        raise InputError(
            "paths: set exactly one of clips (with train_order and test_order), folder and "
            f"features; set are {', '.join(given) or 'none'}"
        )
    return given[0]


def _prepare(config: Config, source: Source, out: Path, machine: Machine) -> PreparedSet:
    """Make the lists, if the input is sound, and the prepared set."""
    paths, front_end = config.paths, config.data.front_end
    if source == "features":
        return prepare_features(
            paths.features,
            out=out / "prepared",
            test=paths.test_features or None,
            front_end=front_end,
        )
    return prepare(
        _make_lists(config, source, out / "run_dataset"),
        out=out / "prepared",
        front_end=front_end,
        waves=model_entry(config.model.name).input == "wave",
        seed=config.train.seed,
        machine=machine,
    )


def _make_lists(config: Config, source: Source, out: Path) -> Path:
    paths = config.paths
    if source == "clips":
        return make_lists(
            train_order=paths.train_order, test_order=paths.test_order, clips=paths.clips, out=out
        )
    return make_file_lists(
        Corpus("folder", Path(paths.folder)),
        out=out,
        split=paths.split,
        seed=config.train.seed,
        clip_s=paths.clip_s,
    )


def _scores(network: TrainedNetwork, prepared: PreparedSet) -> dict[str, Any]:
    """Return the scores; evaluate the network unless its scores are up to date."""
    if not _is_scored(network.directory, prepared.directory):
        return evaluate(network)
    file = network.directory / "evaluation.json"
    log.info("%s is up to date: the network and the prepared set are unchanged", file)
    scores: dict[str, Any] = read_json(file, "delete it to evaluate again")
    return scores


def _is_scored(network: Path, prepared: Path) -> bool:
    """Return whether the scores of a network are those of its weights on this prepared set."""
    record = read_record(network, SCORES_RECORD)
    inputs = {"network": sha256(network / WEIGHTS), "prepared": record_hash(prepared)}
    return record is not None and record["inputs"] == inputs
