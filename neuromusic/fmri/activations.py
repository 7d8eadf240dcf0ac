"""A network's responses to the sounds of runs, each computed once.

`clip_responses` computes the response to each clip; `ClipResponses.on_volumes` lays the responses
on the volumes during which the clips were played.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import open_array
from neuromusic.core.progress import track
from neuromusic.design.timing import Placement
from neuromusic.fmri.clip_inputs import ClipInputs, inputs_from_prepared
from neuromusic.fmri.layout import PlacedClip, lay, spans_of
from neuromusic.fmri.volumes import applied_volumes, check_binning

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork

PROBABILITY = "probability"  # of each class; a key beside the names of the stages

Array = NDArray[np.float32]
Rest = Literal["zero", "silence"]


def stage_units(trained: "AppliedNetwork") -> dict[str, int]:
    """Return the number of units of each stage, as `clip_responses` lays them out."""
    import torch

    from neuromusic.models.stored import Responses, Sound

    if not trained.has_windows:
        counts = Responses(trained).of(
            Sound(lambda: None, lambda: "silence"), ["units"],
            lambda _: {name: np.array(n) for name, n in trained.unit_counts().items()},
        )  # fmt: skip
        return {name: int(n) for name, n in counts.items()}
    units: dict[str, int] = {}
    for prefix, part in trained.parts.items():
        network, spec = part.network, part.network.spec
        with torch.inference_mode():
            active = network.activations(network.band_mean.new_zeros(1, spec.n_rows, spec.n_frames))
        shapes = {f"{prefix}{name}": block.shape[1:-1] for name, block in active.items()}
        units |= {name: math.prod(shape) for name, shape in shapes.items()}
    return units


def rest_response(trained: "AppliedNetwork", rest: Rest) -> dict[str, Array]:
    """Return "probability" (classes,) and each stage (units,) while no sound is played.

    "zero": 0 everywhere. "silence": the mean response to one window without sound. Raises
    InputError for "silence" if the network was trained on features and cannot be given a sound.
    """
    from neuromusic.models.stored import Responses, Sound

    network = trained.network
    if rest == "zero":
        zeros = {name: np.zeros(n, np.float32) for name, n in stage_units(trained).items()}
        return {PROBABILITY: np.zeros(len(trained.classes), np.float32), **zeros}
    if trained.meta.source != "audio":
        raise InputError(
            f"{trained.directory}: was trained on features without sound, so its response to "
            'silence is unknown; set rest = "zero"'
        )
    window_s = network.spec.n_frames * network.spec.frame_s
    silence = np.zeros(math.ceil(window_s * trained.rate_hz), np.float32)
    placement = Placement(window_s, 0.0, window_s)
    found = Responses(trained).of(
        Sound(lambda: trained.features_of(silence)[0], lambda: "silence"),
        ("volumes", *placement, "mean"),
        lambda x: _volumes(trained, x, [placement], "mean")[0],
    )
    return {name: values[0] for name, values in found.items()}


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
    """The responses of a network to sounds, on the volumes of their presentations.

    ``placed`` are the sounds that have a response, each with all of its placements; ``missing``
    clips have no input. ``probability`` is (n_placed, volumes, classes); ``stages`` maps each stage
    to (n_placed, volumes, units), in memory or in files. Volumes beyond those of a placement are
    NaN. ``rest`` is the response to no sound, see `rest_response`. All float32.
    """

    placed: list[PlacedClip]
    missing: list[str]
    probability: Array
    stages: Mapping[str, Array]
    rest: Mapping[str, Array]

    @property
    def clips(self) -> list[str]:
        """The clips of ``placed``."""
        return [clip for clip, _ in self.placed]

    def on_volumes(self, trials: pd.DataFrame, tr_s: float, n_volumes: int) -> dict[str, Array]:
        """Return "probability" and each stage on the volumes of a run: (n_volumes, units).

        See `lay_on_volumes`.
        """

        spans = spans_of(trials, tr_s, n_volumes)

        def laid(name: str, block: Array) -> Array:
            return lay(spans, dict(zip(self.placed, block, strict=True)), self.rest[name])

        stages = {name: laid(name, self.stages[name]) for name in self.stages}
        return {PROBABILITY: laid(PROBABILITY, self.probability), **stages}


def clip_responses(
    trained: "AppliedNetwork",
    wanted: Mapping[str, Sequence[Placement]],
    *,
    inputs: ClipInputs | None = None,
    binning: str = "mean",
    rest: Rest = "zero",
    directory: Path | None = None,
    label: str = "computing activations",
) -> ClipResponses:
    """Compute the responses to clips, each once.

    Parameters
    ----------
    trained : AppliedNetwork
        The network.
    wanted : mapping
        Clip -> how it lies on volumes in its presentations, see `timing.all_placements`.
    inputs : ClipInputs, optional
        Inputs of the clips; by default from the prepared set that the network was trained on.
    binning : {"mean", "lanczos"}
        How frames become volumes, see `fmri.volumes`.
    rest : {"zero", "silence"}
        The response while no sound is played.
    directory : Path, optional
        Directory for files with the responses, so that memory does not grow with the number of
        clips; in memory by default.
    label : str
        What the progress bar says.

    Raises InputError if none of the clips has an input.
    """
    from neuromusic.models.inference import best_device, in_threads
    from neuromusic.models.stored import Responses, Sound

    check_binning(binning)
    inputs = inputs or inputs_from_prepared(trained)
    present = inputs.present(list(wanted))
    placed = [(clip, placement) for clip in present for placement in wanted[clip]]
    n_volumes = max(placement.n_volumes for _, placement in placed)
    trained.network.to(best_device())
    silent = rest_response(trained, rest)
    responses_of = Responses(trained, n_threads=1)

    def respond(clip: str) -> list[dict[str, Array]]:
        placements = wanted[clip]
        found = responses_of.all_of(
            Sound(lambda: inputs.read(clip), lambda: inputs.key(clip)),
            [("volumes", *each, binning) for each in placements],
            lambda x, numbers: _volumes(trained, x, [placements[n] for n in numbers], binning),
        )
        return [
            {name: _padded(values, n_volumes) for name, values in each.items()} for each in found
        ]

    of_clips = track(in_threads(respond, present), label, len(present))
    responses = (each for of_clip in of_clips for each in of_clip)
    missing = [clip for clip in wanted if clip not in inputs.clips]
    if directory is None:
        blocks = _stacked(responses, len(placed))
        return ClipResponses(placed, missing, blocks.pop(PROBABILITY), blocks, silent)
    files = _written(responses, len(placed), directory)
    probability = np.array(open_array(files.pop(PROBABILITY)))
    return ClipResponses(placed, missing, probability, ArrayFiles(files, {}), silent)


def _volumes(
    trained: "AppliedNetwork", x: Any, placements: Sequence[Placement], binning: str
) -> list[dict[str, Array]]:
    """Return "probability" and each stage on the volumes of each placement of an input."""
    return [
        {PROBABILITY: probability.astype(np.float32), **stages}
        for probability, stages in applied_volumes(trained, x, placements, binning)
    ]


def _padded(values: Array, n_volumes: int) -> Array:
    """Return (n_volumes, units), with NaN after the volumes of a shorter presentation."""
    more = n_volumes - len(values)
    return np.pad(values, ((0, more), (0, 0)), constant_values=np.nan) if more else values


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
