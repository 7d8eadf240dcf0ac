"""One batch on several devices, so that they learn what one device would have learned.

Every device takes its share of a batch. Batch normalisation is over the whole batch, and dropout
is drawn for the whole batch, so that neither depends on how many devices there are.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class Share:
    """Which windows of a batch are this device's: every ``world``-th, from ``rank`` on."""

    rank: int = 0
    world: int = 1
    total: int = 0  # windows in the whole batch; set anew for each

    def take(self, x: Tensor) -> Tensor:
        """Return this device's windows of a whole batch (B, ...)."""
        return x if self.world == 1 else x[self.rank :: self.world]


def spread(module: nn.Module, share: Share) -> None:
    """Let every batch normalisation and dropout of a network work on the whole batch.

    Names of weights stay as they are.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, WholeBatchNorm(child))
        elif isinstance(child, nn.Dropout):
            setattr(module, name, WholeDropout(child.p, share))
        else:
            spread(child, share)


class WholeDropout(nn.Module):
    """Dropout whose mask is the share of the one that one device would have drawn."""

    def __init__(self, p: float, share: Share) -> None:
        super().__init__()
        self.p = p
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, ...) with some values zero and the others scaled."""
        if not self.training or self.p == 0:
            return x
        # In the order of memory of x, which is the order in which torch draws.
        strides = x.stride()
        order = sorted(range(x.ndim), key=lambda axis: -strides[axis])
        whole = [self.share.total if axis == 0 else x.shape[axis] for axis in order]
        ones = x.new_ones(whole).permute([order.index(axis) for axis in range(x.ndim)])
        return x * self.share.take(F.dropout(ones, self.p))


class WholeBatchNorm(_BatchNorm):
    """Batch normalisation over the shares of all devices, on CPUs too.

    torch.nn.SyncBatchNorm does the same on GPUs alone.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # any shape (B, channels, ...)

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, channels, ...), normalised."""
        if not self.training:
            return super().forward(input)
        y, mean, variance, n = _Normalise.apply(input, self.weight, self.bias, self.eps)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
        normalised: Tensor = y
        return normalised


def _gather(x: Tensor) -> Tensor:
    """Return the vectors (n,) of all devices, (devices, n); summed up, they are so everywhere."""
    rows = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, x)
    return torch.stack(rows)


class _Normalise(torch.autograd.Function):
    """Ioffe and Szegedy 2015 (algorithm 1 and section 3), the batch in parts.

    The variance of parts: Chan, Golub and LeVeque 1983 (American Statistician 37), eq. 1.5.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor, weight: Tensor, bias: Tensor, eps: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        axes = [0, *range(2, x.ndim)]
        own = torch.var_mean(x.float(), axes, correction=0)
        n = own[0].new_tensor([x.numel() / x.shape[1]])
        parts = _gather(torch.cat([*own, n]))
        variances, means, counts = parts.split([x.shape[1], x.shape[1], 1], dim=1)
        whole = counts.sum(0)
        mean = (counts * means).sum(0) / whole
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / whole
        ctx.save_for_backward(x, weight, mean, variance, whole)
        ctx.eps = eps  # type: ignore[attr-defined]  # as torch's documentation has it
        ctx.mark_non_differentiable(mean, variance, whole)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance, whole

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, dy: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance, whole = ctx.saved_tensors  # type: ignore[attr-defined]
        eps: float = ctx.eps  # type: ignore[attr-defined]
        # With mean and variance held fixed; then what moves through them.
        fixed, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, None, None, False, eps, [True, True, True]
        )
        of_weight, of_bias = _gather(torch.cat([d_weight, d_bias])).sum(0).chunk(2)
        inverse = (variance + eps).rsqrt()
        slope = weight * inverse**2 * of_weight / whole
        level = weight * inverse * of_bias / whole - slope * mean
        shape = [1, -1] + [1] * (x.ndim - 2)
        dx = fixed - (level.view(shape) + slope.view(shape) * x).to(fixed.dtype)
        return dx, d_weight, d_bias, None


def end_at_once(parent: int | None) -> None:
    """Let Ctrl-C and SIGTERM end this process whatever it waits for, as they would end another.

    A handler of Python's is not called in a collective, so one process would unwind and wait for
    another that waits for it. Nothing is lost: an epoch's files are whole or not there. A process
    that only helps ends with its ``parent`` too.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
