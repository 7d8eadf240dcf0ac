"""Turn features of whole sounds that were computed elsewhere into a prepared set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.lists import listed_files, read_lists
from neuromusic.features import prepared
from neuromusic.features.build import listed_clips, listed_presentations
from neuromusic.features.meta import SetMeta
from neuromusic.features.prepared import PreparedSet, open_prepared
from neuromusic.features.writer import new_array
from neuromusic.models.foreign import FeatureNetwork
from neuromusic.pipeline.prepare import COMMAND, log_and_open
from neuromusic.stimuli import audio
from neuromusic.training.applied_networks import load_features
from neuromusic.training.stages_front_end import FRAME_S, StagesSpec, chosen_stages, made

SECONDS_PER_CLIP = 0.05


def prepare_folder(
    lists: str | Path,
    features: str | Path,
    *,
    out: str | Path,
    stages: Sequence[str] = (),
    frame_s: float = FRAME_S,
    overwrite: bool = False,
) -> PreparedSet:
    """Make a prepared set from a folder of features of the clips in stimulus lists.

    The classes, runs and splits are those of the lists. As there are no features of their variants,
    each clip has one row. A network that is trained on the set cannot hear other sounds.

    Parameters
    ----------
    lists : str or Path
        Directory of stimulus lists, made by `make_lists` or `make_file_lists`.
    features : str or Path
        Folder as in `load_features`: one array (frames, units) per stage and clip.
    out : str or Path
        Output directory.
    stages : sequence of str
        Names of the stages; by default all. Their units are joined.
    frame_s : float
        Seconds from one frame of the set to the next; see `stages_front_end`.
    overwrite : bool
        Replace a set in ``out`` that was made with other settings or from other files.

    Returns
    -------
    PreparedSet
        Features (clips, units, frames) float16, each stage divided by its root mean square in the
        training clips.

    Raises
    ------
    InputError
        If ``lists`` contains no stimulus lists, a clip has no features, a file cannot be read, or
        ``out`` contains something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> prepared = nm.prepare_folder("listed", "listed_features", out="prepared_folder")
    >>> prepared.features.shape
    (4, 5, 21)
    """
    lists, features, out = as_path(lists), as_path(features), as_path(out)
    check_target(out, COMMAND)
    network = load_features(features)
    assert isinstance(network, FeatureNetwork)
    stages = chosen_stages(network, stages)
    table = read_lists(lists)
    clips = listed_clips(lists, table)
    settings, places = arguments(lists=lists, features=features, stages=stages, frame_s=frame_s)
    inputs = hash_inputs([*listed_files(lists), *network.folder.paths])
    lengths_s = [audio.duration_s(lists / path) for path in clips["path"]]
    read = network.folder.read
    trained_on = clips.loc[clips["split"] == "train", "clip"]
    scaling = map(read, clips["clip"] if trained_on.empty else trained_on)
    spec = made(str(features.absolute()), network, scaling, stages, frame_s)
    n_frames = [spec.n_frames(round(length_s * audio.RATE_HZ)) for length_s in lengths_s]
    shape = len(clips), spec.n_units, max(n_frames)
    work = Work(
        f"{len(clips)} clips, each {shape[1]} x {shape[2]}", SECONDS_PER_CLIP * len(clips),
        2 * int(np.prod(shape)),
    )  # fmt: skip
    step = Step(
        COMMAND, out, settings, inputs, places, function="prepare_folder", overwrite=overwrite,
        work=work,
    )  # fmt: skip
    if step.is_done():
        return open_prepared(out)
    with step.directory() as directory:
        array = new_array(directory / prepared.FEATURES, np.float16, shape)
        for row, clip in enumerate(track(list(clips["clip"]), "prepare", len(clips))):
            array[row, :, : n_frames[row]] = spec.on_grid(read(clip), n_frames[row])
        _write_tables(directory, table, clips, n_frames, spec)
    return log_and_open(out)


def _write_tables(
    directory: Path, table: pd.DataFrame, clips: pd.DataFrame, n_frames: list[int],
    spec: StagesSpec,
) -> None:  # fmt: skip
    """Write the tables of a set with one row per clip."""
    rows = clips.reset_index(drop=True).assign(
        variant=0, name="original", parameters="{}", frames=n_frames, samples=None
    )
    meta = SetMeta.of_front_end("features", spec, sorted(set(clips["genre"])))
    prepared.write_tables(
        directory, rows.reset_index(names="row"), meta, listed_presentations(table)
    )
