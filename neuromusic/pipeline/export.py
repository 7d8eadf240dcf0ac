"""Export a network's responses on the scanner's time grid, also in formats of other programs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.list_runs import scanner_runs
from neuromusic.design.lists import listed_files, read_lists, unique_clips
from neuromusic.design.presentations import Design
from neuromusic.design.whole_designs import contrast_of, rest_of
from neuromusic.fmri.activations import stage_units
from neuromusic.fmri.clip_inputs import ClipInputs, clip_inputs
from neuromusic.fmri.export.derivative import DIRECTORY, write_activations
from neuromusic.fmri.export.formats import (
    BIDS,
    Regressors,
    Sidecar,
    check_designs,
    check_formats,
    export_bytes,
    need_regressors,
    write_formats,
)
from neuromusic.fmri.export.scanner_run import ScannerRun
from neuromusic.fmri.volumes import check_binning
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.external import External
from neuromusic.training.applied_networks import as_applied
from neuromusic.training.estimates import hearing_s

log = logging.getLogger(__name__)

COMMAND = "export"
SECONDS_PER_CLIP = 0.03  # on one core, besides the network: reading, front end, writing


def export(
    network: AppliedNetwork | External | Path | str,
    lists: str | Path,
    *,
    out: str | Path,
    formats: Sequence[str] = (),
    regressors: Regressors = Regressors(),  # noqa: B008  # immutable
    binning: str = "mean",
    overwrite: bool = False,
) -> Path:
    """Write a network's responses in every volume of every scanner run.

    The directory is a BIDS derivative. For each run, the class probabilities are in a
    ``_stim.tsv.gz``, and what the network answers to each clip is in a ``_beh.tsv``.
    ``activations`` contains a ``.npy`` file (n_volumes, units) for each run and stage,
    ``_volumes.tsv`` with the clip of each volume, and ``activations.mat`` with the same for all
    runs. Volumes of missing clips are NaN.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        The trained network, or its directory.
    lists : str or Path
        Directory of stimulus lists with scanner runs. A network that was trained on precomputed
        features needs no sound files.
    out : str or Path
        Output directory.
    formats : sequence of {"bids", "spm", "fsl", "afni", "nilearn", "hdf5", "npz", "mat"}
        Additional formats, each in a directory of its name; "bids" adds events, and components to
        the signals.
    regressors : Regressors
        Components and stages that become regressors in these formats, their response, and the time
        in a volume that an image stands for.
    binning : {"mean", "lanczos"}
        A volume is the mean of the frames inside it, or their anti-aliased value in its middle.
    overwrite : bool
        Replace an earlier export that was made with other settings or from other inputs.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If the lists have no scanner runs, no clip is available, the network has no such stages, a
        design would have too many regressors for its volumes, the disk is too small, or ``out``
        contains something else.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromusic as nm
    >>> out = nm.export("network", "npz_lists", out="exported", formats=["npz"])
    >>> np.load(out / "activations/task-Training_run-01_stage-A1_activations.npy").shape
    (110, 128)
    """
    lists, out = as_path(lists), as_path(out)
    formats = tuple(dict.fromkeys([formats] if isinstance(formats, str) else formats))
    check_target(out, COMMAND)
    check_formats(formats)
    check_binning(binning)
    table = read_lists(lists)
    design = scanner_runs(table, lists)
    trained = as_applied(network)
    regressors.check([stage.name for stage in trained.network.stages])
    settings, places = arguments(
        network=trained.reference,
        lists=lists,
        formats=formats,
        regressors=regressors if formats else Regressors(),  # without formats they have no effect
        binning=binning,
    )
    settings |= trained.settings()
    inputs = {"network": trained.weights_hash(), **hash_inputs(listed_files(lists))}
    clips = unique_clips(table)
    units = stage_units(trained)
    step = Step(
        COMMAND, out, settings, inputs, places, function="export", overwrite=overwrite,
        work=_work(trained, units, design, formats, regressors),
    )  # fmt: skip
    if step.is_done():
        return out
    fewest = min(each.n_volumes or 0 for each in design.runs.values())
    check_designs(formats, regressors, units, fewest)
    sources = clip_inputs(trained, lists, clips, design.runs.values())
    _check_clips(sources, design, need_regressors(formats, regressors))
    with step.directory() as directory:
        runs, missing = write_activations(trained, design, sources, directory / DIRECTORY, binning)
        note = design.experiment.time.high_pass_note
        sidecar = Sidecar(binning, rest_of(design), contrast_of(design), (note,) if note else ())
        notes = write_formats(directory, runs, trained, formats, regressors, sidecar)
        _check_unchanged(lists, inputs)
    _log_results(out, runs, trained, formats, missing=missing, notes=notes)
    return out


# --- Checks before the work -----------------------------------------------------------------------


def _work(
    trained: AppliedNetwork,
    units: Mapping[str, int],
    design: Design,
    formats: Sequence[str],
    regressors: Regressors,
) -> Work:
    """Return the work of an export."""
    clips = design.table().drop_duplicates("clip")
    n_clips, longest_s = len(clips), float(clips["duration_s"].max())
    tr_s = min(each.tr_s or longest_s for each in design.runs.values())
    n_volumes = sum(each.n_volumes or 0 for each in design.runs.values())
    seconds = hearing_s(trained, n_clips, longest_s)
    return Work(
        f"activations of {sum(units.values()):,} units in {len(units)} stages of "
        f"{trained.name} to {n_clips} clips, on {n_volumes:,} volumes",
        seconds + SECONDS_PER_CLIP * n_clips / available_cores(),
        export_bytes(formats, regressors, units, n_volumes, round(n_clips * longest_s / tr_s)),
    )


def _check_clips(inputs: ClipInputs, design: Design, need_training: bool) -> None:
    """Raise InputError if there are no clips, or none to which components can be fitted."""
    inputs.present(design.clips)
    training = {
        clip
        for each in design.runs.values()
        if each.split != "test"
        for clip in each.trials.loc[~each.trials["is_dummy"], "clip"]
    }
    if need_training and not training & set(inputs.clips):
        raise InputError(
            f"{inputs.source}: contains no clip of the training runs, and components are fitted on "
            f"training runs only; {inputs.remedy}"
        )


def _check_unchanged(lists: Path, inputs: Mapping[str, str]) -> None:
    """Raise InputError if a listed file has changed since it was hashed."""
    for name, digest in hash_inputs(listed_files(lists)).items():
        if inputs.get(name) != digest:
            raise InputError(f"{name}: has changed while it was being read; start again")


def _log_results(
    out: Path,
    runs: Sequence[ScannerRun],
    trained: AppliedNetwork,
    formats: Sequence[str],
    *,
    missing: Sequence[str],
    notes: Sequence[str],
) -> None:
    if missing:
        log.warning(
            "%d clips are missing; their volumes are NaN: %s", len(missing), listed(missing)
        )
    for note in notes:
        log.warning("%s", note)
    log.info(
        "wrote %s: %d runs of %d volumes, stages %s",
        out,
        len(runs),
        max(len(run.volumes) for run in runs),
        ", ".join(stage.name for stage in trained.network.stages),
    )
    for name in formats:
        log.info("wrote %s", out if name == BIDS else out / name)
