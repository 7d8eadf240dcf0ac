"""Controls: copies of a network without what it has learned."""

import copy
import logging
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from neuromusic.core.errors import listed
from neuromusic.models.external import External

log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)


def permute_weights(module: Module, seed: list[int]) -> Module:
    """Return a copy with the values of each tensor of weights in random order.

    It keeps the distribution of the weights of each layer, but not what they have learned (Tuckute
    et al. 2023, PLoS Biology 21, e3002366). A batch norm's weights, biases and running statistics
    share one order: each channel is scaled by statistics that belong together, and its variance
    stays that of a channel. The order of tensor i is drawn from (seed, i).

    Parameters
    ----------
    module : torch.nn.Module
        The network; it is not changed.
    seed : list of int
        Seed of the orders.

    Returns
    -------
    torch.nn.Module
        The copy.
    """
    permuted = copy.deepcopy(module)
    index = 0
    for each in permuted.modules():
        index += _permute_own(each, seed, index)
    return permuted


def _permute_own(module: nn.Module, seed: list[int], index: int) -> int:
    """Permute the weights of a module without those of its children; return how many were drawn."""
    tensors = list(module.parameters(recurse=False))
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        statistics = (module.running_mean, module.running_var)
        groups = [[*tensors, *(each for each in statistics if each is not None)]]
    else:
        groups = [[tensor] for tensor in tensors]
    groups = [group for group in groups if group]
    for number, group in enumerate(groups, index):
        rng = np.random.default_rng([*seed, number])
        order = torch.from_numpy(rng.permutation(group[0].numel()))
        for tensor in group:
            values = tensor.data.flatten()[order.to(tensor.device)]
            tensor.data.copy_(values.reshape(tensor.shape))
    return len(groups)


def permuted(external: External, seed: int = 0) -> External:
    """Return a copy of a network with permuted weights, as a control; see `permute_weights`.

    Parameters
    ----------
    external : External
        The network; it is not changed.
    seed : int
        Seed of the orders.

    Returns
    -------
    External
        The copy, named after the network.

    Examples
    --------
    >>> import torch
    >>> import neuromusic as nm
    >>> net = torch.nn.Sequential(torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 8, 400, 160))
    >>> network = nm.External(net, stages={"conv": "1"}, rate_hz=16_000)
    >>> copy = permuted(network, seed=1).module[1].weight
    >>> torch.equal(copy.flatten().sort().values, net[1].weight.flatten().sort().values)
    True
    """
    module = permute_weights(external.module, [seed])
    return replace(external, module=module, name=f"{external.name} (permuted)")


def reinitialised(external: External, seed: int = 0) -> External:
    """Return a copy of a network with random weights, as a control.

    Each module draws its weights anew with its own ``reset_parameters``, as when it was made; the
    weights of a module without it are permuted, see `permute_weights`, and a warning names it.
    Buffers, such as the filters of a front end, stay as they are.

    Parameters
    ----------
    external : External
        The network; it is not changed.
    seed : int
        Seed of the weights; torch's global random state is left unchanged.

    Returns
    -------
    External
        The copy, named after the network.

    Examples
    --------
    >>> from torch import nn
    >>> import neuromusic as nm
    >>> net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160))
    >>> network = nm.External(net, stages={"conv": "1"}, rate_hz=16_000)
    >>> reinitialised(network, seed=1).name
    'network (random)'
    """
    module = copy.deepcopy(external.module).cpu()  # a GPU draws other numbers
    without, index = [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, each in module.named_modules():
            reset = getattr(each, "reset_parameters", None) or getattr(
                each, "_reset_parameters", None
            )
            if callable(reset):
                with torch.no_grad():
                    reset()
            elif n := _permute_own(each, [seed], index):
                index += n
                without.append(name or type(each).__name__)
    if without:
        log.warning(
            "%s: cannot initialise %s anew (no reset_parameters); their weights are permuted",
            external.name,
            listed(without),
        )
    return replace(external, module=module, name=f"{external.name} (random)")
