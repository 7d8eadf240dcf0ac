"""The formats in which responses leave for other programs, by name, and what can be chosen."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError, did_you_mean, need_package
from neuromusic.fmri.export import afni, arrays, bids, fsl, nilearn, spm
from neuromusic.fmri.export.scanner_run import PROBABILITY, Context, HowMany, ScannerRun
from neuromusic.fmri.hrf import Name

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
CONVOLVED = ("spm", "afni", "nilearn")  # need nilearn for the response
WITH_REGRESSORS = ("bids", "spm", "fsl", "afni", "nilearn")


@dataclass(frozen=True)
class Wanted:
    """Which formats, and what of each stage goes into them."""

    formats: tuple[str, ...] = ()
    components: HowMany = 10
    stages: tuple[str, ...] = ()  # none named: all
    modulator: str = PROBABILITY
    hrf: Name = "spm"
    binning: str = "mean"  # how frames become volumes, of timing.BINNINGS

    def settings(self) -> dict[str, Any]:
        """Return the settings for the record."""
        return asdict(self) if self.formats else {"binning": self.binning}

    def check(self, stages: Sequence[str]) -> None:
        """Raise InputError for what a network with these stages cannot give, before it listens."""
        unknown = [name for name in self.formats if name not in WRITERS]
        if unknown:
            raise InputError(
                f"--format {unknown[0]}: is unknown; expected {', '.join(WRITERS)}"
                f"{did_you_mean(unknown[0], list(WRITERS))}"
            )
        for name in self.stages:
            if name not in stages:
                raise InputError(
                    f"--stages {name}: the network has no such stage; it has {', '.join(stages)}"
                    f"{did_you_mean(name, list(stages))}"
                )
        if self.modulator != PROBABILITY and not self._may_have(self.modulator, stages):
            raise InputError(
                f"--modulator {self.modulator}: expected probability, or a component of an "
                f"exported stage such as {(self.stages or stages)[0]}_pc01"
            )
        if any(name in CONVOLVED for name in self.formats):
            need_package("nilearn", "fmri")

    def _may_have(self, regressor: str, stages: Sequence[str]) -> bool:
        stage, _, label = regressor.rpartition("_")
        number = label.removeprefix("pc" if self.components != "all" else "unit")
        if stage not in (self.stages or stages) or not number.isdecimal():
            return False
        return self.components == "all" or (
            label == f"pc{int(number):02d}" and 0 < int(number) <= self.components
        )


def write_formats(
    directory: Path, runs: Sequence[ScannerRun], context: Context, formats: Sequence[str]
) -> list[str]:
    """Write each format into a directory of its name; return what is left out and why, once each.

    Raises InputError for a modulator that none of the runs has.
    """
    named = [name for frame in runs[0].regressors.values() for name in frame]
    if named and context.modulator not in named:
        raise InputError(
            f"--modulator {context.modulator}: the activations of its stage do not span it"
        )
    notes: dict[str, None] = {}
    for name in dict.fromkeys(formats):
        (directory / name).mkdir()
        for line in WRITERS[name](directory / name, runs, context):
            notes[line] = None
    return list(notes)
