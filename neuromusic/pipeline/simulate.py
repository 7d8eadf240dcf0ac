"""Simulate a BIDS dataset whose voxels respond to the stages of a network, with its truth."""

import logging
from pathlib import Path

from neuromusic.core.errors import InputError, need_package
from neuromusic.core.files import sha256
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.events import find_events
from neuromusic.features.prepared import PRESENTATIONS
from neuromusic.fmri.simulation.dataset import write_simulation
from neuromusic.fmri.simulation.sessions import (
    Session,
    sessions_from_events,
    sessions_from_prepared,
)
from neuromusic.fmri.simulation.voxels import Planted, choose_stages
from neuromusic.training.trained import WEIGHTS, TrainedNetwork, as_network

log = logging.getLogger(__name__)

COMMAND = "fmri simulate"


def simulate(
    network: TrainedNetwork | Path | str,
    *,
    out: str | Path,
    bids: str | Path | None = None,
    subjects: int | None = None,
    planted: Planted = Planted(),  # noqa: B008  # immutable
    seed: int = 0,
) -> Path:
    """Simulate a BIDS dataset whose voxels respond to the stages of a network.

    Each voxel has random weights over the units of one stage, a haemodynamic response, noise and
    drift. ``derivatives/truth`` has the stage, the explainable variance and the noise ceiling of
    every voxel.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        The trained network, or its directory. Its prepared set must contain all clips.
    out : str or Path
        Output directory.
    bids : str or Path, optional
        BIDS dataset whose events are used; by default the order in the network's prepared set.
    subjects : int, optional
        Number of subjects; by default 1, or all subjects of ``bids``.
    planted : Planted
        What the voxels contain.
    seed : int
        Seed of the weights, ceilings, noise and drift.

    Returns
    -------
    Path
        The directory, a valid BIDS dataset.

    Raises
    ------
    InputError
        If there are no scanner runs, clips are missing, ``bids`` has fewer subjects, the network
        has no such stages, or ``out`` contains something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> planted = nm.Planted(voxels=4, noise_voxels=4)
    >>> out = nm.simulate("network", bids="bids", out="simulated", planted=planted)
    >>> sorted(path.name for path in (out / "derivatives/truth").iterdir())
    ['areas.nii.gz', 'areas.tsv', 'dataset_description.json', 'truth.tsv']
    """
    need_package("nilearn", "fmri")
    trained, out = as_network(network), Path(out)
    bids = Path(bids) if bids is not None else None
    check_target(out, COMMAND)
    sessions, files = _sessions(trained, bids, subjects)
    settings, places = arguments(
        network=trained.directory, bids=bids, subjects=subjects, planted=planted, seed=seed
    )
    inputs = {"network": sha256(trained.directory / WEIGHTS), **hash_inputs(files)}
    step = Step(COMMAND, out, settings, inputs, places, function="simulate")
    if step.is_done():
        return out
    with step.directory() as directory:
        write_simulation(trained, sessions, planted, seed, directory)
    log.info(
        "wrote %s: %d subjects, %d runs of %d volumes; %d voxels for each of %s, %d of noise",
        out,
        len({session.subject for session in sessions}),
        len(sessions),
        sessions[0].n_volumes,
        planted.voxels,
        ", ".join(choose_stages(trained, planted.stages)),
        planted.noise_voxels,
    )
    return out


def _sessions(
    trained: TrainedNetwork, bids: Path | None, subjects: int | None
) -> tuple[list[Session], list[Path]]:
    """Return the sessions to simulate, and the files that define them."""
    if subjects is not None and subjects < 1:
        raise InputError(f"subjects={subjects}: expected a number from 1")
    if bids is None:
        sessions = sessions_from_prepared(trained.prepared, subjects or 1)
        return sessions, [trained.prepared / PRESENTATIONS]
    return sessions_from_events(bids, subjects), [file.path for file in find_events(bids)]
