"""The export formats by name, and the regressors that go into them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError, did_you_mean, listed, need_package
from neuromusic.core.notes import summarised
from neuromusic.core.progress import track, working
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.export import afni, arrays, derivative, fsl, nilearn, spm
from neuromusic.fmri.export.bids import write_bids
from neuromusic.fmri.export.conventions import grid_text, of_runs
from neuromusic.fmri.export.regressors import NComponents, describe_components, with_regressors
from neuromusic.fmri.export.scanner_run import Context, ScannerRun
from neuromusic.fmri.hrf import HRF_NAMES, HrfName
from neuromusic.models.applied import AppliedNetwork

Writer = Callable[[Path, Sequence[ScannerRun], Context], list[str]]
WRITERS: dict[str, Writer] = {
    "spm": spm.write_spm,
    "fsl": fsl.write_fsl,
    "afni": afni.write_afni,
    "nilearn": nilearn.write_nilearn,
    "hdf5": arrays.write_hdf5,
    "npz": arrays.write_npz,
    "mat": arrays.write_matlab,
}
BIDS = "bids"  # adds events and components to the files that every export has
FORMATS = (BIDS, *WRITERS)
NEED_NILEARN = ("spm", "afni", "nilearn")  # for the haemodynamic response
ALL_UNITS = ("hdf5", "npz", "mat")
WITH_REGRESSORS = (BIDS, "spm", "fsl", "afni", "nilearn")
FLOAT32_BYTES = 4
TEXT_BYTES = 16  # of a regressor's value in a volume, in a text file
FEW_BYTES = 400  # per volume: probabilities, tables and sidecars


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
    slice_time_ref : float
        Time that an image stands for, from 0 (the onset of its volume) to 1 (its end), as in
        nilearn's FirstLevelModel (formats spm, fsl, afni, nilearn).
    nilearn : tuple of str
        Regressors that nilearn's designs contain beside genres, dummy and drift: "probability",
        stages, or "all". None by default, because they inflate the variance of the genres.

    Raises
    ------
    InputError
        By `export`, if the network has no such stage or component, if a stage has as many units as
        a run has volumes, or if ``slice_time_ref`` is not between 0 and 1.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.Regressors(components=5, stages=("A1", "belt"))
    Regressors(components=5, stages=('A1', 'belt'), modulator='probability', hrf='spm',
               slice_time_ref=0.0, nilearn=())
    """

    components: NComponents = 10
    stages: tuple[str, ...] = ()
    modulator: str = PROBABILITY
    hrf: HrfName = "spm"
    slice_time_ref: float = 0.0
    nilearn: tuple[str, ...] = ()

    def check(self, stages: Sequence[str]) -> None:
        """Raise InputError if a network with these stages cannot have such regressors."""
        for name in self.stages:
            if name not in stages:
                raise InputError(
                    f"regressors.stages: the network has no stage {name!r}; it has "
                    f"{listed(stages)}{did_you_mean(name, stages)}"
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
        if not 0 <= self.slice_time_ref <= 1:
            raise InputError(
                f"regressors.slice_time_ref={self.slice_time_ref}: expected a number from 0 (the "
                "onset of a volume) to 1 (its end)"
            )
        groups = (nilearn.ALL, PROBABILITY, *(self.stages or stages))
        for name in self.nilearn:
            if name not in groups:
                raise InputError(
                    f"regressors.nilearn: {name!r} is unknown; expected {', '.join(groups)}"
                    f"{did_you_mean(name, groups)}"
                )

    def _may_include(self, regressor: str, stages: Sequence[str]) -> bool:
        stage, _, label = regressor.rpartition("_")
        number = label.removeprefix("pc" if self.components != "all" else "unit")
        if stage not in (self.stages or stages) or not number.isdecimal():
            return False
        return self.components == "all" or (
            label == f"pc{int(number):02d}" and 0 < int(number) <= self.components
        )


@dataclass(frozen=True)
class Sidecar:
    """What the sidecars say about the volumes: how frames and rest fill them, and the contrast."""

    binning: str
    rest: str | None  # None: there is no silence between sounds
    contrast: tuple[str, ...]
    high_pass_note: tuple[str, ...]


def need_regressors(formats: Sequence[str], regressors: Regressors) -> bool:
    """Return whether the formats contain regressors of the network."""
    without = () if regressors.nilearn else ("nilearn",)
    return bool(set(formats) & set(WITH_REGRESSORS) - set(without))


def check_formats(formats: Sequence[str]) -> None:
    """Raise InputError for an unknown format, or one that needs a package that is missing."""
    for name in formats:
        if name not in FORMATS:
            raise InputError(
                f"formats: {name!r} is unknown; expected {', '.join(FORMATS)}"
                f"{did_you_mean(name, FORMATS)}"
            )
    if any(name in NEED_NILEARN for name in formats):
        need_package("nilearn", "fmri")


def check_designs(
    formats: Sequence[str], regressors: Regressors, units: Mapping[str, int], n_volumes: int
) -> None:
    """Raise InputError if a design would have as many columns as a run has volumes.

    ``units`` maps each stage to its number of units, ``n_volumes`` is that of the shortest run.
    """
    stages = regressors.stages or tuple(units)
    if not need_regressors(formats, regressors):
        return
    if regressors.components == "all":
        for stage in stages:
            if units[stage] >= n_volumes:
                raise InputError(
                    f"regressors.components='all': stage {stage} has {units[stage]} units and a "
                    f"run {n_volumes} volumes, which no design can fit; choose a number of "
                    "components, or leave the stage out of regressors.stages (the formats hdf5, "
                    "npz and mat contain all units)"
                )
    elif "nilearn" in formats:
        names = regressors.nilearn
        chosen = [stage for stage in stages if stage in names or nilearn.ALL in names]
        n_columns = sum(min(units[stage], regressors.components) for stage in chosen)
        if n_columns >= n_volumes:
            raise InputError(
                f"formats: the nilearn design of a run would have more than {n_columns} columns "
                f"for {n_volumes} volumes, which no design can fit; choose fewer "
                "regressors.nilearn, regressors.components or regressors.stages"
            )


def export_bytes(
    formats: Sequence[str],
    regressors: Regressors,
    units: Mapping[str, int],
    n_volumes: int,
    n_clip_volumes: int,
) -> int:
    """Return the size of an export, roughly.

    ``n_volumes`` is that of all runs together, ``n_clip_volumes`` that of the responses to all
    clips, which are on the disk while the runs are written.
    """
    activations = FLOAT32_BYTES * sum(units.values()) * n_volumes
    n_copies = 2 + sum(name in ALL_UNITS for name in formats)  # .npy and activations.mat
    scratch = FLOAT32_BYTES * sum(units.values()) * n_clip_volumes
    chosen = [units[stage] for stage in regressors.stages or units]
    most = max(chosen) if regressors.components == "all" else regressors.components
    values = n_volumes * sum(min(each, most) for each in chosen)
    texts = TEXT_BYTES * values * sum(name in WITH_REGRESSORS for name in formats)
    return n_copies * activations + max(scratch, texts) + FEW_BYTES * n_volumes


def write_formats(
    directory: Path,
    runs: Sequence[ScannerRun],
    trained: AppliedNetwork,
    formats: Sequence[str],
    regressors: Regressors,
    sidecar: Sidecar,
) -> list[str]:
    """Write the files of BIDS, and each format into a directory of its name.

    Returns notes on what is left out and why. Raises InputError if the regressors cannot be
    computed or a design cannot be fitted.
    """
    about: dict[str, Any] = {
        "Network": trained.name,
        "RepetitionTime": of_runs(runs, lambda run: run.tr_s),
        "Grid": f"Before any delay or response, {grid_text(sidecar.binning, sidecar.rest)}",
        "MissingClips": {run.stem: run.missing for run in runs if run.missing},
    }
    plain = Context(
        trained.classes,
        regressors.hrf,
        regressors.slice_time_ref,
        regressors.modulator,
        regressors.nilearn,
        sidecar.contrast,
        sidecar.high_pass_note,
        about,
    )
    fitted, context = runs, plain
    if need_regressors(formats, regressors):
        stages = regressors.stages or tuple(stage.name for stage in trained.network.stages)
        with working("export: computing regressors"):
            fitted, components = with_regressors(
                runs, stages, regressors.components, trained.classes
            )
        context = replace(
            plain, about=about | describe_components(components, regressors.components, runs)
        )
        if regressors.modulator != PROBABILITY:
            _check_modulator(fitted[0], regressors.modulator)
    others = [name for name in formats if name != BIDS]
    with_events = BIDS in formats
    write_bids(
        directory,
        fitted if with_events else runs,
        context if with_events else plain,
        with_events=with_events,
        ignored=[derivative.DIRECTORY, *others],
    )
    notes = dict.fromkeys(_unknown_classes(runs, trained.classes))  # each note once, in order
    for name in track(others, "export: writing formats", len(others)):
        (directory / name).mkdir()
        notes |= dict.fromkeys(WRITERS[name](directory / name, fitted, context))
    return summarised(list(notes))


def _unknown_classes(runs: Sequence[ScannerRun], classes: Sequence[str]) -> list[str]:
    """Return a note on classes that the network does not know."""
    played = {name for run in runs for name in run.trials["genre"].dropna()} - set(classes)
    if not played:
        return []
    return [
        f"the network does not know the classes {listed(sorted(played))}; their genre_probability "
        "is n/a"
    ]


def _check_modulator(run: ScannerRun, modulator: str) -> None:
    """Raise InputError if the modulator is not among the regressors of a run."""
    names = [name for frame in run.regressors.values() for name in frame]
    if modulator not in names:
        raise InputError(
            f"regressors.modulator={modulator!r}: the activations of its stage span fewer "
            "dimensions, so it does not exist"
        )
