"""The networks; importing this fills the registry."""

from neuromusic.models import cnn, cortex, fragments, vision, wave
from neuromusic.models.base import (
    Entry,
    Input,
    InputSpec,
    Network,
    Stage,
    build_model,
    entry,
    model_names,
)

__all__ = [
    "Entry", "Input", "InputSpec", "Network", "Stage", "build_model", "cnn", "cortex", "entry",
    "fragments", "model_names", "vision", "wave",
]  # fmt: skip
