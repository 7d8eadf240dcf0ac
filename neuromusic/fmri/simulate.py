"""A BIDS dataset of simulated responses, with the truth that was planted; see `planted`."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import __version__, timing
from neuromusic.errors import need_package
from neuromusic.events import find_events
from neuromusic.fmri.planted import (
    EVENT_COLUMNS,
    Planted,
    Session,
    ceiling_r,
    check_responses,
    choose_stages,
    planted_ev,
    real_sessions,
    run_images,
    simulated_sessions,
)
from neuromusic.fmri.stimulus import clip_responses
from neuromusic.orders import TASK
from neuromusic.progress import Say, track
from neuromusic.provenance import (
    check_target,
    hash_inputs,
    is_current,
    new_directory,
    record,
    write_text,
)
from neuromusic.rundir import WEIGHTS, Run, load_run

COMMAND = "fmri simulate"
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
        image.header.set_zooms((VOXEL_MM, VOXEL_MM, VOXEL_MM, timing.TR_S))
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
    _write_json(folder / f"{stem}_bold.json", {"TaskName": task, "RepetitionTime": timing.TR_S})


def _write_dataset(directory: Path, run: Run, sessions: list[Session], seed: int) -> None:
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
    run: Run, sessions: list[Session], planted: Planted, seed: int, directory: Path
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


def simulate(
    directory: Path, bids: Path | None, subjects: int | None, planted: Planted, seed: int,
    out: Path, say: Say,
) -> Path:  # fmt: skip
    """Make a simulated dataset for a finished run; do nothing if it is there and unchanged.

    With the timing of ``bids``, or of the order in the run's prepared set (then 1 subject without
    ``subjects``). Raises InputError as `write_simulation`.
    """
    need_package("nilearn", "fmri")
    run = load_run(directory)
    check_target(out, COMMAND)
    if bids is None:
        sessions = simulated_sessions(run, subjects or 1)
        files = [run.prepared / "presentations.tsv"]
    else:
        sessions = real_sessions(bids, subjects)
        files = [file.path for file in find_events(bids)]
    settings = {**asdict(planted), "subjects": subjects, "seed": seed}
    made = record(COMMAND, settings, hash_inputs([directory / WEIGHTS, *files]))
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        write_simulation(run, sessions, planted, seed, part)
    n_subjects = len({session.subject for session in sessions})
    stages = choose_stages(run, planted.stages)
    say(
        f"wrote {out}: {n_subjects} subjects, {len(sessions)} runs of {sessions[0].n_vol} volumes; "
        f"{planted.voxels} voxels for each of {', '.join(stages)}, {planted.noise_voxels} of noise"
    )
    return out
