"""Find the sound files to which a network responds most similarly."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core import plan
from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.files import as_path, sha256
from neuromusic.evaluation.similarity import (
    Index,
    clip_vector,
    load_index,
    nearest,
    update_index,
)
from neuromusic.fmri.activations import stage_units
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.external import External
from neuromusic.models.inference import best_device
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import channel_setting
from neuromusic.stimuli.clips import find_sounds
from neuromusic.stimuli.corpora.checks import check_complete
from neuromusic.training.applied_networks import as_applied

log = logging.getLogger(__name__)


def similar(
    network: AppliedNetwork | External | Path | str,
    clip: Path | str,
    *,
    among: Path | str,
    k: int = 10,
    stage: str | None = None,
    index: Path | str | None = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Find the sound files to which a network responds most similarly to a clip.

    Similarity is the cosine between the activations of a stage, averaged over time. The activations
    are stored in an index, so a second search computes only those of new files.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        A network that was trained on sound, or its directory.
    clip : str or Path
        The sound file to start from.
    among : str or Path
        Folder of sound files, at any depth.
    k : int
        Number of files to find.
    stage : str, optional
        Stage whose activations are compared; the last one by default.
    index : str or Path, optional
        File of the index; ``index-STAGE.npz`` in the network's directory by default.
    overwrite : bool
        Replace ``index`` if it is the index of another network or stage, or no index.

    Returns
    -------
    pandas.DataFrame
        One row per file, the most similar first: rank, file, similarity.

    Raises
    ------
    InputError
        If the network was trained on precomputed features, the stage does not exist, there are no
        files with sound, or ``index`` is something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> table = nm.similar("sound_network", "clips/blues.00000_15s.wav", among="clips", k=3)
    >>> table["file"][0], round(float(table["similarity"][0]), 3)
    ('clips/blues.00000_15s.wav', 1.0)
    """
    clip, among = as_path(clip), as_path(among)
    trained = as_applied(network)
    trained.check_takes_sound()
    stage = _stage(trained, stage)
    files = _sound_files(among)
    audio.duration_s(clip)  # raises before the long computation if the clip cannot be read
    if index is None and not trained.directory.is_dir():
        raise InputError(f"index: name a file for the activations of {trained.name}")
    target = trained.directory / f"index-{stage}.npz" if index is None else as_path(index)
    weights = trained.weights_hash()
    heard = "".join(f" {name}" for name in channel_setting(trained.meta.channel).values())
    stored = load_index(target, f"{weights}{heard}", stage)
    if index is not None:
        _check_index(target, stored, overwrite)
    plan.begin(target, _work(stored, trained, len(files)), files)
    trained.network.to(best_device())
    hashes, n_computed = update_index(stored, trained, files, target)
    n_stored = len(hashes) - n_computed
    log.info("computed %d clips, %d were in %s", n_computed, n_stored, target)
    if not hashes:
        raise InputError(f"{among}: contains no file with sound")
    vector = stored.vectors.get(sha256(clip))
    if vector is None:
        vector = clip_vector(clip, trained, stage)
    usable = list(hashes)
    rows, cosine = nearest(vector, np.stack([stored.vectors[hashes[path]] for path in usable]), k)
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(rows) + 1),
            "file": [str(usable[row]) for row in rows],
            "similarity": cosine,
        }
    )


def _stage(trained: AppliedNetwork, stage: str | None) -> str:
    """Return the stage to compare; raise InputError if the network has no stage of that name."""
    names = [each.name for each in trained.network.stages]
    if stage is None:
        return names[-1]
    if stage not in names:
        raise InputError(
            f"stage={stage!r}: is not a stage of {trained.name}, which has "
            f"{listed(names)}{did_you_mean(stage, names)}"
        )
    return stage


def _check_index(path: Path, stored: Index, overwrite: bool) -> None:
    """Raise InputError if a file that is no index of this network and stage would be replaced."""
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}; make it first")
    if path.exists() and not stored.vectors and not overwrite:
        raise InputError(
            f"{path}: is not an index of stage {stored.stage} of this network; choose another "
            "index, or replace it with overwrite=True (--overwrite)"
        )


def _work(stored: Index, trained: AppliedNetwork, n_files: int) -> plan.Work:
    n_units = stage_units(trained)[stored.stage]
    return plan.Work(
        f"stage {stored.stage} of {trained.name} for those of {n_files} sounds that "
        "are not in the index",
        None,
        4 * n_units * (n_files + len(stored.vectors)),
    )


def _sound_files(folder: Path) -> list[Path]:
    """Return the sound files in a folder, sorted; raise InputError if there are none."""
    found = find_sounds(folder)
    check_complete(found)
    if not found.files:
        raise InputError(f"{folder}: contains no sound files ({', '.join(audio.SUFFIXES)})")
    return found.files
