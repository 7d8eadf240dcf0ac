"""Simulate a BIDS dataset whose voxels respond to the stages of a network, with its truth."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError, counted, need_package
from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.records import hash_inputs
from neuromusic.design.dataset import Dataset, as_dataset
from neuromusic.design.orders import EXPERIMENT
from neuromusic.design.presentations import load_design
from neuromusic.design.timing import all_placements
from neuromusic.design.whole_designs import with_volumes
from neuromusic.encoding.inputs import check_trained
from neuromusic.features.prepared import PRESENTATIONS
from neuromusic.fmri.clip_inputs import inputs_from_files, inputs_from_prepared
from neuromusic.fmri.simulation.dataset import write_simulation
from neuromusic.fmri.simulation.sessions import (
    Session,
    sessions_from_events,
    sessions_from_prepared,
)
from neuromusic.fmri.simulation.voxels import (
    Planted,
    check_clips,
    check_planted,
    choose_stages,
    training_rows,
)
from neuromusic.pipeline.datasets import dataset_arguments, find_sounds, with_durations

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
    bids: Dataset | str | Path | None = None,
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
        The trained network, or its directory. Its prepared set must contain all clips, unless
        ``bids`` names the sounds.
    out : str or Path
        Output directory.
    bids : Dataset, str or Path, optional
        BIDS dataset whose events are used, and a `Dataset` for the description of its experiment
        and for its sounds; by default the order in the network's prepared set.
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
    dataset = as_dataset(bids) if bids is not None else None
    check_target(out, COMMAND)
    check_planted(planted)
    check_trained(network)
    if subjects is not None and subjects < 1:
        raise InputError(f"subjects={subjects}: expected a number from 1")
    sounds: dict[str, Path] = {}
    sessions: list[Session] = []
    experiment = EXPERIMENT
    if dataset is not None:
        experiment = dataset.described()
        sessions, sounds = _sessions_of(dataset, subjects)
    from neuromusic.training.trained import as_network

    trained = as_network(network)
    sessions = sessions or sessions_from_prepared(trained.prepared, subjects or 1)
    stages = choose_stages(trained, planted.stages)
    placed = all_placements((each.trials, each.tr_s) for each in sessions)
    clip_inputs = inputs_from_prepared(trained)
    if dataset is not None and sounds:
        runs = [each.design for each in sessions]
        clip_inputs = inputs_from_files(trained, sounds, runs, dataset.directory)
    check_clips(clip_inputs, placed)
    pairs = [(clip, placement) for clip, each in placed.items() for placement in each]
    for subject in dict.fromkeys(each.id.subject for each in sessions):
        training_rows([each for each in sessions if each.id.subject == subject], pairs)
    events = {each.design.events.path for each in sessions if each.design.events}
    settings, places = dataset_arguments(
        dataset, network=trained.directory, subjects=subjects, planted=planted, seed=seed
    )
    inputs = {"network": trained.weights_hash()}
    inputs |= hash_inputs([*(events or [trained.prepared / PRESENTATIONS]), *sounds.values()])
    step = Step(
        COMMAND, out, settings, inputs, places, function="simulate", overwrite=overwrite,
        work=_work(trained, sessions, planted),
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory() as directory:
        write_simulation(trained, clip_inputs, sessions, experiment, planted, seed, directory)
    log.info(
        "wrote %s: %s, %d runs of %d volumes; %d voxels for each of %s, %d of noise",
        out,
        counted(len({session.id.subject for session in sessions}), "subject"),
        len(sessions),
        sessions[0].n_volumes,
        planted.voxels,
        ", ".join(stages),
        planted.noise_voxels,
    )
    return out


def _sessions_of(dataset: Dataset, subjects: int | None) -> tuple[list[Session], dict[str, Path]]:
    """Return the runs of a dataset, and clip -> file if it names its sounds."""
    design = load_design(dataset.index(), dataset.described())
    sounds = {} if dataset.sounds is None else find_sounds(design, dataset.sounds, False)
    design = with_volumes(with_durations(design, sounds))
    return sessions_from_events(design, subjects, dataset.directory), sounds


def _work(trained: "TrainedNetwork", sessions: Sequence[Session], planted: Planted) -> Work:
    """Return the work of a simulation."""
    from neuromusic.training.estimates import hearing_s

    n_stages = len(choose_stages(trained, planted.stages))
    n_voxels = n_stages * planted.voxels + planted.noise_voxels
    n_values = n_voxels * sum(session.n_volumes for session in sessions)
    played = pd.concat([session.trials for session in sessions]).drop_duplicates("clip")
    n_clips, longest_s = len(played), float(played["duration_s"].max())
    seconds = hearing_s(trained, n_clips, longest_s)
    seconds += SECONDS_PER_CLIP * n_clips / available_cores() + SECONDS_PER_VALUE * n_values
    return Work(
        f"activations of {n_clips} clips; {len(sessions)} runs with {n_voxels:,} voxels",
        seconds,
        round(BYTES_PER_VALUE * n_values),
    )
