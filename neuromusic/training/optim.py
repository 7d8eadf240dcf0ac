"""The optimiser of a training and its learning-rate schedule."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from neuromusic.training.config import Train

ADAM_BETAS = (0.9, 0.99)  # 0.99 instead of 0.999: trainings have only a few thousand steps


def make_optimizer(network: nn.Module, settings: Train) -> Optimizer:
    """Return the optimiser for the weights of a network."""
    # Weight decay applies to matrices and kernels, not to biases and normalisation.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    parameters = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # A fused optimiser updates all weights with one kernel. With mixed precision it undoes the
    # scaling of 16-bit gradients itself, which is too late for limiting their norm.
    fused = not (settings.precision == "16-mixed" and settings.clip_norm)
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(
            parameters, settings.lr, momentum, nesterov=momentum > 0, fused=fused
        )
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, settings.lr, betas=ADAM_BETAS, fused=fused)


def make_plateau(optimizer: Optimizer, settings: Train) -> ReduceLROnPlateau:
    """Return the schedule that lowers the learning rate when a loss no longer falls."""
    return ReduceLROnPlateau(
        optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
    )


def make_schedule(optimizer: Optimizer, settings: Train, n_steps: int) -> LRScheduler:
    """Return a schedule that is advanced after each of ``n_steps`` steps."""
    if settings.schedule == "one-cycle":
        return OneCycleLR(
            optimizer, settings.lr, n_steps, pct_start=settings.warmup, cycle_momentum=False
        )
    return LambdaLR(optimizer, lr_curve(settings.schedule, settings.warmup, n_steps))


def lr_curve(schedule: str, warmup: float, n_steps: int) -> Callable[[int], float]:
    """Return the function step -> factor of the learning rate.

    "constant": always 1. "cosine": a linear rise over the proportion ``warmup`` of the steps, then
    half a cosine down to 0.
    """
    n_rising = max(1, round(warmup * n_steps))

    def factor(step: int) -> float:
        if schedule == "constant":
            return 1.0
        if step < n_rising:
            return (step + 1) / n_rising
        progress = min(1.0, (step - n_rising) / max(1, n_steps - n_rising))
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor
