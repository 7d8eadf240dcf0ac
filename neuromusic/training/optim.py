"""The optimiser of a training, and how its learning rate changes."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from neuromusic.training.config import Train

ADAM_BETAS = (0.9, 0.99)  # 0.99: a few thousand steps


def optimizer_of(network: nn.Module, settings: Train) -> Optimizer:
    """Return the optimiser of the settings for the weights of a network."""
    # Weight decay pulls at matrices and kernels, not at biases and normalisation.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    parameters = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # One kernel for all weights. It would undo the scaling of 16-bit gradients by itself, too late
    # for a limit on their norm.
    fused = not (settings.precision == "16-mixed" and settings.clip_norm)
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(
            parameters, settings.lr, momentum, nesterov=momentum > 0, fused=fused
        )
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, settings.lr, betas=ADAM_BETAS, fused=fused)


def plateau_of(optimizer: Optimizer, settings: Train) -> ReduceLROnPlateau:
    """Return what lowers the learning rate when a loss no longer falls."""
    return ReduceLROnPlateau(
        optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
    )


def schedule_of(optimizer: Optimizer, settings: Train, steps: int) -> LRScheduler:
    """Return the schedule of a training of so many steps, of which each moves it on."""
    if settings.schedule == "one-cycle":
        return OneCycleLR(
            optimizer, settings.lr, steps, pct_start=settings.warmup, cycle_momentum=False
        )
    return LambdaLR(optimizer, lr_curve(settings.schedule, settings.warmup, steps))


def lr_curve(schedule: str, warmup: float, steps: int) -> Callable[[int], float]:
    """Return step -> factor of the learning rate: 1, or a linear rise and half a cosine to 0."""
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if schedule == "constant":
            return 1.0
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor
