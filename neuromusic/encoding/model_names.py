"""Names of the models of an encoding: of which network, of which copy of it, and which stage.

A model is one regression. Tables of voxels have a column per model, such as ``r_random-A1``.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

TRAINED, RANDOM, PERMUTED = "trained", "random", "permuted"
CONTROLS = (RANDOM, PERMUTED)  # weights as before training; trained weights in random order
JOINT = "all stages"  # the name of the regression on all stages together
NO_NETWORK = "baseline"  # what tables have in place of a network for the next one
BASELINE = "acoustic baseline"  # the name of the regression on `acoustics.Baseline`

_CONTROL = re.compile(rf"({'|'.join(CONTROLS)})([0-9]*)-(.+)")


class ModelName(NamedTuple):
    """What the name of a model says.

    ``network`` is TRAINED, RANDOM, PERMUTED or NO_NETWORK, ``seed`` counts the copies of a control
    network from 1 and is 0 for the others, ``stage`` is the stage, JOINT or BASELINE.
    """

    network: str
    seed: int
    stage: str

    def __str__(self) -> str:
        """Return the name: ``A1``, ``random-A1`` (the first copy), ``random2-A1``."""
        if self.network in (TRAINED, NO_NETWORK):
            return self.stage
        return f"{self.network}{self.seed if self.seed > 1 else ''}-{self.stage}"


def split_name(name: str) -> ModelName:
    """Return the parts of a model's name, the inverse of `ModelName.__str__`."""
    if name == BASELINE:
        return ModelName(NO_NETWORK, 0, name)
    match = _CONTROL.fullmatch(name)
    if match is None:
        return ModelName(TRAINED, 0, name)
    network, seed, stage = match.groups()
    return ModelName(network, int(seed or 1), stage)


def is_trained(name: str) -> bool:
    """Return whether a model is of the trained network rather than of a control network."""
    return split_name(name).network == TRAINED


def without_copies(names: Iterable[str]) -> list[str]:
    """Return the models of the trained network and of the first copy of each control network."""
    return [name for name in names if split_name(name).seed <= 1]
