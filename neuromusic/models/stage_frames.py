"""Frames of each stage of any network for whole sounds, with their times."""

from collections.abc import Sequence
from math import floor, lcm
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.features.timed import Timed
from neuromusic.features.windows import cut_windows
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.inference import BATCH
from neuromusic.models.network import Network
from neuromusic.models.stored import Responses, Sound

Array = NDArray[np.float32]


def stage_frames(trained: AppliedNetwork, x: Any) -> dict[str, Timed]:
    """Return the frames of each stage of a network for one sound.

    Parameters
    ----------
    trained : AppliedNetwork
        The network.
    x : array (bands, frames) float32, or what a network of others takes
        Its input, see `AppliedNetwork.input_of`.

    Returns
    -------
    dict of str to Timed
        Stage -> (frames, units) float32. A network with windows of a fixed length is applied to
        overlapping ones, and each frame is taken from the window in which it is furthest from the
        ends. A stage with a single frame per window has one per window. A sound shorter than the
        window is repeated to fill one, and only the frames of its first presentation are returned.

    Raises
    ------
    InputError
        If windows are shorter than the time after which frames of all stages coincide, or an
        activation is NaN or infinite.
    """
    if not trained.has_windows:
        return trained.frames_of(x)
    found = {
        f"{prefix}{stage}": timed
        for prefix, part in trained.parts.items()
        for stage, timed in _from_windows(part, x).items()
    }
    for stage, timed in found.items():
        if not np.isfinite(timed.values).all():
            raise InputError(
                f"{trained.directory}: stage {stage}: its activations contain NaN or infinity; "
                "check the network and its weights"
            )
    return found


def frames_of_sound(
    responses: Responses, trained: AppliedNetwork, sound: Sound
) -> dict[str, Timed]:
    """Return the frames of each stage for one sound; see `stage_frames`."""

    def compute(x: Any) -> dict[str, NDArray[Any]]:
        found = {}
        for stage, each in stage_frames(trained, x).items():
            found[f"{stage} values"] = each.values
            found[f"{stage} times"] = np.array([each.frame_s, each.first_frame_s])
        return found

    arrays = responses.of(sound, ["frames"], compute)
    stages = [name.removesuffix(" values") for name in arrays if name.endswith(" values")]
    return {
        stage: Timed(arrays[f"{stage} values"], *map(float, arrays[f"{stage} times"]))
        for stage in stages
    }


@torch.inference_mode()
def _from_windows(trained: AppliedNetwork, x: Array) -> dict[str, Timed]:
    network, n = trained.network, x.shape[1]
    width, frame_s = network.spec.n_frames, network.spec.frame_s
    if n < width:
        x = cut_windows(x, width, width)[0][0]
    n_frames = {name: len(each[0]) for name, each in _activations(network, x, [0]).items()}
    # A stage with one frame per window has no spacing of its own: it gets that of the windows.
    pools = {each.name: int(each.pool) for each in network.stages if n_frames[each.name] > 1}
    grid = lcm(*pools.values())
    covered = min([width, *(pool * n_frames[name] for name, pool in pools.items())])
    if grid > covered:
        raise InputError(
            f"{trained.directory}: its windows of {width * frame_s:.3g} s are too short for the "
            f"{grid * frame_s:.3g} s after which frames of all stages coincide; train with a "
            "larger data.window_s"
        )
    hop = max(min(trained.hop_frames, covered) // grid, 1) * grid
    regular = list(range(0, x.shape[1] - width + 1, hop))
    # The last window of a stage is the last that begins on one of its frames.
    last = {(x.shape[1] - width) // pool * pool for pool in pools.values()}
    starts = sorted({*regular, *last})
    windows = _activations(network, x, starts)
    found = {}
    for stage in network.stages:
        if stage.name not in pools:
            values = [windows[stage.name][starts.index(start)] for start in regular]
            step, parts = hop, np.concatenate(values)
        else:
            step = pools[stage.name]
            own = [number for number, start in enumerate(starts) if start % step == 0]
            parts = _joined(
                [windows[stage.name][number] for number in own],
                [starts[number] for number in own], width, step, stage.centre,
            )  # fmt: skip
        heard = stage.centre + step * np.arange(len(parts)) < n  # not what was repeated
        heard[0] = True
        found[stage.name] = Timed(parts[heard], step * frame_s, stage.centre * frame_s)
    return found


def _activations(network: Network, x: Array, starts: Sequence[int]) -> dict[str, list[Array]]:
    """Return stage -> (frames, units) of each window."""
    device, width = network.band_mean.device, network.spec.n_frames
    found: dict[str, list[Array]] = {stage.name: [] for stage in network.stages}
    for begin in range(0, len(starts), BATCH):
        cut = np.stack([x[:, start : start + width] for start in starts[begin : begin + BATCH]])
        active = network.activations(torch.from_numpy(cut).to(device))
        for name, windows in found.items():  # (windows, ..., time) -> (windows, time, units)
            units = active[name].movedim(-1, 1).flatten(2)
            windows += list(units.float().cpu().numpy())
    return found


def _joined(
    parts: Sequence[Array], starts: Sequence[int], width: int, step: int, centre: float
) -> Array:
    """Return the frames of a sound (frames, units) from those of its windows.

    Two windows are divided at the middle of their overlap, where a frame is as far from the end of
    the first as from the beginning of the second.
    """
    pieces, begin = [], 0
    for number, (part, start) in enumerate(zip(parts, starts, strict=True)):
        offset = start // step
        end = offset + len(part)
        if number + 1 < len(parts):
            following = starts[number + 1]
            middle = (start + following + width - 1) / 2
            end = min(end, max(floor((middle - centre) / step) + 1, following // step))
        pieces.append(part[begin - offset : end - offset])
        begin = end
    return np.concatenate(pieces)
