"""Small BIDS datasets of three designs, written for tests."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np


def write_events(
    folder: Path, stem: str, rows: Sequence[Sequence[object]], columns: str, end: str = "\n"
) -> Path:
    """Write an events file; ``columns`` are separated by spaces."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}_events.tsv"
    lines = ["\t".join(columns.split()), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + end)
    return path


def write_json(path: Path, **content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_image(path: Path, n_volumes: int, tr_s: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.ones((2, 2, 2, n_volumes), np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((1, 1, 1, tr_s))
    nibabel.save(image, path)
    return path


def write_spaced(directory: Path, n_subjects: int = 3, n_runs: int = 3, session: str = "") -> Path:
    """Eight sounds of 6 s of two classes, silences of 4 to 8 s, TR 2 s in one JSON at the top.

    Every run plays all sounds in an order of its own.
    """
    rng = np.random.default_rng(0)
    write_json(directory / "task-listen_bold.json", RepetitionTime=2.0)
    for subject in range(1, n_subjects + 1):
        for run in range(1, n_runs + 1):
            onset_s, rows = 0.01, []
            for sound, silence_s in zip(rng.permutation(8), [4, 6, 8] * 3, strict=False):
                kind = ("drums", "strings")[sound % 2]
                rows.append((onset_s, 6.0, kind, f"{kind}_{sound:03d}.wav", kind, int(silence_s)))
                onset_s = round(onset_s + 6 + silence_s, 2)
            folder = directory / f"sub-{subject:02d}"
            stem = f"sub-{subject:02d}"
            if session:
                folder, stem = folder / f"ses-{session}", f"{stem}_ses-{session}"
            stem = f"{stem}_task-listen_run-{run:02d}"
            write_events(folder / "func", stem, rows, "onset duration trial_type stim genre delay")
    return directory


def write_pieces(directory: Path, n_subjects: int = 25, n_pieces: int = 16) -> Path:
    """Pieces of 89 to 225 s back to back, two runs in different orders, TR 1 s, no classes."""
    rng = np.random.default_rng(1)
    lengths_s = np.linspace(89, 225, n_pieces).round()
    for subject in range(1, n_subjects + 1):
        for run in (1, 2):
            folder = directory / f"sub-{subject:02d}" / "func"
            stem = f"sub-{subject:02d}_task-music_run-{run}"
            onset_s, rows = 0.0, []
            for piece in rng.permutation(n_pieces):
                rows.append((onset_s, lengths_s[piece], f"stimuli/piece{piece + 1:02d}.wav"))
                onset_s += lengths_s[piece]
            write_events(folder, stem, rows, "onset duration stim_file", end="")
            write_json(folder / f"{stem}_bold.json", RepetitionTime=1.0, TaskName="music")
    return directory
