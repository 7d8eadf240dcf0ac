"""The regressions of an encoding: designs of stages and of the acoustic baseline, in each fold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuromusic.encoding.fit_rows import UsedRows
from neuromusic.encoding.folds import Fold
from neuromusic.encoding.model_names import BASELINE, JOINT, is_trained
from neuromusic.encoding.options import DELAYS_TR
from neuromusic.encoding.unique_variance import NestedDesigns, nested_designs

# Components of each group of the acoustic baseline, and of each stage beside it and in the joint
# fit, whose search takes time with the cube of their number.
JOINT_COMPONENTS = 20

Array = NDArray[np.float32]
StageDesigns = Mapping[str, Array]  # stage or group -> (rows, delays x components)


@dataclass(frozen=True)
class Model:
    """One regression: which designs it joins, and the columns in each band if it has bands."""

    parts: list[str]
    is_baseline: bool
    few: bool  # of stages, only the first JOINT_COMPONENTS components
    bands: list[int] | None = None

    def design(self, designs: "Designs") -> Array:
        """Return its design, (rows, columns)."""
        source = designs.groups if self.is_baseline else designs.stages
        chosen = [source[name] for name in self.parts]
        chosen = [first_components(each) for each in chosen] if self.few else chosen
        return chosen[0] if len(chosen) == 1 else np.hstack(chosen)


@dataclass(frozen=True)
class Designs:
    """The designs of all regressions: features on the rows of `Scans`.

    ``stages`` are those of all networks, ``groups`` those of the acoustic baseline, which may have
    none. If folds leave out sounds, ``alone`` are the designs in which only the sounds of each
    scored row's own fold are laid: what a row is predicted from. Otherwise the sound before, which
    was fitted, would be predicted with it.
    """

    stages: StageDesigns
    groups: StageDesigns = field(default_factory=dict)
    alone: "Designs | None" = None

    def in_fold(self, used: UsedRows, fold: Fold) -> "Designs":
        """Return the designs with the rows of ``alone`` where the fold predicts."""
        if self.alone is None:
            return self
        rows = used.test.ravel()[fold.test]
        return Designs(
            {name: _with_rows(x, self.alone.stages[name], rows) for name, x in self.stages.items()},
            {name: _with_rows(x, self.alone.groups[name], rows) for name, x in self.groups.items()},
        )

    def of_model(self, model: Model, used: UsedRows, fold: Fold) -> Array:
        """Return the design of one regression in a fold."""
        design = model.design(self)
        if self.alone is None:
            return design
        return _with_rows(design, model.design(self.alone), used.test.ravel()[fold.test])


def _with_rows(design: Array, other: Array, rows: NDArray[np.int64]) -> Array:
    replaced = design.copy()
    replaced[rows] = other[rows]
    return replaced


def models_of(designs: Designs, banded: bool) -> dict[str, Model]:
    """Return one model per stage, JOINT of the trained network if ``banded``, and BASELINE."""
    models = {name: Model([name], False, False) for name in designs.stages}
    if banded:
        trained = [name for name in designs.stages if is_trained(name)]
        widths = [first_components(designs.stages[name]).shape[1] for name in trained]
        models[JOINT] = Model(trained, False, True, widths)
    if designs.groups:
        widths = [design.shape[1] for design in designs.groups.values()]
        models[BASELINE] = Model(list(designs.groups), True, False, widths if banded else None)
    return models


def nested_in_fold(designs: Designs, used: UsedRows, fold: Fold) -> NestedDesigns:
    """Return the residual designs of the trained network's stages; none without a baseline."""
    if not designs.groups:
        return NestedDesigns(np.empty((len(fold.train), 0), np.float32), [], {}, {}, {}, [])
    here = designs.in_fold(used, fold)
    trained = {
        name: first_components(design) for name, design in here.stages.items() if is_trained(name)
    }
    return nested_designs(here.groups, trained, fold.train)


def first_components(design: Array) -> Array:
    """Return the columns of the first JOINT_COMPONENTS components (rows, delays x components)."""
    by_delay = design.reshape(len(design), len(DELAYS_TR), -1)[:, :, :JOINT_COMPONENTS]
    return by_delay.reshape(len(design), -1)
