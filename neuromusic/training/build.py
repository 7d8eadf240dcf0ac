"""A network for a prepared set: what it hears of it, and whether the settings suit that."""

from neuromusic.core.errors import InputError
from neuromusic.features.frontends.base import front_end_has_bands
from neuromusic.features.prepared import PreparedSet
from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import create_model, model_entry
from neuromusic.training.config import Config
from neuromusic.training.selection import window_frames


def wire(config: Config, data: PreparedSet) -> tuple[PreparedSet, Network]:
    """Return the set as the network of the settings hears it, and the network, untrained.

    Raises InputError where the network cannot be built or the settings do not suit the set.
    """
    check_settings(config, data)
    model = config.model
    data = data.heard_as(model_entry(model.name).input, config.data.normalisation == "clip")
    spec = InputSpec(
        n_bands=data.meta["n_bands"],
        n_frames=window_frames(data, config.data),
        frame_s=data.frame_s,
        n_classes=len(data.classes),
        n_channels=data.meta["n_channels"],
    )
    seed = config.train.seed
    return data, create_model(model.name, spec, seed, model.activation, **model.options)


def check_settings(config: Config, data: PreparedSet) -> None:
    """Raise InputError where settings ask for what the input of the network cannot give."""
    made_with = data.meta["front_end"]["name"]
    if model_entry(config.model.name).input == "wave":
        allowed, heard = {"mixup", "gain_db"}, "samples"
    elif made_with != config.data.front_end:
        raise InputError(
            f"{data.directory}: was prepared with the front end {made_with}, the settings say "
            f'{config.data.front_end}; set data.front_end="{made_with}" or prepare it anew'
        )
    elif front_end_has_bands(made_with):
        return
    else:
        allowed, heard = {"mixup", "time_masks", "mel_masks"}, f"{made_with} channels"
    for key in ("time_masks", "mel_masks", "gain_db", "tilt_db", "mel_shift", "time_scale"):
        if key not in allowed and getattr(config.augment, key):
            raise InputError(f"augment.{key}: is not for a network that hears {heard}; set it to 0")


def check_one_device(config: Config, command: str) -> None:
    """Raise InputError where a command that does more than train is to use several devices."""
    if config.train.devices * config.train.nodes > 1:
        raise InputError(
            f"train.devices, train.nodes: 'neuromusic {command}' trains on one device; set both "
            "to 1 ('neuromusic train' alone takes several)"
        )
