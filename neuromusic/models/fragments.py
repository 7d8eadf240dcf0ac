"""The networks of the study of 5-s fragments of GTZAN, each for log-mel and for the wave.

A network whose name ends in -wave takes samples. Widths that the study does not report are ours.
"""

from torch import nn

from neuromusic.models.network import Chain, Input, InputSpec
from neuromusic.models.receptive_field import Geometry
from neuromusic.models.registry import register_model


def _perceptron(spec: InputSpec, hidden: list[int], dropout: float) -> Chain:
    """Return dense layers on the whole window; each layer is a stage with one frame."""
    blocks: dict[str, nn.Module] = {}
    n_in = spec.n_rows * spec.n_frames
    for i, n_out in enumerate(hidden, start=1):
        blocks[f"dense{i}"] = nn.Sequential(
            nn.Flatten(), nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout),
            nn.Unflatten(1, (n_out, 1)),
        )  # fmt: skip
        n_in = n_out
    return Chain(
        spec, blocks, lambda _: nn.Sequential(nn.Flatten(), nn.Linear(n_in, spec.n_classes))
    )


def _conv_2d(spec: InputSpec, dropout: float) -> dict[str, nn.Module]:
    widths = [spec.n_channels, 16, 32, 64]
    return {
        f"conv{i + 1}": nn.Sequential(
            nn.Conv2d(widths[i], widths[i + 1], 3, padding=1), nn.BatchNorm2d(widths[i + 1]),
            nn.MaxPool2d(4), nn.ReLU(), nn.Dropout(dropout),
        )
        for i in range(3)
    }  # fmt: skip


def _conv_1d(spec: InputSpec, dropout: float) -> dict[str, nn.Module]:
    widths = [1, 16, 32, 64]
    return {
        f"conv{i + 1}": nn.Sequential(
            *([nn.Flatten(1, 2)] if i == 0 else []),
            nn.Conv1d(widths[i], widths[i + 1], 64 if i == 0 else 16, 8 if i == 0 else 4),
            nn.BatchNorm1d(widths[i + 1]), nn.MaxPool1d(4), nn.ReLU(), nn.Dropout(dropout),
        )
        for i in range(3)
    }  # fmt: skip


def _convolutional(spec: InputSpec, wave: bool, hidden: list[int], dropout: float) -> Chain:
    """Return three blocks of convolution, normalisation, pool and dropout, then dense layers."""

    def head(last: Geometry) -> nn.Module:
        n_in = 64 * last.size[0] * last.size[1]
        layers: list[nn.Module] = [nn.Flatten()]
        for n_out in hidden:
            layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
            n_in = n_out
        return nn.Sequential(*layers, nn.Linear(n_in, spec.n_classes))

    return Chain(spec, (_conv_1d if wave else _conv_2d)(spec, dropout), head)


def _register(name: str, kind: Input, sizes: list[int], share: float, convolutional: bool) -> None:
    full = f"{name}-wave" if kind == "wave" else name

    @register_model(full, input=kind)
    def build(spec: InputSpec, hidden: list[int] = sizes, dropout: float = share) -> Chain:
        if convolutional:
            return _convolutional(spec, kind == "wave", hidden, dropout)
        return _perceptron(spec, hidden, dropout)

    kinds = "convolutions and dense layers" if convolutional else "dense layers"
    build.__doc__ = f"{name.upper()} of the study of 5-s fragments: {kinds}."


_INPUTS: tuple[Input, ...] = ("bands", "wave")
for _kind in _INPUTS:
    _register("mlp", _kind, [512, 256], 0.0, convolutional=False)
    _register("mlp2", _kind, [512, 512], 0.5, convolutional=False)
    _register("cel", _kind, [32], 0.2, convolutional=True)
    _register("cel2", _kind, [64, 64], 0.3, convolutional=True)
    _register("cel3", _kind, [128, 128, 64], 0.3, convolutional=True)
