"""The cells of a benchmark: one encoding per network and data set, each in its own directory."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromusic.core.cache import caching, current
from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError, ResourceError
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import sha256, write_json
from neuromusic.core.records import arguments, hash_inputs, is_current, read_plain_json, record
from neuromusic.encoding.options import SoundOptions
from neuromusic.encoding.sound_responses import Statistics, find_sounds, read_responses
from neuromusic.encoding.timed_responses import read_timed
from neuromusic.pipeline.benchmark_settings import BenchmarkDataset, BenchmarkNetwork, Plan
from neuromusic.pipeline.encode_sounds import COMMAND, encode_sharing
from neuromusic.pipeline.encode_timed import encode_timed

if TYPE_CHECKING:  # finished cells are recognised without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork

log = logging.getLogger(__name__)

NETWORK = "network.json"  # in the folder of a network: what its weights are, and from which files
BASELINES = ".baselines"  # in the folder of the benchmark: computed once for all networks
STATISTICS: dict[str, Statistics] = {"ours": "mean+deviation", "tuckute2023": "mean"}


@dataclass(frozen=True)
class Cell:
    """One network and one data set."""

    network: BenchmarkNetwork
    dataset: BenchmarkDataset
    out: Path  # absolute: workers may have another working directory
    options: SoundOptions
    splits: int
    seed: int
    overwrite: bool
    cache: Path | None = None  # of activations, see `caching`; absolute

    @property
    def name(self) -> str:
        """Network and data set."""
        return f"{self.network.name}, {self.dataset.name}"


def cells_of(plan: Plan, out: Path, overwrite: bool) -> list[Cell]:
    """Return all cells, those of one data set together."""
    options = SoundOptions(plan.protocol)
    cache = current()
    place = cache.directory.absolute() if cache else None
    return [
        Cell(network, dataset, out.absolute() / network.name / dataset.name, options,
             plan.splits, plan.seed, overwrite, place)
        for dataset in plan.datasets
        for network in plan.networks
    ]  # fmt: skip


# --- What is finished -----------------------------------------------------------------------------


def hash_dataset(dataset: BenchmarkDataset) -> dict[str, str]:
    """Return path -> SHA-256 of the responses and of the sounds that they name.

    Raises InputError if the responses cannot be read, or a sound is missing.
    """
    if dataset.kind == "timed":
        names = read_timed(dataset.responses, dataset.given).sounds
    else:
        names = read_responses(dataset.responses).sounds
    files = find_sounds(names, dataset.sounds, dataset.responses)
    return hash_inputs([dataset.responses, *files])


def is_finished(cell: Cell, data: Mapping[str, str]) -> bool:
    """Return whether a cell is certainly finished, as far as that is known without its network.

    ``data`` is the output of `hash_dataset`. A network whose weights may be anywhere, such as
    my_net.py, has to be loaded: the answer is then False, and `encode_cell` finds out.
    """
    known = read_plain_json(cell.out.parent / NETWORK)
    if known is None or known.get("choice") != _choice(cell.network):
        return False
    files = known.get("files") or {}
    if not all(Path(path).is_file() and sha256(Path(path)) == old for path, old in files.items()):
        return False
    if cell.network.features and set(files) != set(_files(Path(cell.network.source))):
        return False  # there are more features now
    settings, places = arguments(
        network=Path(known["path"]) if known["path"] else cell.network.source,
        sounds=cell.dataset.sounds, responses=cell.dataset.responses, figures=FigureStyle(),
        **_fit_settings(cell),
    )  # fmt: skip
    inputs = {"network": known["weights"], **data}
    return is_current(
        cell.out, record(COMMAND, settings | known["settings"], inputs, places=places)
    )


def _fit_settings(cell: Cell) -> dict[str, Any]:
    """Return the arguments of `encode_sounds` or `encode_timed` that say how a cell is fitted.

    As they are recorded: with the summary over time that the protocol implies.
    """
    if cell.dataset.kind == "timed":
        return {"options": cell.dataset.options, "given": cell.dataset.given}
    protocol = cell.options.protocol
    options = SoundOptions(protocol, STATISTICS[protocol])
    return {"options": options, "splits": cell.splits, "seed": cell.seed}


def _choice(network: BenchmarkNetwork) -> dict[str, Any]:
    return {"source": network.source, "stages": list(network.stages)}


def _remember(cell: Cell, applied: "AppliedNetwork") -> None:
    """Write what `is_finished` needs to know of a network, if its files are known."""
    files = _source_files(cell.network)
    path = cell.out.parent / NETWORK
    if not files:
        path.unlink(missing_ok=True)
        return
    reference = applied.reference
    content = {
        "choice": _choice(cell.network),
        "files": {str(file): sha256(file) for file in files},
        "path": str(reference) if isinstance(reference, Path) else "",
        "settings": applied.settings(),
        "weights": applied.weights_hash(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def _source_files(network: BenchmarkNetwork) -> list[Path]:
    """Return all files that a network consists of, or none if that is not known."""
    path = Path(network.source)
    if path.is_dir():
        return [Path(file) for file in _files(path)]
    from neuromusic.models.pretrained.catalogue import ENTRIES, weights_path

    if path.is_file() or network.source not in ENTRIES:
        return []
    return [weights_path(ENTRIES[network.source]).absolute()]


def _files(directory: Path) -> list[str]:
    return [str(path) for path in sorted(directory.rglob("*")) if path.is_file()]


# --- Computing ------------------------------------------------------------------------------------


def encode_cell(cell: Cell, n_processes: int = 1) -> str:
    """Encode a cell; return why it failed, or an empty text.

    Raises ResourceError if the disk is full, since all other cells would fail as well.
    """
    try:
        if n_processes > 1:
            _share_cores(n_processes)
        from neuromusic.training.applied_networks import load_applied, load_features

        chosen = cell.network
        applied = (
            load_features(chosen.source)
            if chosen.features
            else load_applied(chosen.source, stages=chosen.stages)
        )
        cell.out.parent.mkdir(parents=True, exist_ok=True)
        is_timed = cell.dataset.kind == "timed"
        encode = encode_timed if is_timed else encode_sharing
        shared: dict[str, Any] = {} if is_timed else {"shared": cell.out.parents[1] / BASELINES}
        with caching(cell.cache) if cell.cache and current() is None else nullcontext():
            encode(
                applied, sounds=cell.dataset.sounds, responses=cell.dataset.responses,
                out=cell.out, overwrite=cell.overwrite, **_fit_settings(cell), **shared,
            )  # fmt: skip
        _remember(cell, applied)
    except ResourceError:
        raise
    except InputError as error:
        return str(error)
    except Exception as error:  # a network of others may raise anything
        log.debug("%s", cell.name, exc_info=True)
        return f"{type(error).__name__}: {error}"
    return ""


def _share_cores(n_processes: int) -> None:
    import torch

    torch.set_num_threads(max(1, available_cores() // n_processes))
