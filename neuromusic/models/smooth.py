"""Run a network with some functions of torch replaced, to learn how it is built.

`Smooth` replaces every maximum by a mean, so that gradients reach all of a network's input.

A rectifier that is off, and the inputs of a pool that are not its maximum, have a gradient of zero
although other sounds would pass through them.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

RECURRENT = ("gru", "lstm", "rnn_tanh", "rnn_relu")
_Maximum = namedtuple("_Maximum", ["values", "indices"])


class Smooth(TorchFunctionMode):
    """Within this context, ReLU is softplus, and max pools and maxima over an axis are means."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or its smooth counterpart."""
        kwargs = kwargs or {}
        replacement = _REPLACEMENTS.get(getattr(func, "__name__", "").lstrip("_"))
        if replacement is not None:
            smooth = replacement(*args, **kwargs)
            if smooth is not None:
                return smooth
        return func(*args, **kwargs)


class ShapesOnly(TorchFunctionMode):
    """Within this context, recurrent layers compute nothing; their outputs have the right shapes.

    On tensors without values torch runs them step by step, which takes seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or return the shapes of a recurrent layer."""
        is_unpacked = len(args) == 9 and isinstance(args[3], bool)
        if getattr(func, "__name__", "") in RECURRENT and is_unpacked:
            x, state, _, _, _, _, _, is_bidirectional, _ = args
            states = tuple(state) if isinstance(state, tuple | list) else (state,)
            n_units = states[0].shape[-1] * (1 + is_bidirectional)
            return x.new_empty(*x.shape[:2], n_units), *states
        return func(*args, **(kwargs or {}))


def _softplus(x: Any, *_: Any, **__: Any) -> Any:
    return F.softplus(x)


def _leaky(x: Any, slope: float = 0.01, *_: Any, **__: Any) -> Any:
    return slope * x + (1 - slope) * F.softplus(x)


def _pool(n_axes: int) -> Callable[..., Any]:
    average = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[n_axes]

    def pool(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        is_dilated = any(d != 1 for d in (dilation if isinstance(dilation, tuple) else (dilation,)))
        if is_dilated or return_indices:
            return None
        return average(x, kernel_size, stride or kernel_size, padding, ceil_mode)

    return pool


def _mean(x: Any, dim: Any = (), keepdim: bool = False, **__: Any) -> Any:
    return x.mean(dim, keepdim) if dim != () else x.mean()


def _maximum(x: Any, dim: Any = None, keepdim: bool = False, **__: Any) -> Any:
    if not isinstance(dim, int):  # over everything, or of two tensors
        return x.mean() if dim is None else None
    return _Maximum(x.mean(dim, keepdim), x.argmax(dim, keepdim))


# Name of a function of torch, without underscores at its start -> its smooth counterpart, which
# returns None if it cannot stand in.
_REPLACEMENTS: dict[str, Callable[..., Any]] = {
    "relu": _softplus,
    "relu_": _softplus,
    "leaky_relu": _leaky,
    "leaky_relu_": _leaky,
    "max_pool1d": _pool(1),
    "max_pool2d": _pool(2),
    "max_pool3d": _pool(3),
    "amax": _mean,
    "max": _maximum,
}
