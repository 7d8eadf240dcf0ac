"""Where a network's input for each clip comes from: its prepared set, or the sounds."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.design.presentations import RunDesign
from neuromusic.features.prepared import open_prepared

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ClipInputs:
    """The source of a network's input for each clip.

    ``clips`` are those that are available, ``read`` returns the input (rows, frames) of one of
    them; ``source`` and ``remedy`` are for the message if none of the clips is available.
    ``prepared`` is the prepared set that they come from, if any. ``key`` returns what the input is
    computed from, see `models.stored.Sound`.
    """

    clips: Collection[str]
    read: Callable[[str], Any]
    source: Path
    remedy: str
    prepared: Path | None = None
    key: Callable[[str], str | None] = lambda _: None

    def present(self, clips: Collection[str]) -> list[str]:
        """Return those of ``clips`` that have an input; raise InputError if none has."""
        present = [clip for clip in clips if clip in self.clips]
        if not present:
            raise InputError(
                f"{self.source}: contains none of the {len(clips)} clips that were played; "
                f"{self.remedy}"
            )
        return present


def inputs_from_prepared(trained: "AppliedNetwork") -> ClipInputs:
    """Return the inputs of the clips in the prepared set that a network was trained on.

    Raises InputError for a network of others, which has no such set.
    """
    from neuromusic.training.trained import TrainedNetwork

    if not isinstance(trained, TrainedNetwork):
        raise InputError(
            f"{trained.name}: was not trained here, so it needs the sounds that were played; give "
            "their folder as sounds"
        )
    data = open_prepared(trained.prepared).as_input(
        trained.input_kind, normalise_clips=trained.normalise_clips
    )
    data.check_readable()
    row_of = data.row_of_clip()
    return ClipInputs(
        row_of,
        lambda clip: data.row_features(row_of[clip]),
        trained.prepared,
        "use a network that was trained on a set prepared from the lists of this experiment",
        trained.prepared,
    )


def inputs_from_sound(
    trained: "AppliedNetwork", lists: Path, clips: pd.DataFrame, runs: Iterable[RunDesign]
) -> ClipInputs:
    """Return the inputs of listed clips, computed from their sound when they are read.

    ``clips`` has clip and path (relative to ``lists``, missing if there is no such file). Of a
    sound that is longer than ``runs`` play it, the rest is cut off.
    """
    present = clips[clips["path"].notna()]
    paths = {row.clip: lists / row.path for row in present.itertuples()}
    return inputs_from_files(trained, paths, runs, lists)


def inputs_from_files(
    trained: "AppliedNetwork", path_of: Mapping[str, Path], runs: Iterable[RunDesign], source: Path
) -> ClipInputs:
    """Return the inputs of the clips in ``path_of`` (clip -> file), which come from ``source``."""
    played = pd.concat([run.trials[["clip", "duration_s"]] for run in runs])
    length_s = played.groupby("clip")["duration_s"].max()

    def read(clip: str) -> Array:
        return trained.input_of(path_of[clip], float(length_s[clip]))

    def key(clip: str) -> str | None:
        from neuromusic.models.stored import file_key

        return file_key(trained, path_of[clip], float(length_s[clip]))

    return ClipInputs(path_of, read, source, "make the lists again with their clips", key=key)


def clip_inputs(
    trained: "AppliedNetwork", lists: Path, clips: pd.DataFrame, runs: Iterable[RunDesign]
) -> ClipInputs:
    """Return the inputs of listed clips: from sound if the network was trained on sound.

    Networks that were trained on precomputed features get them from their prepared set.
    """
    if trained.meta.source == "audio":
        return inputs_from_sound(trained, lists, clips, runs)
    return inputs_from_prepared(trained)
