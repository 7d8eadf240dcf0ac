"""Simulate a BIDS dataset whose voxels respond to the stages of a network, with its truth."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuromusic.core.errors import InputError, need_package
from neuromusic.core.files import as_path, sha256
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.parallel import available_cores
from neuromusic.core.plan import Work
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.events import find_events
from neuromusic.design.grid import CLIP_S
from neuromusic.encoding.inputs import check_trained
from neuromusic.features.prepared import PRESENTATIONS
from neuromusic.fmri.activations import inputs_from_prepared
from neuromusic.fmri.simulation.dataset import write_simulation
from neuromusic.fmri.simulation.sessions import (
    Session,
    sessions_from_events,
    sessions_from_prepared,
)
from neuromusic.fmri.simulation.voxels import Planted, check_clips, choose_stages, training_rows

if TYPE_CHECKING:  # inputs are checked without torch, which takes seconds to import
    from neuromusic.training.trained import TrainedNetwork

log = logging.getLogger(__name__)

COMMAND = "fmri simulate"
SECONDS_PER_CLIP = 0.03  # on one core, besides the network
SECONDS_PER_VALUE = 3e-7  # of one voxel in one volume
BYTES_PER_VALUE = 2.0  # compressed


def simulate(
    network: "TrainedNetwork | Path | str",
    *,
    out: str | Path,
    bids: str | Path | None = None,
    subjects: int | None = None,
    planted: Planted = Planted(),  # noqa: B008  # immutable
    seed: int = 0,
    overwrite: bool = False,
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
    overwrite : bool
        Replace an earlier simulation that was made with other settings or from other inputs.

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
    out = as_path(out)
    bids = as_path(bids) if bids is not None else None
    check_target(out, COMMAND)
    check_trained(network)
    if subjects is not None and subjects < 1:
        raise InputError(f"subjects={subjects}: expected a number from 1")
    sessions = sessions_from_events(bids, subjects) if bids is not None else []
    from neuromusic.training.trained import WEIGHTS, as_network

    trained = as_network(network)
    sessions = sessions or sessions_from_prepared(trained.prepared, subjects or 1)
    stages = choose_stages(trained, planted.stages)
    clips = list(dict.fromkeys(clip for each in sessions for clip in each.trials["clip"]))
    check_clips(inputs_from_prepared(trained), clips)
    for subject in dict.fromkeys(each.subject for each in sessions):
        training_rows([each for each in sessions if each.subject == subject], clips)
    files = [file.path for file in find_events(bids)] if bids else []
    settings, places = arguments(
        network=trained.directory, bids=bids, subjects=subjects, planted=planted, seed=seed
    )
    inputs = {"network": sha256(trained.directory / WEIGHTS)}
    inputs |= hash_inputs(files or [trained.prepared / PRESENTATIONS])
    step = Step(
        COMMAND, out, settings, inputs, places, function="simulate", overwrite=overwrite,
        work=_work(trained, sessions, len(clips), planted),
    )  # fmt: skip
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
        ", ".join(stages),
        planted.noise_voxels,
    )
    return out


def _work(
    trained: "TrainedNetwork", sessions: Sequence[Session], n_clips: int, planted: Planted
) -> Work:
    """Return the work of a simulation."""
    from neuromusic.training.estimates import scoring_s

    n_stages = len(choose_stages(trained, planted.stages))
    n_voxels = n_stages * planted.voxels + planted.noise_voxels
    n_values = n_voxels * sum(session.n_volumes for session in sessions)
    network = trained.network
    seconds = scoring_s(network, n_clips, round(CLIP_S / network.spec.frame_s), trained.hop_frames)
    seconds += SECONDS_PER_CLIP * n_clips / available_cores() + SECONDS_PER_VALUE * n_values
    return Work(
        f"activations of {n_clips} clips; {len(sessions)} runs with {n_voxels:,} voxels",
        seconds,
        round(BYTES_PER_VALUE * n_values),
    )
