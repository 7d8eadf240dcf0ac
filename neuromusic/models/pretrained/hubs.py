"""Networks from the hubs of other packages: Hugging Face, torchaudio and torchvision.

Weights are downloaded by the user's own installation of the package, into that package's own cache.
Checkpoints that could execute code are refused: only safetensors, or tensors and plain containers.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.models.external import External
from neuromusic.models.loading import is_unsafe

# Families of torchvision whose stages are (batch, channels, bands, frames).
FAMILIES = ("alexnet", "vgg", "resnet", "resnext", "wide_resnet", "densenet", "squeezenet",
            "mobilenet", "efficientnet", "convnext")  # fmt: skip
LOWEST_DB, HIGHEST_DB = -80.0, 20.0  # of log-mel, shown as black and white
IMAGE_MEAN, IMAGE_STD = 0.449, 0.226  # of ImageNet's pictures, mean over the colours


class Waveform(nn.Module):
    """A network on waveforms; each sound is brought to mean 0 and variance 1 if it expects that."""

    def __init__(self, model: nn.Module, normalise: bool):
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, wave: Tensor) -> Any:
        """Return what the network does, for waves (batch, samples)."""
        return self.model(F.layer_norm(wave, wave.shape[-1:]) if self.normalise else wave)


class Picture(nn.Module):
    """A network on pictures that sees log-mel in grey."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, log_mel: Tensor) -> Any:
        """Return what the network does, for log-mel (batch, bands, frames) in dB."""
        grey = (log_mel - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB)
        image = ((grey - IMAGE_MEAN) / IMAGE_STD).unsqueeze(1)  # (B, 1, bands, frames)
        return self.model(image.expand(-1, 3, -1, -1))


def hub_network(source: str) -> External:
    """Return the network that ``hf:NAME``, ``torchaudio:PIPELINE`` or ``torchvision:NAME`` names.

    Parameters
    ----------
    source : str
        For example ``hf:facebook/wav2vec2-base``, ``torchaudio:HUBERT_BASE`` or
        ``torchvision:resnet18``.

    Returns
    -------
    External
        The network with its published weights. Stages are its layers or blocks.

    Raises
    ------
    InputError
        If the package is missing, has no such network, or cannot obtain its weights.
    """
    hub, _, name = source.partition(":")
    if hub not in HUBS:
        raise InputError(f"network: unknown hub {hub!r}; expected one of {listed(HUBS)}")
    if not name:
        raise InputError(f"network: {source!r} names no network; expected {hub}:NAME")
    return HUBS[hub](name)


def huggingface_network(name: str) -> External:
    """Return a network on waveforms from Hugging Face, such as wav2vec 2.0 or HuBERT.

    Raises InputError as `hub_network` does, or if the network does not take waveforms.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError("transformers is not installed; run: pip install transformers")
    transformers = importlib.import_module("transformers")

    def load() -> tuple[Any, nn.Module]:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(name, trust_remote_code=False)
        model = transformers.AutoModel.from_pretrained(
            name, trust_remote_code=False, weights_only=True
        )
        return extractor, model

    extractor, model = _obtain(f"hf:{name}", load)
    if getattr(extractor, "feature_size", None) != 1:  # more: bands of a spectrogram
        raise InputError(
            f"hf:{name}: does not take waveforms, so its input cannot be made here; write a "
            "network file, which computes it"
        )
    normalise = bool(getattr(extractor, "do_normalize", False))
    return _of_waveforms(f"hf:{name}", model, int(extractor.sampling_rate), normalise, conv_axis=-1)


def torchaudio_network(name: str) -> External:
    """Return a network of torchaudio's wav2vec 2.0, HuBERT and WavLM pipelines.

    Raises InputError as `hub_network` does.
    """
    from torchaudio import pipelines

    known = [each for each in dir(pipelines)
             if isinstance(getattr(pipelines, each), pipelines.Wav2Vec2Bundle)]  # fmt: skip
    if name not in known:
        raise InputError(
            f"network: torchaudio has no pipeline {name!r} that takes waveforms; expected one of "
            f"{listed(known)}{did_you_mean(name, known)}"
        )
    bundle = getattr(pipelines, name)
    options = {"progress": False, "weights_only": True}
    published = _obtain(f"torchaudio:{name}", lambda: bundle.get_model(dl_kwargs=options))
    # Its own wrapper normalises all sounds of a batch together.
    normalise = bool(getattr(published, "normalize_waveform", False))
    model = published.model if normalise else published
    return _of_waveforms(f"torchaudio:{name}", model, int(bundle.sample_rate), normalise, 1)


def torchvision_network(name: str) -> External:
    """Return a convolutional network of torchvision, which sees the log-mel as a picture.

    Raises InputError as `hub_network` does.
    """
    from torchvision import models

    known = [each for each in models.list_models(module=models) if each.startswith(FAMILIES)]
    if name not in known:
        raise InputError(
            f"network: torchvision has no convolutional network {name!r}; expected one of "
            f"{listed(known)}{did_you_mean(name, known)}"
        )
    weights = models.get_model_weights(name).DEFAULT
    state = _obtain(
        f"torchvision:{name}",
        lambda: weights.get_state_dict(progress=False, check_hash=True, weights_only=True),
    )
    model = models.get_model(name, weights=None)
    model.load_state_dict(state)
    return of_pictures(f"torchvision:{name}", model)


def of_pictures(name: str, model: nn.Module) -> External:
    """Return a convolutional network of torchvision with the weights that it has."""
    stages = {block.replace(".", "_"): f"model.{block}" for block in _picture_blocks(model)}
    return External(module=Picture(model).eval(), stages=stages, front_end="logmel", name=name)


def _picture_blocks(model: nn.Module) -> list[str]:
    """Return the blocks of a network: those of a ResNet, or what lies between its pools."""
    features = getattr(model, "features", None)
    if features is None:
        return [name for name, _ in model.named_children() if name.startswith("layer")]
    blocks = {f"features.{name}": block for name, block in features.named_children()}
    compound = [name for name, block in blocks.items() if any(block.children())]
    return compound or [name for name, block in blocks.items() if isinstance(block, nn.MaxPool2d)]


def _of_waveforms(
    name: str, model: nn.Module, rate_hz: int, normalise: bool, conv_axis: int
) -> External:
    """Return a transformer on waveforms; its stages are its convolutions and its layers."""
    layers = _layers(model)
    if not layers:
        raise InputError(f"{name}: no list of layers is found in it; write a network file")
    stages = {f"layer{number}": f"model.{layer}" for number, layer in enumerate(layers, 1)}
    time_axis = dict.fromkeys(stages, 1)
    if hasattr(model, "feature_extractor"):
        stages = {"conv": "model.feature_extractor", **stages}
        time_axis["conv"] = conv_axis
    module = Waveform(model, normalise).eval()
    return External(module=module, stages=stages, rate_hz=rate_hz, time_axis=time_axis, name=name)


def _layers(model: nn.Module) -> list[str]:
    """Return the names of the layers of a transformer: the longest list in its encoder."""
    lists = {name: module for name, module in model.named_modules()
             if isinstance(module, nn.ModuleList) and "encoder" in name}  # fmt: skip
    if not lists:
        return []
    name = max(lists, key=lambda each: len(lists[each]))
    return [f"{name}.{number}" for number in range(len(lists[name]))]


def _obtain(source: str, load: Callable[[], Any]) -> Any:
    """Call what loads published weights; raise InputError if it cannot."""
    try:
        return load()
    except Exception as error:
        if is_unsafe(error):
            raise InputError(
                f"{source}: its checkpoint could execute code; it is refused"
            ) from None
        if not isinstance(error, OSError | ValueError | RuntimeError | LookupError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{source}: cannot be obtained ({reason})") from None


HUBS: dict[str, Callable[[str], External]] = {
    "hf": huggingface_network,
    "torchaudio": torchaudio_network,
    "torchvision": torchvision_network,
}
