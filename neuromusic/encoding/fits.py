"""The regressions of a subject, prepared for all blocks of its voxels."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuromusic.encoding.clip_sets import ClipSet, clip_sets
from neuromusic.encoding.designs import Designs, Model, models_of, nested_in_fold
from neuromusic.encoding.fit_rows import FoldProblem, UsedRows, fold_problems
from neuromusic.encoding.unique_fits import designs_of
from neuromusic.encoding.unique_variance import NestedDesigns

MOST_KEPT_BYTES = 800_000_000  # of regressions that are kept from block to block


@dataclass(frozen=True)
class Outline:
    """What the scores of a subject are about, without the designs.

    Parameters
    ----------
    used : UsedRows
        The rows.
    sets : list of ClipSet
        The sets of test clips that areas are scored on.
    models : list of str
        The regressions.
    stages : list of str
        The stages of all networks.
    below : dict of str
        Stage -> the stage below, if what it adds to that is reported.
    left_out : list of str
        One sentence for each reason why stages have no unique variance.
    """

    used: UsedRows
    sets: list[ClipSet]
    models: list[str]
    stages: list[str]
    below: dict[str, str]
    left_out: list[str]

    @property
    def has_tests(self) -> bool:
        """Whether areas are tested, see `AreaTotals`."""
        return not self.used.has_folds or self.used.each_repeat


@dataclass(frozen=True)
class Fits:
    """What all blocks of a subject share: rows, designs and regressions.

    ``weights`` (draws, clips) are those of the test clips in each draw; ``prepared`` are the
    regressions that are kept from block to block.
    """

    outline: Outline
    designs: Designs
    models: Mapping[str, Model]
    nested: Sequence[NestedDesigns]  # of each fold
    weights: NDArray[np.float64]
    prepared: "Prepared"

    @classmethod
    def of(
        cls, used: UsedRows, designs: Designs, banded: bool, clean: Collection[str] | None = None
    ) -> "Fits":
        """Return the regressions of a subject; the arguments are those of `encode_voxels`."""
        nested = [nested_in_fold(designs, used, fold) for fold in used.folds]
        models = models_of(designs, banded)
        sets = clip_sets(used.clips, used.clip_runs, clean)
        left_out = list(dict.fromkeys(line for each in nested for line in each.left_out))
        outline = Outline(
            used, sets, list(models), list(designs.stages), nested[0].below, left_out
        )  # fmt: skip
        weights = np.vstack([each.weights for each in sets])
        return cls(outline, designs, models, nested, weights, Prepared())

    @property
    def n_fits(self) -> int:
        """Number of regressions of each block."""
        return len(self.models) + len(designs_of(self.nested))

    def of_model(self, name: str) -> list[FoldProblem]:
        """Return a stage's regression, or that of JOINT or BASELINE, in each fold."""
        used, model = self.outline.used, self.models[name]
        return self.prepared.get(
            (name,),
            lambda: fold_problems(
                (self.designs.of_model(model, used, fold) for fold in used.folds), used, model.bands
            ),
        )

    def of_comparison(self, key: tuple[str, str]) -> list[FoldProblem]:
        """Return the regression on the residual designs of a comparison in each fold."""
        designs = designs_of(self.nested)[key]
        return self.prepared.get(key, lambda: fold_problems(designs, self.outline.used))


class Prepared:
    """Prepared regressions, kept from block to block up to MOST_KEPT_BYTES."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], list[FoldProblem]] = {}
        self._n_bytes = 0

    def get(
        self, key: tuple[str, ...], prepare: Callable[[], list[FoldProblem]]
    ) -> list[FoldProblem]:
        """Return what was kept, or else what ``prepare`` returns, which is kept if it fits."""
        if key in self._kept:
            return self._kept[key]
        problems = prepare()
        n_bytes = sum(problem.n_bytes for problem in problems)
        if self._n_bytes + n_bytes <= MOST_KEPT_BYTES:
            self._kept[key] = problems
            self._n_bytes += n_bytes
        return problems
