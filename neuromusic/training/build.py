"""Build the untrained network for a prepared set, after checking that the settings suit it."""

from neuromusic.core.errors import InputError
from neuromusic.features.frontends.base import front_end_has_bands
from neuromusic.features.prepared import PreparedSet
from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import create_model, model_entry
from neuromusic.training.config import Config
from neuromusic.training.selection import window_frames

# Augmentations that need bands in dB, or work on some other inputs only.
LIMITED_AUGMENTATIONS = (
    "time_masks", "mel_masks", "gain_db", "tilt_db", "mel_shift", "time_scale",
)  # fmt: skip


def build_network(config: Config, data: PreparedSet) -> tuple[PreparedSet, Network]:
    """Return a prepared set in the form of the network's input, and the untrained network.

    Raises InputError if the network cannot be built or the settings do not suit the set.
    """
    check_settings(config, data)
    model = config.model
    data = data.as_input(
        model_entry(model.name).input, normalise_clips=config.data.normalisation == "clip"
    )
    spec = InputSpec(
        n_bands=data.meta.n_bands,
        n_frames=window_frames(data, config.data),
        frame_s=data.frame_s,
        n_classes=len(data.classes),
        n_channels=data.meta.n_channels,
    )
    seed = config.train.seed
    return data, create_model(model.name, spec, seed, model.activation, **model.options)


def check_settings(config: Config, data: PreparedSet) -> None:
    """Raise InputError if the settings name another front end or an unsuitable augmentation."""
    front_end = data.meta.front_end_name
    if model_entry(config.model.name).input == "wave":
        suitable, network_input = {"gain_db"}, "samples"
    elif front_end != config.data.front_end:
        raise InputError(
            f"{data.directory}: was prepared with the front end {front_end}, but data.front_end is "
            f'"{config.data.front_end}"; set data.front_end="{front_end}" or prepare the set again'
        )
    elif front_end_has_bands(front_end):
        return
    else:
        suitable, network_input = {"time_masks", "mel_masks"}, f"{front_end} channels"
    for name in LIMITED_AUGMENTATIONS:
        if name not in suitable and getattr(config.augment, name):
            raise InputError(
                f"augment.{name}: is not possible for a network that takes {network_input}; set it "
                "to 0"
            )


def check_one_device(config: Config, command: str) -> None:
    """Raise InputError if the settings name several devices; only ``train`` can use them."""
    if config.train.devices * config.train.nodes > 1:
        raise InputError(
            f"train.devices, train.nodes: {command} trains on one device; set both to 1 (only "
            "train can use several)"
        )
