"""Where the units of a stage lie on the input, and their receptive fields.

For each axis, bands and frames: r += (k - 1) d j, centre += ((k - 1) d / 2 - p) j, j *= stride
(Araujo, Norris and Sim 2019, Distill, eq. 2 and 3), along the longest path through a network.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

Pair = tuple[float, float]  # bands, frames


@dataclass(frozen=True)
class Geometry:
    """Where the units of a map lie on the input; each attribute is (bands, frames)."""

    size: tuple[int, int]  # of the map
    field: Pair  # receptive field of one unit; infinite if it is the whole window
    jump: Pair  # from one unit to the next
    centre: Pair  # of unit 0


class SeesAll(nn.Module):
    """Base of modules whose every output depends on the whole window."""


def trace(path: Iterable[nn.Module], n_bands: int, n_frames: int) -> Geometry:
    """Return the geometry after a sequence of modules."""
    state = _State(n_bands, n_frames)
    for module in path:
        state.visit(module)
    size = (int(state.size[0]), int(state.size[1]))
    return Geometry(size, _pair(state.field), _pair(state.jump), _pair(state.centre))


def _pair(x: NDArray[np.float64]) -> Pair:
    return float(x[0]), float(x[1])


class _State:
    def __init__(self, n_bands: int, n_frames: int) -> None:
        self.whole = np.array([n_bands, n_frames])
        self.size = self.whole.copy()
        self.field = np.ones(2)
        self.jump = np.ones(2)
        self.centre = np.zeros(2)

    def visit(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d):
            self.slide(module, np.array([0, 1]))
        elif isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            self.slide(module, np.array([1, 1]))
        elif _is_from_torchvision(module, "Inception"):
            # Its widest branches are 3 x 3 and keep the size; torchvision has no 5 x 5 one.
            self.field += 2 * self.jump
        elif _is_from_torchvision(module, "BasicBlock", "Bottleneck"):
            for name, child in module.named_children():
                if name != "downsample":  # the parallel, shorter path
                    self.visit(child)
        elif isinstance(module, nn.GRU | SeesAll):
            self.field[:] = math.inf
        elif isinstance(module, nn.Flatten):
            self.flatten(module)
        else:
            for child in module.children():
                self.visit(child)

    def flatten(self, module: nn.Flatten) -> None:
        axes = [0] if module.end_dim == 2 else [0, 1]  # bands into channels, or everything
        for axis in axes:
            self.field[axis] = math.inf
            self.centre[axis] += self.jump[axis] * (self.size[axis] - 1) / 2
            self.jump[axis] *= self.size[axis]
            self.size[axis] = 1

    def slide(self, layer: nn.Module, axes: np.ndarray) -> None:
        def pair(value: object) -> np.ndarray:
            whole = np.broadcast_to(np.atleast_1d(value), 2)  # type: ignore[call-overload]
            return np.where(axes, whole, 0)

        kernel = np.maximum(pair(layer.kernel_size), 1)
        stride = np.maximum(pair(layer.stride), 1)
        dilation = np.maximum(pair(getattr(layer, "dilation", 1)), 1)
        reach = (kernel - 1) * dilation
        if layer.padding == "same":
            before, total = reach // 2, reach
        else:
            before = pair(layer.padding)
            total = 2 * before
        room = self.size + total - reach - 1
        steps = -(-room // stride) if getattr(layer, "ceil_mode", False) else room // stride
        self.size = np.where(room < 0, 0, steps + 1)
        self.centre += (reach / 2 - before) * self.jump
        self.field += reach * self.jump
        self.jump *= stride


def _is_from_torchvision(module: nn.Module, *names: str) -> bool:
    # By name: torchvision takes seconds to import, and few networks need it.
    kind = type(module)
    return kind.__name__ in names and kind.__module__.startswith("torchvision.")
