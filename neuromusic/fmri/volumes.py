"""TODO: docstring."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.design import grid
from neuromusic.design.grid import TR_S
from neuromusic.features.windows import cut_windows
from neuromusic.fmri import volumes
from neuromusic.models.inference import BATCH
from neuromusic.models.network import Network


@torch.inference_mode()
def clip_volumes(
    network: Network,
    features: NDArray[np.float32],
    hop: int,
    binning: str = "mean",
    n_vol: int = grid.VOLUMES_PER_CLIP,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float32]]]:
    """Return what a network makes of one clip (mels, frames), on the volumes of its presentation.

    Probabilities (n_vol, classes): for each volume the mean log-probability of the windows that
    overlap it, weighted by the overlap, normalised. Activations: stage -> (n_vol, units) float32,
    the mean of the frames (of all windows) whose centre lies inside the volume, or with ``binning``
    "lanczos" their value in its middle; units are channels x bands, flattened. NaN where a clip
    ends before a volume, or its middle.
    """
    spec = network.spec
    windows, starts = cut_windows(features, spec.n_frames, hop)
    at = np.array(starts)
    device = network.band_mean.device
    totals: dict[str, Tensor] = {}
    counts = {stage.name: np.zeros(n_vol) for stage in network.stages}
    window_log_p = []
    for first in range(0, len(windows), BATCH):
        active = network.activations(torch.from_numpy(windows[first : first + BATCH]).to(device))
        window_log_p.append(torch.log_softmax(network.readout(active).double(), 1))
        for stage in network.stages:
            frames = active[stage.name].movedim(-1, 1)  # (n, time, ...)
            centre = np.add.outer(
                at[first : first + BATCH], np.arange(frames.shape[1]) * stage.pool + stage.centre
            )
            weights = volumes.BINNINGS[binning](centre.ravel() * spec.frame_s, n_vol)
            units = frames.to(torch.float64, memory_format=torch.contiguous_format).flatten(2)
            total = torch.from_numpy(weights).to(device) @ units.flatten(0, 1)
            totals[stage.name] = totals[stage.name] + total if first else total
            counts[stage.name] += weights.sum(1)
    # Seconds of each volume that each window overlaps, (n_vol, windows).
    begin_s, edges_s = at * spec.frame_s, np.arange(n_vol)[:, None] * grid.TR_S
    ends_s = np.minimum(edges_s + grid.TR_S, begin_s + spec.n_frames * spec.frame_s)
    overlap = (ends_s - np.maximum(edges_s, begin_s)).clip(min=0)
    if binning == "lanczos":  # beyond the end only the tails of the kernel are left
        over = edges_s[:, 0] + grid.TR_S / 2 > features.shape[1] * spec.frame_s
        counts = {name: np.where(over, np.nan, count) for name, count in counts.items()}
    with np.errstate(invalid="ignore"):
        log_p = overlap @ torch.cat(window_log_p).cpu().numpy() / overlap.sum(1, keepdims=True)
        means = {
            name: (total.cpu().numpy() / counts[name][:, None]).astype(np.float32)
            for name, total in totals.items()
        }
        log_p -= np.logaddexp.reduce(log_p, axis=1, keepdims=True)
    return np.exp(log_p), means


def mean_weights(
    centre_s: NDArray[np.floating], n_vol: int, tr_s: float = TR_S
) -> NDArray[np.float64]:
    """Return 1 where a frame's centre lies inside a volume, else 0: (n_vol, n_frames).

    Parameters
    ----------
    centre_s : (n_frames,)
        Time of each frame's centre in seconds after the first volume's onset.
    n_vol : int
        Number of volumes; volume v covers [v * tr_s, (v + 1) * tr_s).
    tr_s : float

    With frames (n_frames, units), ``weights @ frames / weights.sum(1)[:, None]`` is the mean of
    each volume. Frames outside the grid have no weight.
    """
    # The tolerance keeps a frame that lies on a border, up to rounding, in the later volume.
    volume = np.floor(np.asarray(centre_s, dtype=np.float64) / tr_s + 1e-9)
    return (volume == np.arange(n_vol)[:, None]).astype(np.float64)


def lanczos_weights(
    centre_s: NDArray[np.floating], n_vol: int, tr_s: float = TR_S, lobes: int = 3
) -> NDArray[np.float64]:
    """Weigh frames for a value in the middle of each volume, free of aliasing: (n_vol, n_frames).

    A Lanczos window over a sinc that cuts off at half the volumes' rate, as voxelwise models of
    natural speech use it (Huth et al. 2016, Nature 532, Methods). Arguments and use as for
    `mean_weights`.
    """
    middle = (np.arange(n_vol) + 0.5) * tr_s
    away = (middle[:, None] - np.asarray(centre_s, dtype=np.float64)) / tr_s  # in volumes
    return np.where(np.abs(away) < lobes, np.sinc(away) * np.sinc(away / lobes), 0.0)


# How frames become volumes, by name: the weight of each frame in each volume.
BINNINGS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "mean": mean_weights,
    "lanczos": lanczos_weights,
}


def delayed(run: NDArray[np.floating], delays_tr: Sequence[int]) -> NDArray[np.floating]:
    """Return the volumes of one run, moved later by each delay, side by side.

    ``run`` (n_vol, units) becomes (n_vol, len(delays_tr) * units), the first delay first; what lies
    before the run is 0. Call it for every run by itself: nothing may cross a border between runs.
    Raises ValueError for a delay that is negative.
    """
    if min(delays_tr) < 0:
        raise ValueError(f"delays_tr {list(delays_tr)}: a response cannot precede its sound")
    n_vol, units = run.shape
    out = np.zeros((n_vol, len(delays_tr), units), dtype=run.dtype)
    for index, delay in enumerate(delays_tr):
        out[delay:, index] = run[: max(0, n_vol - delay)]
    return out.reshape(n_vol, -1)


def convolved(run: NDArray[np.floating], kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    """Convolve the volumes of one run (n_vol, units) with a response (n_delays,), causally.

    ``kernel[d]`` is the response d volumes after; see `fmri.hrf`. Nothing crosses the run's end.
    """
    out = np.zeros(run.shape)
    for delay, height in enumerate(kernel[: len(run)]):
        out[delay:] += height * run[: len(run) - delay]
    return out
