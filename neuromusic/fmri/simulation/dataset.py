"""Writer of a simulated BIDS dataset: images, events, and the truth as a derivative."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json, write_text
from neuromusic.core.progress import track
from neuromusic.core.version import __version__
from neuromusic.design.dataset import DESCRIPTION as EXPERIMENT_FILE
from neuromusic.design.experiment import Experiment
from neuromusic.design.orders import EXPERIMENT
from neuromusic.design.timing import all_placements
from neuromusic.fmri.activations import clip_responses
from neuromusic.fmri.clip_inputs import ClipInputs
from neuromusic.fmri.simulation.confounds import write_confounds
from neuromusic.fmri.simulation.images import ImageForm, voxel_grid, write_bold, write_image
from neuromusic.fmri.simulation.sessions import EVENT_COLUMNS, Session, folder_of, repeats_of
from neuromusic.fmri.simulation.voxels import (
    CONFOUNDS,
    Planted,
    RunVoxels,
    ceiling_r,
    check_responses,
    choose_stages,
    planted_ev,
    run_images,
    session_rng,
)

if TYPE_CHECKING:  # inputs are checked without torch, which takes seconds to import
    from neuromusic.training.trained import TrainedNetwork

TRUTH = "derivatives/truth"
DERIVED = ("*_desc-*",)
IGNORED_IMAGES = {
    "gifti": ("*.func.gii", "*_bold.json"),
    "cifti": ("*.dtseries.nii", "*_bold.json"),
}
DESCRIPTION = {"Name": "Simulated responses to music", "BIDSVersion": "1.10.0"}
GENERATED_BY = {"GeneratedBy": [{"Name": "neuromusic", "Version": __version__}]}


def write_simulation(
    trained: "TrainedNetwork",
    inputs: ClipInputs,
    sessions: Sequence[Session],
    experiment: Experiment,
    planted: Planted,
    seed: int,
    directory: Path,
) -> None:
    """Write the dataset into a directory, with one run in memory at a time.

    Raises InputError if the network has no such stages, a clip is too short, the sessions include
    no training run, or a stage responds identically to every clip.
    """
    stages = choose_stages(trained, planted.stages)
    responses = clip_responses(
        trained,
        all_placements((session.trials, session.tr_s) for session in sessions),
        inputs=inputs,
        rest=experiment.time.rest,
        label="trained network: computing activations",
    )
    check_responses(trained, responses)
    about = (
        f"Simulated by neuromusic from the stages of {trained.name}, seed {seed}. No "
        f"person was scanned. {TRUTH} describes what each voxel contains.{_motion_text(planted)}"
    )
    _write_descriptions(directory, sessions, experiment, planted, about)
    images = run_images(responses, sessions, stages, planted, seed)
    for session, run in track(images, "writing images", len(sessions)):
        _write_session(directory, session, run, planted, seed)
    _write_truth(directory / TRUTH, sessions, stages, planted, seed)


# --- Images ---------------------------------------------------------------------------------------


def _write_session(
    directory: Path, session: Session, run: RunVoxels, planted: Planted, seed: int
) -> None:
    """Write the events, the image and, if there is motion, the confounds of a run."""
    folder = directory / folder_of(session.id) / "func"
    folder.mkdir(parents=True, exist_ok=True)
    stem, sidecar = session.id.stem, {"TaskName": session.id.task, "RepetitionTime": session.tr_s}
    (folder / f"{stem}_events.tsv").write_bytes(session.events)
    write_bold(planted.images, folder, stem, run.image, session.tr_s)
    write_json(folder / f"{stem}_bold.json", sidecar)
    if run.motion is None:
        return
    rng = session_rng(seed, CONFOUNDS, run.subject, session)
    write_confounds(folder, stem, run.motion, run.image, session.tr_s, rng)
    if planted.images == "nifti":
        inside = np.ones(run.image.shape[1], np.int16)
        write_image(folder / f"{stem}_desc-brain_mask.nii.gz", inside)


# --- Descriptions ---------------------------------------------------------------------------------


def _motion_text(planted: Planted) -> str:
    if not planted.motion:
        return ""
    return (
        f" Head motion is in every voxel, with {planted.motion:g} times the standard deviation of "
        "the signal, and the first two volumes are brighter; the other confounds are in none."
    )


def _write_descriptions(
    directory: Path, sessions: Sequence[Session], experiment: Experiment, planted: Planted,
    about: str,
) -> None:  # fmt: skip
    """Write the files at the top of the dataset."""
    description: dict[str, Any] = {
        **DESCRIPTION,
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["neuromusic"],
        "HowToAcknowledge": about,
        **GENERATED_BY,
    }
    write_json(directory / "dataset_description.json", description)
    if experiment == EXPERIMENT:
        columns = {name: {"Description": text} for name, text in EVENT_COLUMNS.items()}
        for task in experiment.files.tasks:
            if any(session.id.task == task for session in sessions):
                write_json(directory / f"task-{task}_events.json", columns)
    else:
        write_text(directory / EXPERIMENT_FILE, experiment.to_toml())
    write_text(directory / "README", f"{about}\n")
    ignored = ["provenance.json", *([] if experiment == EXPERIMENT else [EXPERIMENT_FILE])]
    ignored += DERIVED if planted.motion else ()  # raw BIDS has no place for these
    ignored += IGNORED_IMAGES.get(planted.images, ())
    write_text(directory / ".bidsignore", "".join(f"{name}\n" for name in ignored))
    subjects = "".join(f"sub-{name}\n" for name in sorted({s.id.subject for s in sessions}))
    write_text(directory / "participants.tsv", f"participant_id\n{subjects}")


# --- Truth ----------------------------------------------------------------------------------------


def _write_truth(
    directory: Path, sessions: Sequence[Session], stages: list[str], planted: Planted, seed: int
) -> None:
    """Write the area of each voxel as an image, and its explainable variance and ceiling."""
    directory.mkdir(parents=True)
    description = {**DESCRIPTION, "DatasetType": "derivative", **GENERATED_BY}
    write_json(directory / "dataset_description.json", description)
    counts = dict.fromkeys(stages, planted.voxels)
    if planted.noise_voxels:
        counts["noise"] = planted.noise_voxels
    label = np.repeat(np.arange(len(counts)), list(counts.values()))
    if planted.images == "nifti":
        write_image(directory / "areas.nii.gz", (label + 1).astype(np.int16))
    else:
        np.save(directory / "areas.npy", (label + 1).astype(np.int16))
    areas = pd.DataFrame({"index": range(1, len(counts) + 1), "name": list(counts)})
    areas.to_csv(directory / "areas.tsv", sep="\t", index=False, lineterminator="\n")
    repeats = repeats_of(sessions)
    tables = []
    for number, subject in enumerate(sorted({session.id.subject for session in sessions})):
        ev = planted_ev(planted, len(stages), seed, number)
        ev[label == len(stages)] = 0
        table = _voxel_table(f"sub-{subject}", label, list(counts), planted.images)
        tables.append(table.assign(ev=ev, ceiling_r=ceiling_r(ev, repeats)))
    truth = pd.concat(tables)
    truth.to_csv(
        directory / "truth.tsv", sep="\t", index=False, float_format="%.6f", lineterminator="\n"
    )


def _voxel_table(
    subject: str, label: NDArray[np.int64], names: list[str], images: ImageForm
) -> pd.DataFrame:
    """Return subject, voxel, its place i, j, k on the grid, and area; one row per voxel.

    On surfaces and in grayordinates, ``voxel`` counts vertices, the left hemisphere first, or
    grayordinates, and there is no grid.
    """
    table = pd.DataFrame({"subject": subject, "voxel": np.arange(len(label))})
    if images == "nifti":
        shape, _ = voxel_grid(len(label))
        i, j, k = np.unravel_index(np.arange(len(label)), shape)
        table = table.assign(i=i, j=j, k=k)
    return table.assign(area=np.array(names)[label])
