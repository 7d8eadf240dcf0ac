"""The networks, by family; importing this package fills the registry."""

from neuromusic.models import bands, cnn, cortex, fragments, readout, vision, wave
from neuromusic.models.network import Input, InputSpec, Network, Stage
from neuromusic.models.registry import (
    ModelEntry,
    create_model,
    list_models,
    model_entry,
    register_model,
)

__all__ = [
    "Input", "InputSpec", "ModelEntry", "Network", "Stage", "bands", "cnn", "cortex",
    "create_model", "fragments", "list_models", "model_entry", "readout", "register_model",
    "vision", "wave",
]  # fmt: skip
