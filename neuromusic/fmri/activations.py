"""A network's responses to the clips of scanner runs, laid on the volumes of each run.

`clip_responses` computes the response to each clip once; `ClipResponses.on_volumes` and `on_grid`
lay the responses on the volumes during which the clips were played.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import open_array
from neuromusic.core.progress import track
from neuromusic.design import grid
from neuromusic.design.events import EventsFile, read_events
from neuromusic.features.prepared import open_prepared
from neuromusic.fmri.volumes import check_binning, clip_volumes
from neuromusic.stimuli import audio

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.network import Network
    from neuromusic.training.trained import TrainedNetwork

PROBABILITY = "probability"  # of each class; a key beside the names of the stages
ONSET_TOLERANCE_S = 0.05  # between an onset and the start of a volume

Array = NDArray[np.float32]


# --- Presentations on volumes ---------------------------------------------------------------------


def list_runs(table: pd.DataFrame, lists: Path) -> dict[tuple[str, int], pd.DataFrame]:
    """Return the presentations of each scanner run in a table of stimulus lists.

    The keys are (split, run number); the presentations are in order, with the dummy first.

    Raises InputError if the lists, read from ``lists``, have no scanner runs.
    """
    if table["trial"].isna().all():
        raise InputError(f"{lists}: was made from a folder of sound files and has no scanner runs")
    return {
        (split, int(number)): rows.sort_values("trial").reset_index(drop=True)
        for (split, number), rows in table.groupby(["split", "run"], sort=False)
    }


def run_trials(file: EventsFile, tr_s: float = grid.TR_S) -> pd.DataFrame:
    """Return the presentations of one run from its events, with the dummy as trial 0.

    Columns: trial, repeat (from 1 within the run; 0 for the dummy), volume (of the onset, from 0),
    genre, clip. Raises InputError for an onset that is not the start of a volume.
    """
    events = read_events(file.path)
    volume = (events["onset_s"] / tr_s).round().astype(int)
    is_off = (events["onset_s"] - volume * tr_s).abs() > ONSET_TOLERANCE_S
    if is_off.any():
        row = int(is_off.to_numpy().argmax())
        raise InputError(
            f"{file.path}, row {row + 1}: onset {events['onset_s'].iat[row]:g} s is not the start "
            f"of a volume of {tr_s:g} s"
        )
    table = events[["genre", "clip"]].assign(trial=range(len(events)), volume=volume)
    table["repeat"] = table.groupby("clip").cumcount()
    # The count includes the dummy, so it is already right for later presentations of its clip.
    table.loc[table["clip"] != table["clip"].iat[0], "repeat"] += 1
    return table[["trial", "repeat", "volume", "genre", "clip"]]


def volume_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return volume, onset_s, trial, repeat, dummy, genre and clip of each volume of a run."""
    table = trials.loc[
        trials.index.repeat(grid.VOLUMES_PER_CLIP), ["trial", "repeat", "genre", "clip"]
    ].reset_index(drop=True)
    table.insert(0, "volume", range(len(table)))
    table.insert(1, "onset_s", table["volume"] * grid.TR_S)
    table.insert(4, "dummy", (table["trial"] == 0).astype(int))
    return table


def on_grid(
    trials: pd.DataFrame,
    responses: Mapping[str, NDArray[np.floating]],
    n_volumes: int,
    fill: float = np.nan,
) -> Array:
    """Lay responses to clips on the volumes of one scanner run.

    Parameters
    ----------
    trials : pandas.DataFrame
        One row per presentation, the dummy included, with ``clip`` and ``volume``: the first
        volume of the presentation, from 0.
    responses : mapping
        Clip -> (volumes of the clip, units), for all clips that have a response; at least one.
    n_volumes : int
        Number of volumes of the run. A presentation that the run's end cuts off is cut off here.
    fill : float
        Value of the volumes in which no clip is played.

    Returns
    -------
    array (n_volumes, units) float32
        NaN in the volumes of clips that are not in ``responses``.

    Raises
    ------
    ValueError
        If ``responses`` is empty.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import neuromusic as nm
    >>> trials = pd.DataFrame({"volume": [0, 2, 4], "clip": ["a.wav", "missing.wav", "a.wav"]})
    >>> response = np.array([[0.5, 0.1], [0.7, 0.2]])  # two volumes, two units
    >>> nm.on_grid(trials, {"a.wav": response}, 7, fill=0.0)[:, 0]
    array([0.5, 0.7, nan, nan, 0.5, 0.7, 0. ], dtype=float32)
    """
    if not responses:
        raise ValueError("responses: is empty, so the number of units is unknown")
    length, units = next(iter(responses.values())).shape
    volumes = np.full((n_volumes, units), fill, np.float32)
    for row in trials.itertuples():
        span = volumes[row.volume : row.volume + length]
        span[:] = responses[row.clip][: len(span)] if row.clip in responses else np.nan
    return volumes


# --- Inputs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipInputs:
    """The source of a network's input for each clip.

    ``clips`` are those that are available, ``read`` returns the input (rows, frames) of one of
    them; ``source`` and ``remedy`` are for the message if none of the clips is available.
    """

    clips: Collection[str]
    read: Callable[[str], Array]
    source: Path
    remedy: str

    def present(self, clips: Collection[str]) -> list[str]:
        """Return those of ``clips`` that have an input; raise InputError if none has."""
        present = [clip for clip in clips if clip in self.clips]
        if not present:
            raise InputError(
                f"{self.source}: contains none of the {len(clips)} clips that were played; "
                f"{self.remedy}"
            )
        return present


def inputs_from_prepared(trained: "TrainedNetwork") -> ClipInputs:
    """Return the inputs of the clips in the prepared set that a network was trained on."""
    data = open_prepared(trained.prepared).as_input(
        trained.input_kind, normalise_clips=trained.normalise_clips
    )
    data.check_readable()
    row_of = data.row_of_clip()
    return ClipInputs(
        row_of,
        lambda clip: data.row_features(row_of[clip]),
        trained.prepared,
        "use a network that was trained on a set prepared from the lists of this experiment",
    )


def inputs_from_sound(trained: "TrainedNetwork", lists: Path, clips: pd.DataFrame) -> ClipInputs:
    """Return the inputs of listed clips, computed from their sound when they are read.

    ``clips`` has clip and path (relative to ``lists``, missing if there is no such file).
    """
    present = clips[clips["path"].notna()]
    path_of = dict(zip(present["clip"], present["path"], strict=True))

    def read(clip: str) -> Array:
        wave = audio.read(lists / path_of[clip], grid.CLIP_S, trained.meta.channel)
        return trained.features_of(wave)[0]

    return ClipInputs(path_of, read, lists, "make the lists again with their clips")


def clip_inputs(trained: "TrainedNetwork", lists: Path, clips: pd.DataFrame) -> ClipInputs:
    """Return the inputs of listed clips: from sound if the network was trained on sound.

    Networks that were trained on precomputed features get them from their prepared set.
    """
    if trained.meta.source == "audio":
        return inputs_from_sound(trained, lists, clips)
    return inputs_from_prepared(trained)


# --- Responses ------------------------------------------------------------------------------------


def stage_units(network: "Network") -> dict[str, int]:
    """Return the number of units of each stage, as `clip_responses` lays them out."""
    import torch

    spec = network.spec
    with torch.inference_mode():
        active = network.activations(network.band_mean.new_zeros(1, spec.n_rows, spec.n_frames))
    return {name: math.prod(block.shape[1:-1]) for name, block in active.items()}


class ArrayFiles(Mapping[str, Array]):
    """Arrays by name: some in memory, the others in .npy files that are mapped at each access.

    Pages read through a map count as memory until the map is closed, so maps are not kept open.
    The arrays in memory come first.
    """

    def __init__(self, files: Mapping[str, Path], in_memory: Mapping[str, Array]) -> None:
        self.files = files
        self.in_memory = in_memory

    def __getitem__(self, name: str) -> Array:
        return self.in_memory[name] if name in self.in_memory else open_array(self.files[name])

    def __iter__(self) -> Iterator[str]:
        return iter((*self.in_memory, *self.files))

    def __len__(self) -> int:
        return len(self.in_memory) + len(self.files)


@dataclass(frozen=True)
class ClipResponses:
    """The responses of a network to unique clips, on the volumes of one presentation.

    ``clips`` have a response, ``missing`` clips have no input. ``probability`` is (n_clips, volumes
    of a clip, classes); ``stages`` maps each stage to (n_clips, volumes of a clip, units), in
    memory or in files. All float32.
    """

    clips: list[str]
    missing: list[str]
    probability: Array
    stages: Mapping[str, Array]

    def on_volumes(self, trials: pd.DataFrame, n_volumes: int) -> dict[str, Array]:
        """Return "probability" and each stage on the volumes of a run: (n_volumes, units).

        NaN in the volumes of missing clips and those without a clip; see `on_grid`.
        """

        def lay(block: Array) -> Array:
            return on_grid(trials, dict(zip(self.clips, block, strict=True)), n_volumes)

        stages = {name: lay(self.stages[name]) for name in self.stages}
        return {PROBABILITY: lay(self.probability), **stages}


def clip_responses(
    trained: "TrainedNetwork",
    clips: Iterable[str],
    network: "Network | None" = None,
    *,
    inputs: ClipInputs | None = None,
    binning: str = "mean",
    directory: Path | None = None,
    label: str = "computing activations",
) -> ClipResponses:
    """Compute the responses to clips, each once.

    Parameters
    ----------
    trained : TrainedNetwork
        The trained network, which defines the form of the input.
    clips : iterable of str
        Names of the clips; repetitions are ignored.
    network : Network, optional
        Computes the responses in place of the trained one, such as its untrained copy.
    inputs : ClipInputs, optional
        Inputs of the clips; by default from the prepared set that the network was trained on.
    binning : {"mean", "lanczos"}
        How frames become volumes, see `fmri.volumes`.
    directory : Path, optional
        Directory for files with the responses, so that memory does not grow with the number of
        clips; in memory by default.
    label : str
        What the progress bar says.

    Raises InputError if none of the clips has an input.
    """
    from neuromusic.models.inference import in_threads
    from neuromusic.training.trained import best_device

    check_binning(binning)
    inputs = inputs or inputs_from_prepared(trained)
    unique = list(dict.fromkeys(clips))
    present = inputs.present(unique)
    on_device = (network or trained.network).to(best_device())

    def respond(clip: str) -> dict[str, Array]:
        features = inputs.read(clip)
        probability, stages = clip_volumes(on_device, features, trained.hop_frames, binning)
        return {PROBABILITY: probability.astype(np.float32), **stages}

    responses = track(in_threads(respond, present), label, len(present))
    missing = [clip for clip in unique if clip not in inputs.clips]
    if directory is None:
        blocks = _stacked(responses, len(present))
        return ClipResponses(present, missing, blocks.pop(PROBABILITY), blocks)
    files = _written(responses, len(present), directory)
    probability = np.array(open_array(files.pop(PROBABILITY)))
    return ClipResponses(present, missing, probability, ArrayFiles(files, {}))


def _stacked(responses: Iterable[Mapping[str, Array]], n: int) -> dict[str, Array]:
    """Return the responses to ``n`` clips as one array per name, (n, volumes, units)."""
    blocks: dict[str, Array] = {}
    for index, response in enumerate(responses):
        for name, block in response.items():
            if name not in blocks:
                blocks[name] = np.empty((n, *block.shape), np.float32)
            blocks[name][index] = block
    return blocks


def _written(responses: Iterable[Mapping[str, Array]], n: int, directory: Path) -> dict[str, Path]:
    """Write the responses to ``n`` clips as one .npy file per name, (n, volumes, units).

    Not through memory maps, whose pages would count as memory.
    """
    paths: dict[str, Path] = {}
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for response in responses:
            for name, block in response.items():
                if name not in files:
                    paths[name] = directory / f"{name}.npy"
                    files[name] = stack.enter_context(open(paths[name], "wb"))
                    _write_npy_header(files[name], (n, *block.shape))
                files[name].write(block.tobytes())
    return paths


def _write_npy_header(file: BinaryIO, shape: Sequence[int]) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    header = {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)
