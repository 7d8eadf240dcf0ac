"""From the frames of a network to the scanner's volumes: binning, delays, convolution."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.design.timing import Placement
from neuromusic.features.timed import Timed
from neuromusic.features.windows import cut_windows, window_starts

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from torch import Tensor

    from neuromusic.models.applied import AppliedNetwork
    from neuromusic.models.network import Network, Stage

LOBES = 3  # of the Lanczos kernel: half of its width in volumes

# --- Weights of frames in volumes -----------------------------------------------------------------


def mean_weights(
    centre_s: NDArray[np.floating], n_volumes: int, tr_s: float
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
    centre_s: NDArray[np.floating], n_volumes: int, tr_s: float, lobes: int = LOBES
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


Volumes = tuple[NDArray[np.float64], dict[str, NDArray[np.float32]]]


def clip_volumes(
    network: "Network",
    features: NDArray[np.float32],
    hop_frames: int,
    placements: Sequence[Placement],
    binning: str = "mean",
) -> list[Volumes]:
    """Return a network's responses to one clip, on the volumes of its presentations.

    The network sees the clip once, in windows of which a few are in memory, however long it is.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    features : array (bands, frames) float32
        Input of the network: the whole clip, from which windows are cut.
    hop_frames : int
        Frames from one window to the next.
    placements : sequence of Placement
        How the clip lies on the volumes, for each result.
    binning : {"mean", "lanczos"}
        How frames become volumes.

    Returns
    -------
    probability : array (n_volumes, classes) float64
        For each volume, the mean log-probability of the windows that overlap it, weighted by the
        overlap and normalised.
    activations : dict of arrays (n_volumes, units) float32
        For each stage, the mean of the frames (of all windows) whose centre lies inside the volume,
        or with "lanczos" their value in its middle. Units are channels x bands, flattened.

    Both, once per placement, describe the sound alone, also in a volume that it fills in part. They
    are NaN in volumes that begin (with "lanczos", have their middle) after the end of the clip.
    """
    import torch

    spec = network.spec
    heard = features
    if features.shape[1] < spec.n_frames:  # repeated until it fills a window
        heard = cut_windows(features, spec.n_frames, hop_frames)[0][0]
    starts = window_starts(heard.shape[1], spec.n_frames, hop_frames)
    with torch.inference_mode():
        sums, log_p = _sum_windows(network, heard, starts, placements, binning)
    length_s = features.shape[1] * spec.frame_s
    start_s, window_s = np.array(starts) * spec.frame_s, spec.n_frames * spec.frame_s
    results = []
    for placement, (totals, weight_sums) in zip(placements, sums, strict=True):
        volume_s = np.arange(placement.n_volumes) * placement.tr_s
        end_s = placement.phase_s + length_s
        if binning == "lanczos":  # beyond the end of the clip only the tails of the kernel count
            beyond = volume_s + placement.tr_s / 2 > end_s
            weight_sums = {name: np.where(beyond, np.nan, n) for name, n in weight_sums.items()}
        overlap_s = _window_overlap_s(placement.phase_s + start_s, window_s, placement)
        means = _weighted_means(totals, weight_sums)
        filled = {name: with_slivers(values, volume_s < end_s) for name, values in means.items()}
        results.append((_weighted_probability(overlap_s, log_p), filled))
    return results


def applied_volumes(
    trained: "AppliedNetwork", x: Any, placements: Sequence[Placement], binning: str = "mean"
) -> list[Volumes]:
    """Return the responses of any network to one clip; see `clip_volumes`.

    ``x`` is its input for the clip. A network of others has no probabilities: (n_volumes, 0).
    """
    if trained.has_windows:
        of_parts = {
            prefix: clip_volumes(part.network, x, part.hop_frames, placements, binning)
            for prefix, part in trained.parts.items()
        }
        return of_parts[""] if "" in of_parts else _together(trained, of_parts)
    frames = trained.frames_of(x)
    return [
        (np.zeros((each.n_volumes, 0)), frames_on_volumes(frames, each, binning))
        for each in placements
    ]


def _together(trained: "AppliedNetwork", of_parts: Mapping[str, list[Volumes]]) -> list[Volumes]:
    """Return the responses of an ensemble from those of its members, by their prefixes."""
    results = []
    for of_placement in zip(*of_parts.values(), strict=True):
        with np.errstate(divide="ignore"):  # a probability of 0
            log_p = [np.log(probability) for probability, _ in of_placement]
        stages = {
            f"{prefix}{name}": values
            for prefix, (_, of_part) in zip(of_parts, of_placement, strict=True)
            for name, values in of_part.items()
        }
        results.append((np.exp(trained.combined(log_p)), stages))
    return results


def frames_on_volumes(
    frames: Mapping[str, Timed], placement: Placement, binning: str = "mean"
) -> dict[str, NDArray[np.float32]]:
    """Return frames of a clip on the volumes of a presentation: stage -> (n_volumes, units).

    As `clip_volumes` does; if frames are further apart than volumes, they are interpolated to the
    middle of each volume. NaN in volumes that begin after the last frame has ended.
    """
    found, tr_s = {}, placement.tr_s
    volume_s = np.arange(placement.n_volumes) * tr_s
    for stage, each in frames.items():
        times_s = placement.phase_s + each.times_s
        end_s = times_s[-1] + each.frame_s
        values = each.values.astype(np.float64)
        if each.frame_s > tr_s:
            middle = volume_s + tr_s / 2
            laid = np.array([np.interp(middle, times_s, unit) for unit in values.T]).T
        else:
            weights = BINNINGS[binning](times_s, placement.n_volumes, tr_s)
            with np.errstate(invalid="ignore", divide="ignore"):
                laid = weights @ values / weights.sum(1)[:, None]
        is_played = volume_s < end_s
        laid[~is_played] = np.nan
        found[stage] = with_slivers(laid.astype(np.float32), is_played)
    return found


Sums = tuple[dict[str, "Tensor"], dict[str, NDArray[np.float64]]]


def _sum_windows(
    network: "Network",
    features: NDArray[np.float32],
    starts: Sequence[int],
    placements: Sequence[Placement],
    binning: str,
) -> tuple[list[Sums], NDArray[np.float64]]:
    """Apply a network to the windows of a clip.

    Returns, for each placement and stage, the weighted sum of its frames (n_volumes, units) and the
    sum of their weights (n_volumes,); and the log-probabilities (windows, classes).
    """
    import torch

    from neuromusic.models.inference import BATCH

    start_frames = np.array(starts)
    device = network.band_mean.device
    sums: list[Sums] = [({}, {}) for _ in placements]
    window_log_p = []
    length = network.spec.n_frames
    for first in range(0, len(starts), BATCH):
        batch = slice(first, first + BATCH)
        windows = np.array([features[:, s : s + length] for s in starts[batch]], np.float32)
        active = network.activations(torch.from_numpy(windows).to(device))
        window_log_p.append(torch.log_softmax(network.readout(active).double(), 1))
        for stage in network.stages:
            frames = active[stage.name].movedim(-1, 1)  # (windows, time, ...)
            centres = _frame_centres(start_frames[batch], stage, frames.shape[1])
            units = frames.to(torch.float64, memory_format=torch.contiguous_format).flatten(2)
            for placement, (totals, weight_sums) in zip(placements, sums, strict=True):
                times_s = placement.phase_s + centres * network.spec.frame_s
                near = _volumes_near(times_s, placement)
                begin_s = near.start * placement.tr_s
                weights = BINNINGS[binning](
                    times_s - begin_s, near.stop - near.start, placement.tr_s
                )
                total = torch.from_numpy(weights).to(device) @ units.flatten(0, 1)
                if stage.name not in totals:  # -0.0 + x has the bytes of x
                    totals[stage.name] = total.new_full((placement.n_volumes, total.shape[1]), -0.0)
                    weight_sums[stage.name] = np.zeros(placement.n_volumes)
                totals[stage.name][near] += total
                weight_sums[stage.name][near] += weights.sum(1)
    return sums, torch.cat(window_log_p).cpu().numpy()


def _volumes_near(times_s: NDArray[np.floating], placement: Placement) -> slice:
    """Return the volumes in which frames at some times may have a weight.

    All others of a long sound are left out, which would take memory and time.
    """
    first = math.floor(times_s.min() / placement.tr_s) - LOBES
    end = math.floor(times_s.max() / placement.tr_s) + LOBES + 1
    first = min(max(0, first), placement.n_volumes - 1)
    return slice(first, max(first + 1, min(end, placement.n_volumes)))


def _frame_centres(
    start_frames: NDArray[np.int64], stage: "Stage", n_frames: int
) -> NDArray[np.floating]:
    """Return the centres of a stage's frames in windows, in input frames from the clip's start."""
    within = np.arange(n_frames) * stage.pool + stage.centre
    return np.add.outer(start_frames, within).ravel()


def _window_overlap_s(
    begin_s: NDArray[np.floating], length_s: float, placement: Placement
) -> NDArray[np.float64]:
    """Return the seconds of each volume that each window overlaps, (n_volumes, windows)."""
    volume_s = np.arange(placement.n_volumes)[:, None] * placement.tr_s
    end_s = np.minimum(volume_s + placement.tr_s, begin_s + length_s)
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


def with_slivers(values: NDArray[np.float32], is_played: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return volumes (n_volumes, units) whose first and last, if NaN, have a neighbour's value.

    A sound that begins shortly before the end of a volume, or ends shortly after the beginning of
    one, may have no frame there. ``is_played`` (n_volumes,) are the volumes before its end.
    """
    missing = np.isnan(values).all(1) & is_played
    for edge, inside in ((0, 1), (len(values) - 1, len(values) - 2)):
        if len(values) > 1 and missing[edge]:
            values[edge] = values[inside]
    return values


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
