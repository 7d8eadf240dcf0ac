"""Training on several devices with the result of one device, up to rounding.

Each device takes its share of every batch. Batch normalisation uses the statistics of the whole
batch and dropout masks are drawn for the whole batch, so neither depends on the number of devices.
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
    """Which windows of a batch this device takes: every ``world``-th, starting with ``rank``."""

    rank: int = 0
    world: int = 1  # number of devices
    total: int = 0  # windows in the whole current batch

    def take(self, x: Tensor) -> Tensor:
        """Return this device's windows of a whole batch (B, ...)."""
        return x if self.world == 1 else x[self.rank :: self.world]


def use_whole_batches(module: nn.Module, share: Share) -> None:
    """Make all batch normalisation and dropout of a network, in place, depend on whole batches.

    The names of the weights do not change.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, WholeBatchNorm(child))
        elif isinstance(child, nn.Dropout):
            setattr(module, name, WholeDropout(child.p, share))
        else:
            use_whole_batches(child, share)


class WholeDropout(nn.Module):
    """Dropout whose mask is this device's share of the mask that a single device would draw."""

    def __init__(self, p: float, share: Share) -> None:
        super().__init__()
        self.p = p
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, ...) with some values set to zero and the others scaled up."""
        if not self.training or self.p == 0:
            return x
        # torch draws masks in memory order, so the mask is made with the memory order of x.
        strides = x.stride()
        order = sorted(range(x.ndim), key=lambda axis: -strides[axis])
        whole = [self.share.total if axis == 0 else x.shape[axis] for axis in order]
        ones = x.new_ones(whole).permute([order.index(axis) for axis in range(x.ndim)])
        return x * self.share.take(F.dropout(ones, self.p))


class WholeBatchNorm(_BatchNorm):
    """Batch normalisation over the shares of all devices.

    Unlike torch.nn.SyncBatchNorm, which needs GPUs, it also works on CPUs.
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
        """Return the normalised input, (B, channels, ...)."""
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
    """Return the vectors (n,) of all devices as (devices, n), in the same order on every device.

    A sum over devices is then rounded in the same way everywhere.
    """
    rows = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, x)
    return torch.stack(rows)


class _Normalise(torch.autograd.Function):
    """Batch normalisation of a batch that is divided among devices.

    Ioffe and Szegedy 2015, algorithm 1 and section 3. The variance is combined from those of the
    shares as in Chan, Golub and LeVeque 1983 (American Statistician 37), eq. 1.5.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor, weight: Tensor, bias: Tensor, eps: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        axes = [0, *range(2, x.ndim)]
        variance_and_mean = torch.var_mean(x.float(), axes, correction=0)  # of this share
        n = variance_and_mean[0].new_tensor([x.numel() / x.shape[1]])
        shares = _gather(torch.cat([*variance_and_mean, n]))
        variances, means, counts = shares.split([x.shape[1], x.shape[1], 1], dim=1)
        total = counts.sum(0)
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
        ctx.save_for_backward(x, weight, mean, variance, total)
        ctx.eps = eps  # type: ignore[attr-defined]  # as in torch's documentation
        ctx.mark_non_differentiable(mean, variance, total)
        y = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        return y, mean, variance, total

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, dy: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance, total = ctx.saved_tensors  # type: ignore[attr-defined]
        eps: float = ctx.eps  # type: ignore[attr-defined]
        # The gradient with mean and variance held constant, then what flows through them.
        fixed, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, None, None, False, eps, [True, True, True]
        )
        all_d_weight, all_d_bias = _gather(torch.cat([d_weight, d_bias])).sum(0).chunk(2)
        inverse = (variance + eps).rsqrt()
        slope = weight * inverse**2 * all_d_weight / total
        level = weight * inverse * all_d_bias / total - slope * mean
        shape = [1, -1] + [1] * (x.ndim - 2)
        dx = fixed - (level.view(shape) + slope.view(shape) * x).to(fixed.dtype)
        return dx, d_weight, d_bias, None


def end_on_signals(parent: int | None) -> None:
    """Let Ctrl-C and SIGTERM end this process at once, whatever it waits for.

    Python calls its signal handlers only between bytecodes, not during a collective operation of
    torch: one process would clean up and wait for another that is waiting for it. Nothing is lost,
    because the files of an epoch are complete or absent. A helper process also ends when its
    ``parent`` (a process ID) ends.
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
