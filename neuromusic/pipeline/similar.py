"""TODO: docstring."""

from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import sha256
from neuromusic.core.progress import Say
from neuromusic.evaluation.similarity import (
    clip_vector,
    extend_index,
    load_index,
    nearest,
    save_index,
)
from neuromusic.stimuli import audio
from neuromusic.training.trained import WEIGHTS, best_device, load_network


def similar(
    directory: Path, clip: Path, among: Path, k: int, stage: str | None, file: Path | None, say: Say
) -> pd.DataFrame:
    """Return the k clips below a folder that are nearest to one: rank, file, similarity.

    ``file`` is the index, ``index-STAGE.npz`` in the run without it; ``stage`` the last one.
    Raises InputError for a run that cannot listen, an unknown stage, and where nothing sounds.
    """
    run = load_network(directory)
    run.check_hears_sound()
    names = [each.name for each in run.network.stages]
    if stage is not None and stage not in names:
        raise InputError(
            f"--stage {stage}: is no stage of {run.config.model.name}; it has {', '.join(names)}"
            f"{did_you_mean(stage, names)}"
        )
    if not among.is_dir():
        raise InputError(f"{among}: no such directory; expected a folder of sound files")
    paths = sorted(path for path in among.rglob("*") if path.suffix.lower() in audio.SUFFIXES)
    if not paths:
        raise InputError(f"{among}: holds no sound files ({', '.join(audio.SUFFIXES)})")
    audio.duration_s(clip)
    run.network.to(best_device())
    stage = stage or names[-1]
    target = file or directory / f"index-{stage}.npz"
    index = load_index(target, sha256(directory / WEIGHTS), stage)
    known, heard = extend_index(index, run, paths, lambda: save_index(index, target), say)
    say(f"heard {heard} clips, {len(known) - heard} were in {target}")
    if not known:
        raise InputError(f"{among}: holds no file that sounds")
    vector = index.vectors.get(sha256(clip))
    if vector is None:
        vector = clip_vector(clip, run, stage)
    there = list(known)
    rows, cosine = nearest(vector, np.stack([index.vectors[known[path]] for path in there]), k)
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(rows) + 1),
            "file": [str(there[row]) for row in rows],
            "similarity": cosine,
        }
    )
