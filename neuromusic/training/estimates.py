"""How long training and scoring take, roughly, and how much disk a trained network needs."""

import torch

from neuromusic.core.cores import available_cores
from neuromusic.core.plan import Work
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.network import Network
from neuromusic.models.summary import multiply_adds
from neuromusic.training.config import Config
from neuromusic.training.devices import uses_gpu

# Multiply-adds per second, as measured with cortex-z; an epoch also takes a second or so besides.
PER_CORE = 0.35e10
PER_GPU = 2.0e12
EPOCH_S = 0.5
START_S = 5.0
SECONDS_PER_SECOND = 0.05  # of sound, for networks of others: musicnn on two cores
PASSES = 3  # the backward pass takes twice as long as the forward pass
# Weights, the weights of the best epoch, and in the checkpoint: weights, their average, and two
# moments of the optimizer.
COPIES = 6
BYTES_PER_WEIGHT = 4


def training_work(config: Config, network: Network) -> Work:
    """Return the work of one training."""
    settings = config.train
    per_epoch = forward_s(network, config.data.windows_per_epoch, uses_gpu(settings)) * PASSES
    n_weights = sum(p.numel() for p in network.parameters())
    return Work(
        f"{config.model.name} ({n_weights:,} parameters), {settings.epochs} epochs of "
        f"{config.data.windows_per_epoch} windows",
        START_S + settings.epochs * (EPOCH_S + per_epoch / settings.devices / settings.nodes),
        COPIES * BYTES_PER_WEIGHT * n_weights,
    )


def scoring_s(trained: AppliedNetwork, n_rows: int, n_frames: int) -> float:
    """Return how many seconds it takes to score ``n_rows`` clips of ``n_frames`` frames."""
    seconds = 0.0
    for part in trained.parts.values():
        per_clip = 1 + max(0, n_frames - part.network.spec.n_frames) // part.hop_frames
        seconds += forward_s(part.network, n_rows * per_clip, torch.cuda.is_available())
    return seconds


def hearing_s(trained: AppliedNetwork, n_sounds: int, longest_s: float) -> float:
    """Return how many seconds it takes a network to hear some sounds."""
    if not trained.has_windows:
        return SECONDS_PER_SECOND * n_sounds * longest_s
    return scoring_s(trained, n_sounds, round(longest_s / trained.network.spec.frame_s))


def forward_s(network: Network, n_windows: int, gpu: bool) -> float:
    """Return how many seconds a network needs for ``n_windows`` windows."""
    rate = PER_GPU if gpu else PER_CORE * available_cores()
    return n_windows * multiply_adds(network) / rate
