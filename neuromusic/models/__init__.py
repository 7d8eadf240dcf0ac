"""The networks; importing this fills the registry."""

from neuromusic.models import cnn, cortex
from neuromusic.models.base import InputSpec, Network, Stage, build_model, builder, model_names

__all__ = [
    "InputSpec", "Network", "Stage", "build_model", "builder", "cnn", "cortex", "model_names",
]  # fmt: skip
