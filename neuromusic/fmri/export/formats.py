"""The export formats by name, and the regressors that go into them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError, did_you_mean, need_package
from neuromusic.design.grid import TR_S
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.export import afni, arrays, bids, fsl, nilearn, spm
from neuromusic.fmri.export.conventions import grid_text
from neuromusic.fmri.export.regressors import NComponents, describe_components, with_regressors
from neuromusic.fmri.export.scanner_run import Context, ScannerRun
from neuromusic.fmri.hrf import HRF_NAMES, HrfName
from neuromusic.training.trained import TrainedNetwork

Writer = Callable[[Path, Sequence[ScannerRun], Context], list[str]]
WRITERS: dict[str, Writer] = {
    "bids": bids.write_bids,
    "spm": spm.write_spm,
    "fsl": fsl.write_fsl,
    "afni": afni.write_afni,
    "nilearn": nilearn.write_nilearn,
    "hdf5": arrays.write_hdf5,
    "npz": arrays.write_npz,
    "mat": arrays.write_matlab,
}
NEED_NILEARN = ("spm", "afni", "nilearn")  # for the haemodynamic response
WITH_REGRESSORS = ("bids", "spm", "fsl", "afni", "nilearn")


@dataclass(frozen=True)
class Regressors:
    """Which regressors of a network go into the exported designs.

    Parameters
    ----------
    components : int or "all"
        Number of principal components per stage, or "all" for every unit.
    stages : tuple of str
        Stages of the network; all of them if empty.
    modulator : str
        Regressor that modulates the trials of a genre (SPM's pmod, AFNI's amplitudes):
        "probability" of the true genre, or a component such as "A1_pc01".
    hrf : {"spm", "glover"}
        Haemodynamic response of the regressors that are convolved (formats spm, afni, nilearn).

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.Regressors(components=5, stages=("A1", "belt"))
    Regressors(components=5, stages=('A1', 'belt'), modulator='probability', hrf='spm')
    """

    components: NComponents = 10
    stages: tuple[str, ...] = ()
    modulator: str = PROBABILITY
    hrf: HrfName = "spm"

    def check(self, stages: Sequence[str]) -> None:
        """Raise InputError if a network with these stages cannot have such regressors."""
        for name in self.stages:
            if name not in stages:
                raise InputError(
                    f"regressors.stages: the network has no stage {name!r}; it has "
                    f"{', '.join(stages)}{did_you_mean(name, stages)}"
                )
        if self.components != "all" and self.components < 1:
            raise InputError(
                f"regressors.components={self.components}: expected a number from 1, or 'all'"
            )
        if self.modulator != PROBABILITY and not self._may_include(self.modulator, stages):
            raise InputError(
                f"regressors.modulator={self.modulator!r}: expected probability, or a component of "
                f"an exported stage such as {(self.stages or stages)[0]}_pc01"
            )
        if self.hrf not in HRF_NAMES:
            raise InputError(f"regressors.hrf={self.hrf!r}: expected {' or '.join(HRF_NAMES)}")

    def _may_include(self, regressor: str, stages: Sequence[str]) -> bool:
        stage, _, label = regressor.rpartition("_")
        number = label.removeprefix("pc" if self.components != "all" else "unit")
        if stage not in (self.stages or stages) or not number.isdecimal():
            return False
        return self.components == "all" or (
            label == f"pc{int(number):02d}" and 0 < int(number) <= self.components
        )


def check_formats(formats: Sequence[str]) -> None:
    """Raise InputError for an unknown format, or one that needs a package that is missing."""
    for name in formats:
        if name not in WRITERS:
            raise InputError(
                f"formats: {name!r} is unknown; expected {', '.join(WRITERS)}"
                f"{did_you_mean(name, WRITERS)}"
            )
    if any(name in NEED_NILEARN for name in formats):
        need_package("nilearn", "fmri")


def write_formats(
    directory: Path,
    runs: Sequence[ScannerRun],
    trained: TrainedNetwork,
    formats: Sequence[str],
    regressors: Regressors,
    binning: str,
) -> list[str]:
    """Write each format into a directory of its name; return notes on what is left out and why.

    Raises InputError if the regressors cannot be computed or a design cannot be fitted.
    """
    about: dict[str, Any] = {
        "Network": trained.config.model.name,
        "RepetitionTime": TR_S,
        "Grid": f"Before any delay or response, {grid_text(binning)}",
        "MissingClips": {run.stem: run.missing for run in runs if run.missing},
    }
    if set(formats) & set(WITH_REGRESSORS):
        stages = regressors.stages or tuple(stage.name for stage in trained.network.stages)
        runs, components = with_regressors(runs, stages, regressors.components, trained.classes)
        about |= describe_components(components, regressors.components)
        _check_modulator(runs[0], regressors.modulator)
    context = Context(trained.classes, regressors.hrf, regressors.modulator, about)
    notes: dict[str, None] = {}  # a dictionary keeps the order and each note once
    for name in dict.fromkeys(formats):
        (directory / name).mkdir()
        notes |= dict.fromkeys(WRITERS[name](directory / name, runs, context))
    return list(notes)


def _check_modulator(run: ScannerRun, modulator: str) -> None:
    """Raise InputError if the modulator is not among the regressors of a run."""
    names = [name for frame in run.regressors.values() for name in frame]
    if modulator not in names:
        raise InputError(
            f"regressors.modulator={modulator!r}: the activations of its stage span fewer "
            "dimensions, so it does not exist"
        )
