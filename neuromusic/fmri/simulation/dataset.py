"""Writer of a simulated BIDS dataset: images, events, and the truth as a derivative."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json, write_text
from neuromusic.core.progress import track
from neuromusic.core.version import __version__
from neuromusic.design import grid
from neuromusic.design.orders import TASK
from neuromusic.fmri.activations import clip_responses
from neuromusic.fmri.simulation.sessions import EVENT_COLUMNS, Session
from neuromusic.fmri.simulation.voxels import (
    Planted,
    ceiling_r,
    check_responses,
    choose_stages,
    planted_ev,
    run_images,
)

if TYPE_CHECKING:  # inputs are checked without torch, which takes seconds to import
    from neuromusic.training.trained import TrainedNetwork

VOXEL_MM = 2.0
CENTRE_MM = (-48.0, -22.0, 8.0)  # of the grid, in MNI space: left Heschl's gyrus
TRUTH = "derivatives/truth"
DESCRIPTION = {"Name": "Simulated responses to music", "BIDSVersion": "1.10.0"}
GENERATED_BY = {"GeneratedBy": [{"Name": "neuromusic", "Version": __version__}]}


def write_simulation(
    trained: "TrainedNetwork",
    sessions: Sequence[Session],
    planted: Planted,
    seed: int,
    directory: Path,
) -> None:
    """Write the dataset into a directory, with one run in memory at a time.

    Raises InputError if the network has no such stages, a clip is too short, the sessions include
    no training run, or a stage responds identically to every clip.
    """
    stages = choose_stages(trained, planted.stages)
    clips = pd.concat([session.trials["clip"] for session in sessions]).unique()
    responses = clip_responses(trained, clips, label="trained network: computing activations")
    check_responses(trained, responses)
    _write_descriptions(directory, sessions, trained.config.model.name, seed)
    images = run_images(responses, sessions, stages, planted, seed)
    for session, image in track(images, "writing images", len(sessions)):
        _write_session(directory, session, image)
    _write_truth(directory / TRUTH, sessions, stages, planted, seed)


# --- Images ---------------------------------------------------------------------------------------


def voxel_grid(n_voxels: int) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the shape of the smallest grid for ``n_voxels``, and its affine in MNI space."""
    side = next(n for n in range(1, n_voxels + 1) if n**3 >= n_voxels)
    shape = (-(-n_voxels // side**2), side, side)
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = np.array(CENTRE_MM) - VOXEL_MM * (np.array(shape) - 1) / 2
    return shape, affine


def write_image(path: Path, voxels: NDArray[np.int16]) -> None:
    """Write (n_voxels,) or (n_volumes, n_voxels) as NIfTI-1, the voxels in C order on their grid.

    The rest of the grid is 0. The same voxels give the same bytes.
    """
    import nibabel

    shape, affine = voxel_grid(voxels.shape[-1])
    flat = np.zeros((int(np.prod(shape)), *voxels.shape[:-1]), np.int16)
    flat[: voxels.shape[-1]] = voxels.T
    image = nibabel.Nifti1Image(flat.reshape(*shape, *voxels.shape[:-1]), affine)
    image.set_sform(affine, code=4)  # MNI
    image.set_qform(affine, code=4)
    image.header.set_xyzt_units("mm", "sec")
    if voxels.ndim == 2:
        image.header.set_zooms((VOXEL_MM, VOXEL_MM, VOXEL_MM, grid.TR_S))
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as file,
    ):
        file.write(image.to_bytes())


def _write_session(directory: Path, session: Session, image: NDArray[np.int16]) -> None:
    task = TASK[session.split]
    folder = directory / f"sub-{session.subject}" / "func"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{session.subject}_task-{task}_run-{session.run:02d}"
    (folder / f"{stem}_events.tsv").write_bytes(session.events)
    write_image(folder / f"{stem}_bold.nii.gz", image)
    write_json(folder / f"{stem}_bold.json", {"TaskName": task, "RepetitionTime": grid.TR_S})


# --- Descriptions ---------------------------------------------------------------------------------


def _write_descriptions(
    directory: Path, sessions: Sequence[Session], model: str, seed: int
) -> None:
    """Write the files at the top of the dataset."""
    about = (
        f"Simulated by neuromusic from the stages of {model}, seed {seed}. No person was scanned. "
        f"{TRUTH} describes what each voxel contains."
    )
    description: dict[str, Any] = {
        **DESCRIPTION,
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["neuromusic"],
        "HowToAcknowledge": about,
        **GENERATED_BY,
    }
    write_json(directory / "dataset_description.json", description)
    columns = {name: {"Description": text} for name, text in EVENT_COLUMNS.items()}
    for split, task in TASK.items():
        if any(session.split == split for session in sessions):
            write_json(directory / f"task-{task}_events.json", columns)
    write_text(directory / "README", f"{about}\n")
    write_text(directory / ".bidsignore", "provenance.json\n")
    subjects = "".join(f"sub-{name}\n" for name in sorted({s.subject for s in sessions}))
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
    write_image(directory / "areas.nii.gz", (label + 1).astype(np.int16))
    areas = pd.DataFrame({"index": range(1, len(counts) + 1), "name": list(counts)})
    areas.to_csv(directory / "areas.tsv", sep="\t", index=False)
    repeats = max((int(s.trials["repeat"].max()) for s in sessions if s.split == "test"), default=1)
    tables = []
    for number, subject in enumerate(sorted({session.subject for session in sessions})):
        ev = planted_ev(planted, len(stages), seed, number)
        ev[label == len(stages)] = 0
        table = _voxel_table(f"sub-{subject}", label, list(counts))
        tables.append(table.assign(ev=ev, ceiling_r=ceiling_r(ev, repeats)))
    truth = pd.concat(tables)
    truth.to_csv(directory / "truth.tsv", sep="\t", index=False, float_format="%.6f")


def _voxel_table(subject: str, label: NDArray[np.int64], names: list[str]) -> pd.DataFrame:
    """Return subject, voxel, its place i, j, k on the grid, and area; one row per voxel."""
    shape, _ = voxel_grid(len(label))
    i, j, k = np.unravel_index(np.arange(len(label)), shape)
    table = pd.DataFrame({"subject": subject, "voxel": np.arange(len(label))})
    return table.assign(i=i, j=j, k=k, area=np.array(names)[label])
