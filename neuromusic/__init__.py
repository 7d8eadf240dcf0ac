"""neuromusic: networks beside a brain, from order files to numbers on the scanner's time grid.

>>> import neuromusic as nm

Any experiment                  inspect_experiment, check_experiment, show_experiment
Lists of what was played        make_lists, make_file_lists, check_orders, rebuild_orders,
                                design_orders, cut_clips, validate_sounds, find_leaks
Features and variants           prepare, prepare_features, augment, log_mel
Networks                        train, load_network, sweep, ensemble, create_model, list_models,
                                register_model
Networks of others              External, get_network, list_networks, load_applied,
                                load_features, load_weights
Scores                          evaluate, crossval, compare, confusions, predict, similar
The scanner's time grid         activations, on_grid, export, simulate
The brain                       encode, encode_sounds, encode_timed, benchmark
Activations computed once       caching, cache
Whole projects                  run, demo, verify, report

Every command of the command line is one of these functions. Names are imported when they are first
used, so ``import neuromusic`` is fast.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Large pages for large tensors on a CPU: without them much of a training is spent on page faults.
# torch reads this with its first tensor, so it is set before any import of torch.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_MODULES = {
    "core.cache": ("caching",),
    "core.errors": ("InputError",),
    "core.figures": ("FigureStyle",),
    "core.parallel": ("Machine",),
    "design.dataset": ("Dataset",),
    "design.experiment": ("Experiment", "load_experiment"),
    "design.leaks": ("DropLeaks",),
    "design.orders": ("Order", "read_order"),
    "design.splits": ("HeldOutRuns",),
    "features.frontends.mel": ("log_mel",),
    "features.prepared": ("PreparedSet", "open_prepared"),
    "fmri.layout": ("on_grid",),
    "fmri.export.formats": ("Regressors",),
    "fmri.simulation.voxels": ("Planted",),
    "models": ("InputSpec", "create_model", "list_models", "register_model"),
    "models.external": ("External",),
    "models.loading": ("load_weights",),
    "pipeline.activations": ("activations",),
    "pipeline.augment": ("augment",),
    "pipeline.benchmark": ("benchmark",),
    "pipeline.cache": ("cache",),
    "pipeline.compare": ("compare",),
    "pipeline.confusions": ("confusions",),
    "pipeline.crossval": ("crossval",),
    "pipeline.cut": ("cut_clips",),
    "pipeline.demo": ("demo",),
    "pipeline.encode": ("EncodingOptions", "Rois", "encode"),
    "pipeline.encode_sounds": ("SoundOptions", "encode_sounds"),
    "pipeline.encode_timed": ("TimedInput", "TimedOptions", "encode_timed"),
    "pipeline.ensemble": ("ensemble",),
    "pipeline.evaluate": ("evaluate",),
    "pipeline.experiment": ("check_experiment", "inspect_experiment", "show_experiment"),
    "pipeline.experiment_lists": ("make_experiment_lists",),
    "pipeline.export": ("export",),
    "pipeline.leaks": ("find_leaks",),
    "pipeline.lists": ("make_file_lists", "make_lists"),
    "pipeline.networks": ("get_network", "list_networks"),
    "pipeline.orders": ("check_orders", "design_orders", "rebuild_orders"),
    "pipeline.predict": ("predict",),
    "pipeline.prepare": ("prepare", "prepare_features"),
    "pipeline.prepare_folder": ("prepare_folder",),
    "pipeline.report": ("report",),
    "pipeline.run": ("run",),
    "pipeline.similar": ("similar",),
    "pipeline.simulate": ("simulate",),
    "pipeline.sweep": ("sweep",),
    "pipeline.train": ("train",),
    "pipeline.validate": ("validate_sounds",),
    "pipeline.verify": ("verify",),
    "stimuli.corpora": ("Corpus",),
    "training.config": ("Config",),
    "training.applied_networks": ("load_applied", "load_features"),
    "training.stages_front_end": ("stages_front_end",),
    "training.trained": ("TrainedNetwork", "load_network"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)
_HOME["__version__"] = "core.version"

if TYPE_CHECKING:
    from neuromusic.core.cache import caching
    from neuromusic.core.errors import InputError
    from neuromusic.core.figures import FigureStyle
    from neuromusic.core.parallel import Machine
    from neuromusic.core.version import __version__
    from neuromusic.design.dataset import Dataset
    from neuromusic.design.experiment import Experiment, load_experiment
    from neuromusic.design.leaks import DropLeaks
    from neuromusic.design.orders import Order, read_order
    from neuromusic.design.splits import HeldOutRuns
    from neuromusic.features.frontends.mel import log_mel
    from neuromusic.features.prepared import PreparedSet, open_prepared
    from neuromusic.fmri.export.formats import Regressors
    from neuromusic.fmri.layout import on_grid
    from neuromusic.fmri.simulation.voxels import Planted
    from neuromusic.models import InputSpec, create_model, list_models, register_model
    from neuromusic.models.external import External
    from neuromusic.models.loading import load_weights
    from neuromusic.pipeline.activations import activations
    from neuromusic.pipeline.augment import augment
    from neuromusic.pipeline.benchmark import benchmark
    from neuromusic.pipeline.cache import cache
    from neuromusic.pipeline.compare import compare
    from neuromusic.pipeline.confusions import confusions
    from neuromusic.pipeline.crossval import crossval
    from neuromusic.pipeline.cut import cut_clips
    from neuromusic.pipeline.demo import demo
    from neuromusic.pipeline.encode import EncodingOptions, Rois, encode
    from neuromusic.pipeline.encode_sounds import SoundOptions, encode_sounds
    from neuromusic.pipeline.encode_timed import TimedInput, TimedOptions, encode_timed
    from neuromusic.pipeline.ensemble import ensemble
    from neuromusic.pipeline.evaluate import evaluate
    from neuromusic.pipeline.experiment import (
        check_experiment,
        inspect_experiment,
        show_experiment,
    )
    from neuromusic.pipeline.experiment_lists import make_experiment_lists
    from neuromusic.pipeline.export import export
    from neuromusic.pipeline.leaks import find_leaks
    from neuromusic.pipeline.lists import make_file_lists, make_lists
    from neuromusic.pipeline.networks import get_network, list_networks
    from neuromusic.pipeline.orders import check_orders, design_orders, rebuild_orders
    from neuromusic.pipeline.predict import predict
    from neuromusic.pipeline.prepare import prepare, prepare_features
    from neuromusic.pipeline.prepare_folder import prepare_folder
    from neuromusic.pipeline.report import report
    from neuromusic.pipeline.run import run
    from neuromusic.pipeline.similar import similar
    from neuromusic.pipeline.simulate import simulate
    from neuromusic.pipeline.sweep import sweep
    from neuromusic.pipeline.train import train
    from neuromusic.pipeline.validate import validate_sounds
    from neuromusic.pipeline.verify import verify
    from neuromusic.stimuli.corpora import Corpus
    from neuromusic.training.applied_networks import load_applied, load_features
    from neuromusic.training.config import Config
    from neuromusic.training.stages_front_end import stages_front_end
    from neuromusic.training.trained import TrainedNetwork, load_network


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'neuromusic' has no attribute {name!r}")
    value = getattr(import_module(f"neuromusic.{_HOME[name]}"), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
