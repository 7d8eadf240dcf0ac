"""Let a network from outside hear sounds: from a wave to frames of each stage, with their times."""

import traceback
from fractions import Fraction
from math import floor, isfinite, lcm

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromusic.core.errors import InputError, listed
from neuromusic.features.timed import Timed
from neuromusic.models.external import External
from neuromusic.models.hooks import outputs_of
from neuromusic.models.inference import best_device
from neuromusic.models.probe import Timing, probe, takes_one_length
from neuromusic.stimuli.audio import RATE_HZ

MOST_VALUES = 1 << 21  # of input in one batch of windows


def activations_of(
    external: External, wave: NDArray[np.floating], rate_hz: float, sound: str = "the sound"
) -> dict[str, Timed]:
    """Return the frames of each stage of a network for one sound.

    The network runs on the GPU if there is one, and stays there. A sound longer than ``context_s``
    is cut into overlapping windows; each frame is taken from the window in which it is furthest
    from the ends. Where the extent of a stage allows, the result is that of the whole sound.

    Parameters
    ----------
    external : External
        The network.
    wave : float array (samples,)
        A mono sound.
    rate_hz : float
        Its sample rate in Hz; it is resampled to that of the network.
    sound : str
        Name of the sound, for messages.

    Returns
    -------
    dict of str to Timed
        Stage -> its frames, (frames, units) float32, in the order of ``external.stages``. The axes
        other than time are flattened into units.

    Raises
    ------
    InputError
        If the network fails, its activations are NaN or infinite, or the sound is too short.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromusic as nm
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160), nn.ReLU())
    >>> network = nm.External(net, stages={"conv": "2"}, rate_hz=16_000)
    >>> wave = np.random.default_rng(0).standard_normal(32_000)
    >>> conv = activations_of(network, wave, 16_000)["conv"]
    >>> conv.values.shape, conv.frame_s
    ((198, 8), 0.01)
    """
    return frames_of(external, input_of(external, wave, rate_hz, sound), sound)


def frames_of(external: External, x: Tensor, sound: str = "the sound") -> dict[str, Timed]:
    """Return the frames of each stage for an input of `input_of`; see `activations_of`."""
    if not external.stages:
        raise InputError(
            f"{external.name}: has no stages; name some with stages={{'conv1': 'MODULE'}} "
            "('neuromusic models FILE' lists the modules)"
        )
    timings = probe(external)
    in_windows = [stage for stage in external.stages if stage not in timings]
    found: dict[str, Timed] = {}
    if timings:
        found |= _stages_in_time(external, timings, x, sound)
    if in_windows:
        found |= _stages_in_windows(external, in_windows, x, sound)
    for stage, timed in found.items():
        if not np.isfinite(timed.values).all():
            raise InputError(
                f"{external.name}: stage {stage}: its activations of {sound} contain NaN or "
                "infinity; check the network and its weights"
            )
    return {stage: found[stage] for stage in external.stages}


def resample(wave: NDArray[np.floating], from_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Return a mono wave (samples,) at another sample rate, by soxr at high quality."""
    samples = np.ascontiguousarray(wave, dtype=np.float32)
    if from_hz == to_hz:
        return samples
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return resampled


def input_of(
    external: External, wave: NDArray[np.floating], rate_hz: float, sound: str = "the sound"
) -> Tensor:
    """Return what a network takes for a mono wave: (samples,), or (rows, frames) of its front end.

    Raises InputError if the wave is not mono, or contains NaN or infinity.
    """
    if wave.ndim != 1:
        raise InputError(f"{sound}: expected a mono wave (samples,), got shape {wave.shape}")
    if not np.isfinite(wave).all():
        raise InputError(f"{sound}: contains NaN or infinite samples; write it again")
    spec = external.spec
    if spec is None:
        assert external.rate_hz is not None
        return torch.from_numpy(resample(wave, rate_hz, external.rate_hz))
    own_hz = float(getattr(spec, "rate_hz", RATE_HZ))
    return torch.from_numpy(np.ascontiguousarray(spec.compute(resample(wave, rate_hz, own_hz))))


# --- Running ----------------------------------------------------------------------------------


@torch.inference_mode()
def _run(external: External, stages: list[str], x: Tensor, sound: str) -> dict[str, Tensor]:
    """Return stage -> output for a batch of inputs (batch, ...), on the CPU."""
    device = best_device()
    module = external.module.to(device).eval()
    names = {stage: external.stages[stage] for stage in stages}
    with outputs_of(module, names) as outputs:
        try:
            module(x.to(device))
        except InputError:
            raise
        except Exception as error:  # the user's own code may raise anything
            missing = [stage for stage in stages if stage not in outputs]
            if missing:  # what follows the last stage may need inputs of one length
                raise _failure(external, missing, x, sound, error) from None
    missing = [stage for stage in stages if stage not in outputs]
    if missing:
        raise InputError(
            f"{external.name}: stage {missing[0]}: module {external.stages[missing[0]]!r} is not "
            "called when the network runs, or returns no tensor; name another one"
        )
    return {stage: output.float().cpu() for stage, output in outputs.items()}


def _failure(
    external: External, missing: list[str], x: Tensor, sound: str, error: Exception
) -> InputError:
    where = traceback.extract_tb(error.__traceback__)[-1]
    length_s = x.shape[-1] / external.input_rate_hz
    return InputError(
        f"{external.name}: fails on {length_s:.2f} s of {sound} before stage {listed(missing)}: "
        f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno}); input of shape "
        f"{tuple(x.shape)}; if the sound is too short for the network, leave it out"
    )


def _run_windows(
    external: External, stages: list[str], windows: list[Tensor], sound: str
) -> dict[str, list[Tensor]]:
    """Return stage -> one output (1, ...) per window; windows of equal length share a batch."""
    found: dict[str, list[Tensor]] = {stage: [] for stage in stages}
    most = max(1, MOST_VALUES // windows[0].numel())
    start = 0
    while start < len(windows):
        stop = start + 1
        while (
            stop < min(start + most, len(windows)) and windows[stop].shape == windows[start].shape
        ):
            stop += 1
        outputs = _run(external, stages, torch.stack(windows[start:stop]), sound)
        for stage, output in outputs.items():
            found[stage] += output.split(1)
        start = stop
    return found


def _frames(output: Tensor, axis: int) -> NDArray[np.float32]:
    """Return (frames, units) from the output (1, ...) of a stage."""
    frames = output.movedim(axis, 1).flatten(2) if output.ndim > 2 else output[..., None]
    values: NDArray[np.float32] = frames[0].contiguous().numpy()
    return values


# --- Stages with a time axis ------------------------------------------------------------------


def _stages_in_time(
    external: External, timings: dict[str, Timing], x: Tensor, sound: str
) -> dict[str, Timed]:
    starts, width = _window_starts(external, timings, x.shape[-1], sound)
    windows = [x[..., start : start + width] for start in starts]
    if not takes_one_length(external):
        windows[-1] = x[..., starts[-1] :]
    outputs = _run_windows(external, list(timings), windows, sound)
    found = {}
    for stage, timing in timings.items():
        axis = external.axis(stage)
        assert axis is not None
        parts = [_frames(output, axis) for output in outputs[stage]]
        values = parts[0] if len(parts) == 1 else _joined(parts, starts, width, timing)
        first_s = timing.last_s if external.causal else timing.centre_s
        if not isfinite(first_s):
            raise InputError(
                f"{external.name}: stage {stage}: depends on all that follows a frame, so the "
                "network is not causal; set causal=False"
            )
        found[stage] = Timed(values, timing.hop_s, first_s)
    return found


def _window_starts(
    external: External, timings: dict[str, Timing], n: int, sound: str
) -> tuple[list[int], int]:
    """Return the starts of the windows of a sound of n samples or frames, and their length."""
    if external.context_s is None:
        return [0], n
    width = _width(external)
    if n < width and takes_one_length(external):
        raise _too_short(external, n, sound)
    if n <= width:
        return [0], n
    # Windows start on a frame of every stage, and every extent fits into the overlap of two.
    hops = [Fraction(timing.hop).limit_denominator(64) for timing in timings.values()]
    grid = lcm(*(hop.numerator for hop in hops))
    overlap = max(min(t.extent + t.hop, width / 2) for t in timings.values())
    step = max(int((width - overlap) // grid), 1) * grid
    if step > width:
        raise InputError(
            f"{external.name}: context_s: {external.context_s:g} s is shorter than the "
            f"{grid / external.input_rate_hz:.3g} s after which frames of all stages coincide; set "
            "at least twice that, or leave context_s out"
        )
    starts = list(range(0, n - width + 1, step))
    last = (n - width) // grid * grid
    return starts if last <= starts[-1] else [*starts, last], width


def _joined(
    parts: list[NDArray[np.float32]], starts: list[int], width: int, timing: Timing
) -> NDArray[np.float32]:
    """Return the frames of a whole sound (frames, units) from those of its windows.

    Between two windows, frames are divided at the middle of their overlap. If a frame depends on
    all that precedes it, but on nothing that follows, the earlier window is used to its end.
    """
    offsets = [round(start / timing.hop) for start in starts]
    is_causal = isfinite(timing.last) and not isfinite(timing.extent)
    pieces, begin = [], 0
    for i, (part, offset) in enumerate(zip(parts, offsets, strict=True)):
        end = offset + len(part)
        if i + 1 < len(parts):
            if is_causal:
                cut = (starts[i] + width - 1 - timing.last) / timing.hop + 1
            else:
                cut = ((starts[i] + width + starts[i + 1]) / 2 - timing.centre) / timing.hop
            end = min(end, max(floor(cut), offsets[i + 1]))
        pieces.append(part[begin - offset : end - offset])
        begin = end
    return np.concatenate(pieces)


# --- Stages without a time axis -----------------------------------------------------------------


def _stages_in_windows(
    external: External, stages: list[str], x: Tensor, sound: str
) -> dict[str, Timed]:
    """Return the values of stages for windows that slide over the sound."""
    width, n = _width(external), x.shape[-1]
    if n < width:
        raise _too_short(external, n, sound)
    stride = external.stride_s * external.input_rate_hz
    # The number of samples between two windows may vary by one, but not their mean distance.
    starts = [round(i * stride) for i in range(int((n - width) / stride + 1e-9) + 1)]
    starts = [start for start in starts if start + width <= n]
    outputs = _run_windows(external, stages, [x[..., s : s + width] for s in starts], sound)
    last = width - 1
    stamp_s = (last if external.stamp == "end" else last / 2) / external.input_rate_hz
    return {
        stage: Timed(torch.cat(outputs[stage]).flatten(1).numpy(), external.stride_s, stamp_s)
        for stage in stages
    }


def _width(external: External) -> int:
    """Return the number of samples, or frames of the front end, of a window."""
    assert external.context_s is not None
    return max(1, round(external.context_s * external.input_rate_hz))


def _too_short(external: External, n: int, sound: str) -> InputError:
    return InputError(
        f"{external.name}: {sound} lasts {n / external.input_rate_hz:.2f} s, but the network hears "
        f"{external.context_s:g} s at once; use longer sounds, a shorter context_s if the network "
        "allows, or only stages that need no window"
    )
