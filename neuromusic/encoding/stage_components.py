"""Principal components of the responses to clips of a network's stages, and of its controls.

The regressions use them in place of a stage's thousands of units.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.progress import track
from neuromusic.design.timing import Placement
from neuromusic.encoding.model_names import (
    TRAINED,
    ModelName,
    is_trained,
)
from neuromusic.fmri.activations import Rest, clip_responses
from neuromusic.fmri.clip_inputs import ClipInputs
from neuromusic.fmri.components import fit_components
from neuromusic.fmri.layout import PlacedClip

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork


@dataclass(frozen=True)
class StageComponents:
    """Components of the responses of all stages to clips.

    ``placed`` are the clips with each of their placements. ``stages`` maps the stages of the
    trained network and those of the control networks (see `model_names.ModelName`) to (placed,
    volumes, components) float32, NaN after the volumes of a placement; ``rest`` maps them to those
    of the response to no sound (components,). ``explained`` is the share of the stage's variance
    that they explain. ``missing`` clips have no input.
    """

    placed: list[PlacedClip]
    missing: list[str]
    stages: dict[str, NDArray[np.float32]]
    rest: dict[str, NDArray[np.float32]]
    explained: dict[str, float]

    @property
    def trained(self) -> list[str]:
        """Names of the stages of the trained network."""
        return [name for name in self.stages if is_trained(name)]

    def by_clip(self, stage: str) -> dict[PlacedClip, NDArray[np.float32]]:
        """Return (clip, placement) -> (volumes, components) of one stage."""
        return dict(zip(self.placed, self.stages[stage], strict=True))

    def unit_means(self, units: Iterable[str], n_volumes: int) -> dict[str, NDArray[np.float32]]:
        """Return stage -> the mean over the volumes of each of ``units``, (units, components).

        A unit is a clip, in its first placement, or a segment of ``n_volumes`` volumes of one; see
        `units.unit_rows`.
        """
        first = {clip: row for row, (clip, _) in reversed(list(enumerate(self.placed)))}
        parts = []
        for unit in units:
            if unit in first:
                volumes = self.placed[first[unit]][1].n_volumes
                parts.append((first[unit], slice(0, volumes)))
                continue
            clip, _, number = unit.rpartition("#")
            begin = (int(number) - 1) * n_volumes
            parts.append((first[clip], slice(begin, begin + n_volumes)))
        return {
            name: np.array([components[row, part].mean(0) for row, part in parts])
            for name, components in self.stages.items()
        }


@dataclass(frozen=True)
class Played:
    """What networks and the acoustic baseline are computed for.

    ``wanted`` maps clips to their placements, ``training`` are the clips that components are fitted
    to, and ``rest`` is what stands for silence. ``inputs`` are those of a network.
    """

    wanted: Mapping[str, Sequence[Placement]]
    training: Collection[str]
    rest: Rest
    inputs: ClipInputs


def compute_components(
    trained: "AppliedNetwork", played: Played, n: int, control_seeds: int = 1
) -> StageComponents:
    """Compute the responses to the ``played`` clips and reduce each stage to ``n`` components.

    The same is done for ``control_seeds`` copies of the network with random weights and as many
    with permuted weights, one network at a time. Raises InputError if no clip has an input.
    """
    networks = [(TRAINED, 0), *itertools.product(trained.controls, range(1, control_seeds + 1))]
    stages, rest, explained = {}, {}, {}
    for kind, seed in networks:
        network = trained if kind == TRAINED else trained.control(kind, seed)
        text = f"{kind} network{f' {seed}' if control_seeds > 1 and seed else ''}"
        label = f"{text}: computing activations"
        responses = clip_responses(
            network, played.wanted, inputs=played.inputs, rest=played.rest, label=label
        )
        is_training = np.array([clip in played.training for clip in responses.clips])
        label = f"{text}: principal components"
        for stage, block in track(responses.stages.items(), label, len(responses.stages)):
            key = str(ModelName(kind, seed, stage))
            stages[key], rest[key], explained[key] = components_of_stage(
                block, is_training, n, responses.rest[stage]
            )
    return StageComponents(responses.placed, responses.missing, stages, rest, explained)


def components_of_stage(
    block: NDArray[np.float32],
    is_training: NDArray[np.bool_],
    n: int,
    rest: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return the first components of one stage, those of rest, and their share of the variance.

    ``block`` is (clips, volumes of a clip, units), ``rest`` (units,) the response to no sound. The
    components are fitted on the clips that ``is_training`` (clips,) marks, with each unit
    standardised over them. They keep their variances, whose sum over all components is 1, so a
    ridge regression on them is one on the units.
    """
    rows = block[is_training].reshape(-1, block.shape[2]).astype(np.float64)
    rows = rows[np.isfinite(rows).all(1)]  # a clip may end before its presentation does
    mean, deviation = rows.mean(0), rows.std(0)
    varies = deviation > 1e-9 * max(float(deviation.max()), 1e-30)
    standardised = (rows[:, varies] - mean[varies]) / deviation[varies]
    fitted = fit_components(standardised.astype(np.float32), n)
    scale = fitted.deviation / np.sqrt(varies.sum())
    all_clips, silent = (
        fitted.project((each[..., varies] - mean[varies]) / deviation[varies]) * scale
        for each in (block, rest)
    )
    share = float(fitted.explained.sum())
    return all_clips.astype(np.float32), silent.astype(np.float32), share
