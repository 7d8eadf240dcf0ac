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
The brain                       encode, encode_participant, encode_group, encode_sounds,
                                encode_timed, benchmark
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
    "encoding.options": ("EncodingOptions", "SoundOptions"),
    "encoding.rois": ("Rois",),
    "pipeline.encode": ("encode",),
    "pipeline.encode_group": ("encode_group",),
    "pipeline.encode_participant": ("encode_participant",),
    "pipeline.encode_sounds": ("encode_sounds",),
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

if TYPE_CHECKING:  # `as`: type checkers take these for names of this package
    from neuromusic.core.cache import caching as caching
    from neuromusic.core.errors import InputError as InputError
    from neuromusic.core.figures import FigureStyle as FigureStyle
    from neuromusic.core.parallel import Machine as Machine
    from neuromusic.core.version import __version__ as __version__
    from neuromusic.design.dataset import Dataset as Dataset
    from neuromusic.design.experiment import Experiment as Experiment
    from neuromusic.design.experiment import load_experiment as load_experiment
    from neuromusic.design.leaks import DropLeaks as DropLeaks
    from neuromusic.design.orders import Order as Order
    from neuromusic.design.orders import read_order as read_order
    from neuromusic.design.splits import HeldOutRuns as HeldOutRuns
    from neuromusic.encoding.options import EncodingOptions as EncodingOptions
    from neuromusic.encoding.options import SoundOptions as SoundOptions
    from neuromusic.encoding.rois import Rois as Rois
    from neuromusic.features.frontends.mel import log_mel as log_mel
    from neuromusic.features.prepared import PreparedSet as PreparedSet
    from neuromusic.features.prepared import open_prepared as open_prepared
    from neuromusic.fmri.export.formats import Regressors as Regressors
    from neuromusic.fmri.layout import on_grid as on_grid
    from neuromusic.fmri.simulation.voxels import Planted as Planted
    from neuromusic.models import InputSpec as InputSpec
    from neuromusic.models import create_model as create_model
    from neuromusic.models import list_models as list_models
    from neuromusic.models import register_model as register_model
    from neuromusic.models.external import External as External
    from neuromusic.models.loading import load_weights as load_weights
    from neuromusic.pipeline.activations import activations as activations
    from neuromusic.pipeline.augment import augment as augment
    from neuromusic.pipeline.benchmark import benchmark as benchmark
    from neuromusic.pipeline.cache import cache as cache
    from neuromusic.pipeline.compare import compare as compare
    from neuromusic.pipeline.confusions import confusions as confusions
    from neuromusic.pipeline.crossval import crossval as crossval
    from neuromusic.pipeline.cut import cut_clips as cut_clips
    from neuromusic.pipeline.demo import demo as demo
    from neuromusic.pipeline.encode import encode as encode
    from neuromusic.pipeline.encode_group import encode_group as encode_group
    from neuromusic.pipeline.encode_participant import encode_participant as encode_participant
    from neuromusic.pipeline.encode_sounds import encode_sounds as encode_sounds
    from neuromusic.pipeline.encode_timed import TimedInput as TimedInput
    from neuromusic.pipeline.encode_timed import TimedOptions as TimedOptions
    from neuromusic.pipeline.encode_timed import encode_timed as encode_timed
    from neuromusic.pipeline.ensemble import ensemble as ensemble
    from neuromusic.pipeline.evaluate import evaluate as evaluate
    from neuromusic.pipeline.experiment import check_experiment as check_experiment
    from neuromusic.pipeline.experiment import inspect_experiment as inspect_experiment
    from neuromusic.pipeline.experiment import show_experiment as show_experiment
    from neuromusic.pipeline.experiment_lists import make_experiment_lists as make_experiment_lists
    from neuromusic.pipeline.export import export as export
    from neuromusic.pipeline.leaks import find_leaks as find_leaks
    from neuromusic.pipeline.lists import make_file_lists as make_file_lists
    from neuromusic.pipeline.lists import make_lists as make_lists
    from neuromusic.pipeline.networks import get_network as get_network
    from neuromusic.pipeline.networks import list_networks as list_networks
    from neuromusic.pipeline.orders import check_orders as check_orders
    from neuromusic.pipeline.orders import design_orders as design_orders
    from neuromusic.pipeline.orders import rebuild_orders as rebuild_orders
    from neuromusic.pipeline.predict import predict as predict
    from neuromusic.pipeline.prepare import prepare as prepare
    from neuromusic.pipeline.prepare import prepare_features as prepare_features
    from neuromusic.pipeline.prepare_folder import prepare_folder as prepare_folder
    from neuromusic.pipeline.report import report as report
    from neuromusic.pipeline.run import run as run
    from neuromusic.pipeline.similar import similar as similar
    from neuromusic.pipeline.simulate import simulate as simulate
    from neuromusic.pipeline.sweep import sweep as sweep
    from neuromusic.pipeline.train import train as train
    from neuromusic.pipeline.validate import validate_sounds as validate_sounds
    from neuromusic.pipeline.verify import verify as verify
    from neuromusic.stimuli.corpora import Corpus as Corpus
    from neuromusic.training.applied_networks import load_applied as load_applied
    from neuromusic.training.applied_networks import load_features as load_features
    from neuromusic.training.config import Config as Config
    from neuromusic.training.stages_front_end import stages_front_end as stages_front_end
    from neuromusic.training.trained import TrainedNetwork as TrainedNetwork
    from neuromusic.training.trained import load_network as load_network


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'neuromusic' has no attribute {name!r}")
    value = getattr(import_module(f"neuromusic.{_HOME[name]}"), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
