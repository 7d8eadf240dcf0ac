"""TODO: docstring."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import __version__
from neuromusic.core.files import write_text
from neuromusic.core.progress import track
from neuromusic.design import grid
from neuromusic.design.orders import TASK
from neuromusic.fmri.activations import clip_responses
from neuromusic.fmri.simulation.voxels import (
    EVENT_COLUMNS,
    Planted,
    Session,
    ceiling_r,
    check_responses,
    choose_stages,
    planted_ev,
    run_images,
)
from neuromusic.training.trained import TrainedNetwork

VOXEL_MM = 2.0


CENTRE_MM = (-48.0, -22.0, 8.0)  # of the grid, in MNI space: left Heschl's gyrus


TRUTH = "derivatives/truth"


def grid_of(n_voxels: int) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the shape of the smallest grid for so many voxels, and its affine in MNI space."""
    side = next(n for n in range(1, n_voxels + 1) if n**3 >= n_voxels)
    shape = (-(-n_voxels // side**2), side, side)
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = np.array(CENTRE_MM) - VOXEL_MM * (np.array(shape) - 1) / 2
    return shape, affine


def write_image(path: Path, voxels: NDArray[np.int16]) -> None:
    """Write (n_voxels,) or (n_vol, n_voxels) as NIfTI-1, the voxels in C order on their grid.

    What the grid has beyond them is 0. The same voxels give the same bytes.
    """
    import nibabel

    shape, affine = grid_of(voxels.shape[-1])
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


def _write_json(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def _write_session(directory: Path, session: Session, image: NDArray[np.int16]) -> None:
    task = TASK[session.split]
    folder = directory / f"sub-{session.subject}" / "func"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{session.subject}_task-{task}_run-{session.run:02d}"
    (folder / f"{stem}_events.tsv").write_bytes(session.events)
    write_image(folder / f"{stem}_bold.nii.gz", image)
    _write_json(folder / f"{stem}_bold.json", {"TaskName": task, "RepetitionTime": grid.TR_S})


def _write_dataset(
    directory: Path, run: TrainedNetwork, sessions: list[Session], seed: int
) -> None:
    about = (
        f"Simulated by neuromusic from the stages of {run.config.model.name}, seed {seed}. No "
        f"person was scanned. {TRUTH} says what each voxel holds."
    )
    described = {"Name": "Simulated responses to music", "BIDSVersion": "1.10.0"}
    _write_json(
        directory / "dataset_description.json",
        {
            **described,
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["neuromusic"],
            "HowToAcknowledge": about,
            "GeneratedBy": [{"Name": "neuromusic", "Version": __version__}],
        },
    )
    for split, task in TASK.items():
        if any(session.split == split for session in sessions):
            _write_json(
                directory / f"task-{task}_events.json",
                {name: {"Description": text} for name, text in EVENT_COLUMNS.items()},
            )
    write_text(directory / "README", f"{about}\n")
    write_text(directory / ".bidsignore", "provenance.json\n")
    subjects = "".join(f"sub-{name}\n" for name in sorted({s.subject for s in sessions}))
    write_text(directory / "participants.tsv", f"participant_id\n{subjects}")
    truth = directory / TRUTH
    truth.mkdir(parents=True)
    _write_json(
        truth / "dataset_description.json",
        {
            **described,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "neuromusic", "Version": __version__}],
        },
    )


def _write_truth(
    directory: Path, sessions: list[Session], stages: list[str], planted: Planted, seed: int
) -> None:
    counts = dict.fromkeys(stages, planted.voxels)
    if planted.noise_voxels:
        counts["noise"] = planted.noise_voxels
    names = np.array(list(counts))
    label = np.repeat(np.arange(len(counts)), list(counts.values()))
    shape, _ = grid_of(len(label))
    i, j, k = np.unravel_index(np.arange(len(label)), shape)
    repeats = max((int(s.trials["repeat"].max()) for s in sessions if s.split == "test"), default=1)
    tables = []
    for number, subject in enumerate(sorted({session.subject for session in sessions})):
        ev = planted_ev(planted, len(stages), seed, number)
        ev[label == len(stages)] = 0
        table = pd.DataFrame({"subject": f"sub-{subject}", "voxel": np.arange(len(label))})
        table = table.assign(i=i, j=j, k=k, area=names[label])
        tables.append(table.assign(ev=ev, ceiling_r=ceiling_r(ev, repeats)))
    truth = directory / TRUTH
    write_image(truth / "areas.nii.gz", (label + 1).astype(np.int16))
    areas = pd.DataFrame({"index": range(1, len(counts) + 1), "name": names})
    areas.to_csv(truth / "areas.tsv", sep="\t", index=False)
    pd.concat(tables).to_csv(truth / "truth.tsv", sep="\t", index=False, float_format="%.6f")


def write_simulation(
    run: TrainedNetwork, sessions: list[Session], planted: Planted, seed: int, directory: Path
) -> None:
    """Write the dataset into a directory, one run in memory at a time.

    Raises InputError for stages, clips or runs that the run or its prepared set lacks, and for a
    stage that answers alike to every clip.
    """
    stages = choose_stages(run, planted.stages)
    clips = pd.concat([session.trials["clip"] for session in sessions]).unique()
    heard, missing = clip_responses(run, list(clips))
    check_responses(run, heard, missing)
    _write_dataset(directory, run, sessions, seed)
    images = run_images(heard, sessions, stages, planted, seed)
    for session, image in track(images, "simulate", len(sessions)):
        _write_session(directory, session, image)
    _write_truth(directory, sessions, stages, planted, seed)
