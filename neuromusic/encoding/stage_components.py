"""Principal components of the responses to clips of a network's stages, and of its controls.

The regressions use them in place of a stage's thousands of units.
"""

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.progress import track
from neuromusic.encoding.model_names import (
    CONTROLS,
    PERMUTED,
    RANDOM,
    TRAINED,
    ModelName,
    is_trained,
)
from neuromusic.fmri.activations import clip_responses
from neuromusic.fmri.components import fit_components

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.training.trained import TrainedNetwork


@dataclass(frozen=True)
class StageComponents:
    """Components of the responses of all stages to clips.

    ``stages`` maps the stages of the trained network and those of the control networks (see
    `model_names.ModelName`) to (clips, volumes of a clip, components) float32. ``explained`` is the
    share of the stage's variance that they explain. ``missing`` clips have no input.
    """

    clips: list[str]
    missing: list[str]
    stages: dict[str, NDArray[np.float32]]
    explained: dict[str, float]

    @property
    def trained(self) -> list[str]:
        """Names of the stages of the trained network."""
        return [name for name in self.stages if is_trained(name)]

    def by_clip(self, stage: str) -> dict[str, NDArray[np.float32]]:
        """Return clip -> (volumes of the clip, components) of one stage."""
        return dict(zip(self.clips, self.stages[stage], strict=True))

    def clip_means(self, clips: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Return stage -> the mean over the volumes of each of ``clips``, (clips, components)."""
        index = [self.clips.index(clip) for clip in clips]
        return {name: components[index].mean(1) for name, components in self.stages.items()}


def compute_components(
    trained: "TrainedNetwork",
    played: Iterable[str],
    training: Collection[str],
    n: int,
    control_seeds: int = 1,
) -> StageComponents:
    """Compute the responses to the ``played`` clips and reduce each stage to ``n`` components.

    The same is done for ``control_seeds`` copies of the network with random weights and as many
    with permuted weights, one network at a time. The components are fitted on the clips in
    ``training``. Raises InputError if the network's prepared set contains none of the clips.
    """
    from neuromusic.training.trained import permuted_copy, untrained_copy

    played = list(played)
    makers = {RANDOM: untrained_copy, PERMUTED: permuted_copy}
    networks = [(TRAINED, 0), *itertools.product(CONTROLS, range(1, control_seeds + 1))]
    stages, explained = {}, {}
    for kind, seed in networks:
        network = makers[kind](trained, seed) if kind in makers else None
        text = f"{kind} network{f' {seed}' if control_seeds > 1 and seed else ''}"
        label = f"{text}: computing activations"
        responses = clip_responses(trained, played, network, label=label)
        is_training = np.array([clip in training for clip in responses.clips])
        label = f"{text}: principal components"
        for stage, block in track(responses.stages.items(), label, len(responses.stages)):
            key = str(ModelName(kind, seed, stage))
            stages[key], explained[key] = components_of_stage(block, is_training, n)
    return StageComponents(responses.clips, responses.missing, stages, explained)


def components_of_stage(
    block: NDArray[np.float32], is_training: NDArray[np.bool_], n: int
) -> tuple[NDArray[np.float32], float]:
    """Return the first principal components of one stage, and the share of variance they explain.

    ``block`` is (clips, volumes of a clip, units). The components are fitted on the clips that
    ``is_training`` (clips,) marks, with each unit standardised over them. They keep their
    variances, whose sum over all components is 1, so a ridge regression on them is one on the
    units.
    """
    rows = block[is_training].reshape(-1, block.shape[2]).astype(np.float64)
    rows = rows[np.isfinite(rows).all(1)]  # a clip may end before its presentation does
    mean, deviation = rows.mean(0), rows.std(0)
    varies = deviation > 1e-9 * max(float(deviation.max()), 1e-30)
    standardised = (rows[:, varies] - mean[varies]) / deviation[varies]
    fitted = fit_components(standardised.astype(np.float32), n)
    all_clips = (block[..., varies] - mean[varies]) / deviation[varies]
    projected = fitted.project(all_clips) * fitted.deviation / np.sqrt(varies.sum())
    return projected.astype(np.float32), float(fitted.explained.sum())
