"""Export a network's responses on the scanner's time grid, also in formats of other programs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.lists import listed_files, read_lists
from neuromusic.fmri.export.derivative import write_derivative
from neuromusic.fmri.export.formats import Regressors, check_formats, write_formats
from neuromusic.fmri.volumes import check_binning
from neuromusic.training.trained import WEIGHTS, TrainedNetwork, as_network

log = logging.getLogger(__name__)

COMMAND = "export"


def export(
    network: TrainedNetwork | Path | str,
    lists: str | Path,
    *,
    out: str | Path,
    formats: Sequence[str] = (),
    regressors: Regressors = Regressors(),  # noqa: B008  # immutable
    binning: str = "mean",
) -> Path:
    """Write a network's responses in every volume of every scanner run.

    For each run: the class probabilities as a BIDS ``_stim.tsv.gz``, the activations of each stage
    as a ``.npy`` file (n_volumes, units), and ``_volumes.tsv`` with the clip of each volume;
    ``activations.mat`` contains the same for all runs. Volumes of missing clips are NaN.

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
        Additional formats, each in a directory of its name.
    regressors : Regressors
        Components and stages that become regressors in these formats, and their response.
    binning : {"mean", "lanczos"}
        A volume is the mean of the frames inside it, or their anti-aliased value in its middle.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If the lists have no scanner runs, no clip is available, the network has no such stages, a
        design would have too many regressors for its volumes, or ``out`` contains something else.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromusic as nm
    >>> out = nm.export("network", "npz_lists", out="exported", formats=["npz"])
    >>> np.load(out / "task-Training_run-01_stage-A1_activations.npy").shape
    (110, 128)
    """
    trained, lists, out = as_network(network), Path(lists), Path(out)
    formats = tuple(dict.fromkeys([formats] if isinstance(formats, str) else formats))
    table = read_lists(lists)
    check_target(out, COMMAND)
    check_formats(formats)
    check_binning(binning)
    stages = [stage.name for stage in trained.network.stages]
    regressors.check(stages)
    settings, places = arguments(
        network=trained.directory,
        lists=lists,
        formats=formats,
        regressors=regressors if formats else Regressors(),  # without formats they have no effect
        binning=binning,
    )
    inputs = {"network": sha256(trained.directory / WEIGHTS), **hash_inputs(listed_files(lists))}
    step = Step(COMMAND, out, settings, inputs, places, function="export")
    if step.is_done():
        return out
    with step.directory() as directory:
        runs, missing = write_derivative(trained, table, lists, directory, binning)
        notes = write_formats(directory, runs, trained, formats, regressors, binning)
        _check_unchanged(lists, inputs)
    if missing:
        log.warning(
            "%d clips are missing; their volumes are NaN: %s", len(missing), ", ".join(missing)
        )
    for note in notes:
        log.warning("%s", note)
    n_volumes = max(len(run.volumes) for run in runs)
    log.info(
        "wrote %s: %d runs of %d volumes, stages %s", out, len(runs), n_volumes, ", ".join(stages)
    )
    for name in formats:
        log.info("wrote %s", out / name)
    return out


def _check_unchanged(lists: Path, inputs: Mapping[str, str]) -> None:
    """Raise InputError if a listed file has changed since it was hashed."""
    for name, digest in hash_inputs(listed_files(lists)).items():
        if inputs.get(name) != digest:
            raise InputError(f"{name}: has changed while it was being read; start again")
