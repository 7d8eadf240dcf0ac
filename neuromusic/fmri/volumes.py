"""From the frames of a network to the scanner's volumes: binning, delays, convolution."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.design import grid
from neuromusic.design.grid import TR_S
from neuromusic.features.windows import cut_windows

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from torch import Tensor

    from neuromusic.models.network import Network, Stage

# --- Weights of frames in volumes -----------------------------------------------------------------


def mean_weights(
    centre_s: NDArray[np.floating], n_volumes: int, tr_s: float = TR_S
) -> NDArray[np.float64]:
    """Return 1 if a frame's centre lies inside a volume, otherwise 0: (n_volumes, n_frames).

    With frames (n_frames, units), ``weights @ frames / weights.sum(1)[:, None]`` is the mean of
    each volume. Frames outside the grid have no weight.

    Parameters
    ----------
    centre_s : array (n_frames,)
        Time of each frame's centre, in seconds after the onset of the first volume.
    n_volumes : int
        Number of volumes; volume v covers [v * tr_s, (v + 1) * tr_s).
    tr_s : float
        Repetition time in seconds.
    """
    # The tolerance keeps a frame that lies on a border, up to rounding, in the later volume.
    volume = np.floor(np.asarray(centre_s, dtype=np.float64) / tr_s + 1e-9)
    return (volume == np.arange(n_volumes)[:, None]).astype(np.float64)


def lanczos_weights(
    centre_s: NDArray[np.floating], n_volumes: int, tr_s: float = TR_S, lobes: int = 3
) -> NDArray[np.float64]:
    """Return weights for an anti-aliased value in the middle of each volume, (n_volumes, n_frames).

    A sinc with its cut-off at half the sampling rate of the volumes, times a Lanczos window, as in
    voxelwise models of natural speech (Huth et al. 2016, Nature 532, Methods). Parameters and use
    are those of `mean_weights`; ``lobes`` is the half-width of the window in volumes.
    """
    middle = (np.arange(n_volumes) + 0.5) * tr_s
    distance = (middle[:, None] - np.asarray(centre_s, dtype=np.float64)) / tr_s  # in volumes
    kernel = np.sinc(distance) * np.sinc(distance / lobes)
    return np.where(np.abs(distance) < lobes, kernel, 0.0)


BINNINGS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "mean": mean_weights,
    "lanczos": lanczos_weights,
}


def check_binning(name: str) -> None:
    """Raise InputError if there is no binning with this name."""
    if name not in BINNINGS:
        raise InputError(
            f"binning={name!r}: is unknown; expected {' or '.join(BINNINGS)}"
            f"{did_you_mean(name, BINNINGS)}"
        )


# --- One clip -------------------------------------------------------------------------------------


def clip_volumes(
    network: "Network",
    features: NDArray[np.float32],
    hop_frames: int,
    binning: str = "mean",
    n_volumes: int = grid.VOLUMES_PER_CLIP,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float32]]]:
    """Return a network's responses to one clip, on the volumes of its presentation.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    features : array (bands, frames) float32
        Input of the network: the whole clip, from which windows are cut.
    hop_frames : int
        Frames from one window to the next.
    binning : {"mean", "lanczos"}
        How frames become volumes.
    n_volumes : int
        Number of volumes of the presentation.

    Returns
    -------
    probability : array (n_volumes, classes) float64
        For each volume, the mean log-probability of the windows that overlap it, weighted by the
        overlap and normalised.
    activations : dict of arrays (n_volumes, units) float32
        For each stage, the mean of the frames (of all windows) whose centre lies inside the volume,
        or with "lanczos" their value in its middle. Units are channels x bands, flattened.

    Both are NaN in volumes that begin (with "lanczos", have their middle) after the end of the
    clip.
    """
    import torch

    spec = network.spec
    windows, starts = cut_windows(features, spec.n_frames, hop_frames)
    with torch.inference_mode():
        totals, weight_sums, log_p = _sum_windows(network, windows, starts, binning, n_volumes)
    if binning == "lanczos":  # beyond the end of the clip only the tails of the kernel have weight
        middle_s = np.arange(n_volumes) * TR_S + TR_S / 2
        beyond = middle_s > features.shape[1] * spec.frame_s
        weight_sums = {name: np.where(beyond, np.nan, n) for name, n in weight_sums.items()}
    overlap_s = _window_overlap_s(
        np.array(starts) * spec.frame_s, spec.n_frames * spec.frame_s, n_volumes
    )
    return _weighted_probability(overlap_s, log_p), _weighted_means(totals, weight_sums)


def _sum_windows(
    network: "Network",
    windows: NDArray[np.float32],
    starts: Sequence[int],
    binning: str,
    n_volumes: int,
) -> tuple[dict[str, "Tensor"], dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Apply a network to the windows of a clip.

    Returns, for each stage, the weighted sum of its frames (n_volumes, units) and the sum of their
    weights (n_volumes,); and the log-probabilities (windows, classes).
    """
    import torch

    from neuromusic.models.inference import BATCH

    start_frames = np.array(starts)
    device = network.band_mean.device
    totals: dict[str, Tensor] = {}
    weight_sums = {stage.name: np.zeros(n_volumes) for stage in network.stages}
    window_log_p = []
    for first in range(0, len(windows), BATCH):
        batch = slice(first, first + BATCH)
        active = network.activations(torch.from_numpy(windows[batch]).to(device))
        window_log_p.append(torch.log_softmax(network.readout(active).double(), 1))
        for stage in network.stages:
            frames = active[stage.name].movedim(-1, 1)  # (windows, time, ...)
            centres = _frame_centres(start_frames[batch], stage, frames.shape[1])
            weights = BINNINGS[binning](centres * network.spec.frame_s, n_volumes)
            units = frames.to(torch.float64, memory_format=torch.contiguous_format).flatten(2)
            total = torch.from_numpy(weights).to(device) @ units.flatten(0, 1)
            totals[stage.name] = totals[stage.name] + total if first else total
            weight_sums[stage.name] += weights.sum(1)
    return totals, weight_sums, torch.cat(window_log_p).cpu().numpy()


def _frame_centres(
    start_frames: NDArray[np.int64], stage: "Stage", n_frames: int
) -> NDArray[np.floating]:
    """Return the centres of a stage's frames in windows, in input frames from the clip's start."""
    within = np.arange(n_frames) * stage.pool + stage.centre
    return np.add.outer(start_frames, within).ravel()


def _window_overlap_s(
    begin_s: NDArray[np.floating], length_s: float, n_volumes: int
) -> NDArray[np.float64]:
    """Return the seconds of each volume that each window overlaps, (n_volumes, windows)."""
    volume_s = np.arange(n_volumes)[:, None] * TR_S
    end_s = np.minimum(volume_s + TR_S, begin_s + length_s)
    return (end_s - np.maximum(volume_s, begin_s)).clip(min=0)


def _weighted_probability(
    weights: NDArray[np.float64], log_p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return normalised probabilities from weighted mean log-probabilities; NaN if no weight."""
    with np.errstate(invalid="ignore"):
        mean = weights @ log_p / weights.sum(1, keepdims=True)
        mean -= np.logaddexp.reduce(mean, axis=1, keepdims=True)
    return np.exp(mean)


def _weighted_means(
    totals: Mapping[str, "Tensor"], weight_sums: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float32]]:
    """Divide weighted sums of frames by the sums of their weights; NaN if these are 0."""
    with np.errstate(invalid="ignore"):
        return {
            name: (total.cpu().numpy() / weight_sums[name][:, None]).astype(np.float32)
            for name, total in totals.items()
        }


# --- One run --------------------------------------------------------------------------------------


def delayed(x: NDArray[np.floating], delays_tr: Sequence[int]) -> NDArray[np.floating]:
    """Return the volumes of one run shifted by each delay, side by side.

    ``x`` (n_volumes, units) becomes (n_volumes, len(delays_tr) * units), the first delay first. The
    volumes before the run are 0. Call it for each run separately: nothing may cross the border
    between runs. Raises ValueError for a negative delay.
    """
    if min(delays_tr) < 0:
        raise ValueError(f"delays_tr {list(delays_tr)}: a response cannot precede its sound")
    n_volumes, units = x.shape
    out = np.zeros((n_volumes, len(delays_tr), units), dtype=x.dtype)
    for index, delay in enumerate(delays_tr):
        out[delay:, index] = x[: max(0, n_volumes - delay)]
    return out.reshape(n_volumes, -1)


def convolved(x: NDArray[np.floating], kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    """Convolve the volumes of one run (n_volumes, units) causally with a response (n_delays,).

    ``kernel[d]`` is the response after d volumes; see `fmri.hrf`. Nothing crosses the run's end.
    """
    out = np.zeros(x.shape)
    for delay, height in enumerate(kernel[: len(x)]):
        out[delay:] += height * x[: len(x) - delay]
    return out
