"""The networks; importing this fills the registry."""

from neuromusic.models import cnn, cortex, fragments, vision, wave
from neuromusic.models.network import Input, InputSpec, Network, Stage
from neuromusic.models.registry import ModelEntry, create_model, list_models, model_entry

__all__ = [
    "Input", "InputSpec", "ModelEntry", "Network", "Stage", "cnn", "cortex", "create_model",
    "fragments", "list_models", "model_entry", "vision", "wave",
]  # fmt: skip
