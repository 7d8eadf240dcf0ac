"""SetMeta: how the features of a prepared set were computed, as stored in ``prepared.json``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, cast

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_file_name
from neuromusic.features.frontends.base import FrontEnd, describe
from neuromusic.stimuli.channels import CHANNELS, Channel

Source = Literal["audio", "features"]  # computed from sound, or precomputed log-mel

MOST_FRAME_S = 60.0
TYPES: dict[str, type] = {
    "source": str, "front_end": dict, "frame_s": float, "n_channels": int, "n_bands": int,
    "classes": list,
}  # fmt: skip


@dataclass(frozen=True)
class SetMeta:
    """How the features of a prepared set were computed.

    The order of the fields is the order of the keys in JSON.
    """

    source: Source
    front_end: Mapping[str, Any]  # name and parameters, as `frontends.base.describe` returns them
    frame_s: float
    n_channels: int
    n_bands: int
    classes: list[str]  # in the order of the labels
    channel: Channel = "mix"  # of the sounds

    @classmethod
    def of_front_end(
        cls, source: Source, spec: FrontEnd, classes: list[str], channel: Channel = "mix"
    ) -> Self:
        """Return the metadata of features that a front end computes."""
        sizes = spec.frame_s, spec.n_channels, spec.n_bands
        return cls(source, describe(spec), *sizes, classes, channel)

    @classmethod
    def from_json(cls, content: object, where: str, remedy: str) -> Self:
        """Check the content of a JSON file; raise InputError if a key is missing or wrong.

        ``where`` and ``remedy`` begin and end the message.
        """
        if not isinstance(content, dict):
            raise InputError(f"{where}: is not a JSON object; {remedy}")
        for key, kind in TYPES.items():
            if not isinstance(content.get(key), kind):
                raise InputError(
                    f"{where}: {key} is missing or not of type {kind.__name__}; {remedy}"
                )
        for name in content["classes"]:  # classes become parts of file names
            check_file_name(name, f"{where}, classes")
        if not 0 < content["frame_s"] < MOST_FRAME_S:
            raise InputError(
                f"{where}: frame_s is {content['frame_s']}; expected seconds above 0 and below "
                f"{MOST_FRAME_S:g}; {remedy}"
            )
        if "name" not in content["front_end"]:
            raise InputError(f"{where}: front_end has no name; {remedy}")
        channel = content.get("channel", "mix")  # older sets have none
        if channel not in CHANNELS:
            raise InputError(f"{where}: channel is not one of {', '.join(CHANNELS)}; {remedy}")
        return cls(**{key: content[key] for key in TYPES}, channel=channel)

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``prepared.json``."""
        return asdict(self)

    @property
    def front_end_name(self) -> str:
        """Name of the front end; "wave" for the samples themselves."""
        return cast(str, self.front_end["name"])

    def first_difference(self, other: Self) -> str | None:
        """Return the first field, besides the classes, in which two inputs differ; None if equal.

        A network can only be applied to input that does not differ from what it was trained on.
        """
        for field in fields(self):
            if field.name != "classes" and getattr(self, field.name) != getattr(other, field.name):
                return field.name
        return None
