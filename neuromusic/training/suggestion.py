"""Which settings must change so that a network can be trained on a prepared set."""

import math
from pathlib import Path

from neuromusic.core.errors import InputError
from neuromusic.features.frontends.base import STAGES
from neuromusic.features.prepared import PreparedSet, open_prepared
from neuromusic.training.build import LIMITED_AUGMENTATIONS, build_network
from neuromusic.training.config import Config, load_config
from neuromusic.training.selection import select

WINDOWS_PER_CLIP = 2  # if clips are too short for the settings' windows


def suitable_settings(directory: Path) -> str:
    """Return the name of settings for a set; of a readout if it has the stages of a network."""
    return "linear" if open_prepared(directory).meta.front_end_name == STAGES else "cortex"


def suitable_changes(name: str, directory: Path) -> list[str]:
    """Return the changes, such as "data.window_s=3", that make named settings suit a set.

    Settings are changed one after the other until a network can be built; if none helps, the
    changes so far are returned, and the training will say what is wrong.
    """
    data = open_prepared(directory)
    config = load_config(name)
    changes: list[str] = []
    for change in _candidates(config, data):
        if _is_suitable(name, changes, data):
            break
        changes.append(change)
    return changes


def _candidates(config: Config, data: PreparedSet) -> list[str]:
    changes = []
    front_end = data.meta.front_end_name
    if front_end != config.data.front_end:
        changes.append(f"data.front_end={front_end}")
    shortest_s = int(data.rows["frames"].min()) * data.frame_s
    if shortest_s < config.data.window_s:
        window_s = math.floor(shortest_s / WINDOWS_PER_CLIP * 10) / 10 or shortest_s
        changes += [f"data.window_s={window_s:g}", f"data.hop_s={window_s / 2:g}"]
    if data.rows["run"].isna().all():
        changes.append("data.validation_runs=0")
    limited = [key for key in LIMITED_AUGMENTATIONS if getattr(config.augment, key)]
    return changes + [f"augment.{key}=0" for key in limited]


def _is_suitable(name: str, changes: list[str], data: PreparedSet) -> bool:
    config = load_config(name, tuple(changes))
    try:
        select(data, config.data)
        build_network(config, data)
    except (InputError, ValueError, RuntimeError):
        return False
    return True
