"""Run all steps of an experiment: lists, prepare, train, evaluate, export."""

import logging
from pathlib import Path
from typing import Any, Literal

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import DryRun, InputError
from neuromusic.core.figures import FigureStyle
from neuromusic.core.parallel import Machine
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
from neuromusic.training.devices import check_devices

log = logging.getLogger(__name__)

Source = Literal["clips", "folder", "features"]


def run(
    config: Config | Path | str | dict[str, Any],
    *,
    workers: int | None = None,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
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
    overwrite : bool
        Replace the output of steps that were made with other settings or from other files.
    figures : FigureStyle
        Formats and width of the figures.

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
    check_devices(config.train)
    model_entry(config.model.name)  # raises if there is no such model
    source = _source(config.paths)
    out = Path(config.paths.out)
    machine = Machine(workers or available_cores())
    steps = ["lists", "features", "training", "scores", "export"]
    try:
        lists = None if source == "features" else _make_lists(config, source, out, overwrite)
        del steps[0]
        prepared = _prepare(config, lists, out, machine, overwrite)
        del steps[0]
        network = train(config, prepared, out=out / "run", resume=True, overwrite=overwrite)
        del steps[0]
        scores = evaluate(network, overwrite=overwrite, figures=figures)
        del steps[0]
        if source == "clips":
            export(network, out / "run_dataset", out=out / "export", overwrite=overwrite)
    except DryRun as report:
        later = steps[1:] if source == "clips" else steps[1:-1]
        raise DryRun(f"{report}\nthen           {', '.join(later) or 'nothing'}") from None
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


def _make_lists(config: Config, source: Source, out: Path, overwrite: bool) -> Path:
    paths, lists = config.paths, out / "run_dataset"
    if source == "clips":
        return make_lists(
            train_order=paths.train_order, test_order=paths.test_order, clips=paths.clips,
            out=lists, overwrite=overwrite,
        )  # fmt: skip
    return make_file_lists(
        Corpus("folder", Path(paths.folder)),
        out=lists,
        split=paths.split,
        seed=config.train.seed,
        clip_s=paths.clip_s,
        overwrite=overwrite,
    )


def _prepare(
    config: Config, lists: Path | None, out: Path, machine: Machine, overwrite: bool
) -> PreparedSet:
    """Make the prepared set, from precomputed features if there are no lists."""
    paths, front_end = config.paths, config.data.front_end
    if lists is None:
        return prepare_features(
            paths.features,
            out=out / "prepared",
            test=paths.test_features or None,
            front_end=front_end,
            overwrite=overwrite,
        )
    return prepare(
        lists,
        out=out / "prepared",
        front_end=front_end,
        waves=model_entry(config.model.name).input == "wave",
        seed=config.train.seed,
        machine=machine,
        overwrite=overwrite,
    )
