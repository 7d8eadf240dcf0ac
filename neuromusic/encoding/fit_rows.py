"""Which volumes of a subject an encoding is fitted to, and which it is scored on."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.design import grid
from neuromusic.fmri.scans import repeat_rows, shift_blocks
from neuromusic.stats.shifts import LEAST_CLIPS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UsedRows:
    """Which rows are fitted, and which are scored.

    Parameters
    ----------
    train : bool array (rows,)
        The rows that are fitted.
    runs : array (training rows,)
        The run of each.
    test : array (repeats, clips, volumes)
        Numbers of the rows that are scored.
    clips : list of str
        The test clips.
    clip_runs : array (clips,)
        The test run of each clip, the first one if there are several.
    blocks : list of arrays
        See `shift_blocks`.
    drift_cycles : float or None
        How many cycles of the slowest frequency that was not removed fit into a test run. None if
        a test run does not repeat its clips in a fixed order, or if test runs have different
        lengths: then the noise within a cycle cannot be told from the signal.
    """

    train: NDArray[np.bool_]
    runs: NDArray[np.int64]
    test: NDArray[np.int64]
    clips: list[str]
    clip_runs: NDArray[np.int64]
    blocks: list[NDArray[np.int64]]
    drift_cycles: float | None

    @property
    def in_order(self) -> bool:
        """Whether every test run repeats its clips in a fixed order."""
        return all(len(block) == len(self.test) for block in self.blocks)

    def played(self, repeats: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return each test run as played, averaged over its repeats: (clips, volumes, voxels).

        ``repeats`` (repeats x clips x volumes, voxels) are the rows ``test.ravel()``. If a run does
        not repeat its clips in a fixed order, each presentation is a clip of its own.
        """
        return [repeats[block].mean(0) for block in self.blocks]


def used_rows(
    rows: pd.DataFrame, designs: Iterable[NDArray[np.float32]], high_pass_hz: float
) -> UsedRows:
    """Return which of the rows of `Scans` are used: those without NaN in any of the ``designs``."""
    usable: NDArray[np.bool_] = np.all([np.isfinite(design).all(1) for design in designs], axis=0)
    train = usable & (rows["split"] == "train").to_numpy()
    test, clips = repeat_rows(rows, usable)
    runs = rows["run"].to_numpy()
    blocks = shift_blocks(rows, test)
    drift = _drift_cycles(rows, blocks, len(test), high_pass_hz)
    return UsedRows(train, runs[train], test, clips, runs[test[0, :, 0]], blocks, drift)


def _drift_cycles(
    rows: pd.DataFrame, blocks: Sequence[NDArray[np.int64]], n_repeats: int, high_pass_hz: float
) -> float | None:
    n_volumes = rows[rows["split"] == "test"].groupby("run").size()
    if n_volumes.nunique() != 1 or any(len(block) != n_repeats for block in blocks):
        return None
    return float(high_pass_hz * n_volumes.iat[0] * grid.TR_S)


def warn_if_untestable(used: UsedRows, label: str) -> None:
    """Say which numbers the test runs are too few for."""
    if max(block.shape[1] for block in used.blocks) < LEAST_CLIPS:
        log.warning("%s: no test run has %d clips, so there are no p values", label, LEAST_CLIPS)
    if len(used.test) < 2:
        log.warning(
            "%s: the test clips were not repeated, so the noise is unknown: there is neither "
            "explainable variance nor a ceiling", label,
        )  # fmt: skip
    elif used.drift_cycles is None:
        log.warning(
            "%s: not every test run repeats its clips in a fixed order, so it cannot be tested "
            "which voxels are reliable; the ceilings of areas are given", label,
        )  # fmt: skip
