"""Outputs of modules by dotted name, read through hooks that are removed after the call."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from neuromusic.core.errors import InputError, did_you_mean, listed

_LOCK = threading.RLock()  # two threads with hooks on the same modules would mix their outputs


@contextlib.contextmanager
def outputs_of(module: nn.Module, names: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of modules while a network runs in this context.

    An output may be a tensor, a tuple or list (its first element), a mapping, or an object with
    ``last_hidden_state``. It is copied, since the next module may change it in place. If a module
    is called several times, its last output is kept.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    names : mapping of str to str
        Key -> dotted name of a module; "" is the network itself.

    Yields
    ------
    dict of str to Tensor
        Key -> output; filled when the network is called. A module that is not called, or returns
        no tensor, is missing.

    Raises
    ------
    InputError
        If a name is unknown.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuromusic.models.hooks import outputs_of
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
    >>> with outputs_of(net, {"linear": "0"}) as outputs:
    ...     _ = net(torch.ones(1, 2))
    >>> outputs["linear"].shape
    torch.Size([1, 3])
    """
    found = {key: submodule(module, name) for key, name in names.items()}
    outputs: dict[str, Tensor] = {}
    with _LOCK, contextlib.ExitStack() as stack:
        for key, each in found.items():

            def keep(_: nn.Module, __: Any, output: Any, key: str = key) -> None:
                if (tensor := as_tensor(output)) is not None:
                    outputs[key] = tensor.clone()

            stack.callback(each.register_forward_hook(keep).remove)
        yield outputs


def submodule(module: nn.Module, name: str) -> nn.Module:
    """Return the module with a dotted name; raise InputError if there is none."""
    modules = dict(module.named_modules(remove_duplicate=False))
    if name not in modules:
        raise InputError(
            f"the network has no module {name!r}{did_you_mean(name, modules)}; it has "
            f"{listed(filter(None, modules))}"
        )
    return modules[name]


def as_tensor(output: Any) -> Tensor | None:
    """Return the tensor in the output of a module; None if there is none."""
    if hasattr(output, "last_hidden_state"):
        output = output.last_hidden_state
    elif isinstance(output, Mapping) and output:
        output = output.get("last_hidden_state", next(iter(output.values())))
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None
