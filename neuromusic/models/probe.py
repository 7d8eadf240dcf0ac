"""Measure where the frames of any network's stages lie on its input, and how far they reach.

The hop comes from the lengths of input at which a stage gains a frame. The input that a frame
depends on, and so its centre and extent, comes from the gradient of that frame with respect to the
input, or for a network without gradients from replacing its input up to, or from, each position.
"""

import math
import weakref
from dataclasses import dataclass

import torch
from torch import nn

from neuromusic.core.errors import InputError
from neuromusic.models.external import External
from neuromusic.models.probe_runs import Axes, Runs, Support

# A stage that depends on all of an input with this many frames and seconds is taken to depend on
# everything; so is one that depends on all of the longest input.
MOST_FRAMES, MOST_S = 80, 5.0
LEAST_S = 0.25  # of the shortest input that is tried


@dataclass(frozen=True)
class Timing:
    """Where the frames of a stage lie on the input, in samples, or in frames of a front end.

    Attributes
    ----------
    hop : float
        From one frame to the next.
    centre : float
        Position of the middle of what frame 0 depends on; frame k is k hops later.
    extent : float
        How many positions a frame depends on, from the first to the last one; infinite if a frame
        depends on everything before it, everything after it, or both.
    last : float
        Last position that frame 0 depends on; infinite if a frame depends on all that follows.
    rate_hz : float
        Positions per second.
    """

    hop: float
    centre: float
    extent: float
    last: float
    rate_hz: float

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.rate_hz

    @property
    def centre_s(self) -> float:
        """Seconds from the onset of the sound to the centre of frame 0."""
        return self.centre / self.rate_hz

    @property
    def extent_s(self) -> float:
        """Seconds of input that a frame depends on."""
        return self.extent / self.rate_hz

    @property
    def last_s(self) -> float:
        """Seconds from the onset of the sound to the last input that frame 0 depends on."""
        return self.last / self.rate_hz

    @property
    def uses_future(self) -> bool:
        """Whether a frame depends on input after its centre, by more than half a hop."""
        return self.last - self.centre > self.hop / 2


Measured = tuple[dict[str, Timing], bool]  # and whether the network takes inputs of one length

_CACHE: "weakref.WeakKeyDictionary[nn.Module, dict[str, Measured]]" = weakref.WeakKeyDictionary()


def probe(external: External) -> dict[str, Timing]:
    """Measure hop, centre and extent of each stage of a network that has a time axis.

    Parameters
    ----------
    external : External
        The network; a copy of it is run on the CPU.

    Returns
    -------
    dict of str to Timing
        Stage -> where its frames lie. Stages without a time axis are left out. If a frame depends
        on everything, so that the middle of its extent says nothing, its centre is that of a
        network whose frames lie symmetrically on the shortest input with as many of them.

    Raises
    ------
    InputError
        If the network cannot be run, or the axis of a stage that should be time has the same
        length for any sound.

    Examples
    --------
    >>> import neuromusic as nm
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160), nn.ReLU())
    >>> network = nm.External(net, stages={"conv": "2"}, rate_hz=16_000)
    >>> timing = probe(network)["conv"]
    >>> timing.hop, timing.centre, timing.extent
    (160.0, 199.5, 400.0)
    """
    return _measured(external)[0]


def takes_one_length(external: External) -> bool:
    """Return whether a network runs only on inputs that last ``context_s``."""
    return _measured(external)[1]


def _measured(external: External) -> Measured:
    """Return the timing of the stages, and whether the network takes inputs of only one length."""
    axes = {
        stage: (module, axis)
        for stage, module in external.stages.items()
        if (axis := external.axis(stage)) is not None
    }
    if not axes:
        return {}, True
    key = repr((axes, external.rate_hz, external.front_end, external.context_s))
    known = _CACHE.setdefault(external.module, {})
    if key not in known:
        # A caller may be in inference mode, where there are no gradients; all ways without them
        # are far slower.
        with torch.inference_mode(False), torch.enable_grad():
            known[key] = probe_axes(external, axes)
    return known[key]


def probe_axes(external: External, axes: Axes) -> Measured:
    """Measure the timing of modules: key -> (dotted name, axis of time); see `probe`."""
    runs = Runs(external, axes)
    context = runs.context
    if context is not None and runs.works(context) and not runs.works(2 * context):
        return {stage: _of_fixed_length(runs, stage, context) for stage in axes}, True
    length = shortest(runs)
    supports: dict[str, Support] = {}
    lengths: dict[str, int] = {}
    pending = list(axes)
    while pending:
        found = runs.supports(pending, length)
        tried, longer = length, min(2 * length, runs.most)
        is_longest = longer <= length or not runs.works(longer)
        for stage, support in found.items():
            supports[stage], lengths[stage] = support, length
        pending = [
            stage
            for stage in pending
            if not is_longest and not _is_settled(runs, found.get(stage), stage, length)
        ]
        length = longer
    timings = {
        stage: _timing(runs, stage, supports.get(stage), lengths.get(stage, tried))
        for stage in axes
    }
    return timings, False


def shortest(runs: Runs) -> int:
    """Return a length of input on which the network runs: the first power of two seconds."""
    length = max(32, round(LEAST_S * runs.rate_hz))
    while not runs.works(length):
        length *= 2
        if length > runs.most:
            raise InputError(
                f"{runs.name}: runs on no input of {LEAST_S:g} to {runs.most / runs.rate_hz:.3g} s "
                f"({runs.error}); if it needs a certain length, set context_s to it"
            )
    return length


def _is_settled(runs: Runs, support: Support | None, stage: str, length: int) -> bool:
    """Return whether a longer input would not change what is measured."""
    # The hop is measured from half the length, where the shorter inputs must work as well.
    if support is None or not runs.lengths(length // 4)[stage] < runs.lengths(length // 2)[stage]:
        return False
    if runs.lengths(length // 4)[stage] == 0:
        return False
    if support.is_inside:
        return True
    return runs.lengths(length)[stage] >= MOST_FRAMES and length >= MOST_S * runs.rate_hz


def _timing(runs: Runs, stage: str, support: Support | None, length: int) -> Timing:
    n_most, n_least = (runs.lengths(each)[stage] for each in (length, length // 2))
    if support is None or n_least == 0 or n_most == n_least:
        raise InputError(
            f"{runs.name}: stage {stage}: {runs.why_not_time(stage, length)}; set time_axis to "
            f"{{{stage!r}: AXIS}}, or to {{{stage!r}: None}} and context_s if its output has no "
            "time axis"
        )
    longest = runs.shortest_with(stage, n_most, length)
    shortest = runs.shortest_with(stage, n_least, length // 2)
    hop = (longest - shortest) / (n_most - n_least)
    return _at(support, hop, (longest - 1 - (n_most - 1) * hop) / 2, runs.rate_hz)


def _at(support: Support, hop: float, aligned: float, rate_hz: float) -> Timing:
    """Return the timing from what a frame depends on; ``aligned`` is the centre if all of it."""
    first, last = support.first - support.frame * hop, support.last - support.frame * hop
    if not support.is_inside:
        last = math.inf if support.reaches_end else last
        return Timing(hop, min(aligned, last), math.inf, last, rate_hz)
    return Timing(hop, (first + last) / 2, last - first + 1, last, rate_hz)


def _of_fixed_length(runs: Runs, stage: str, length: int) -> Timing:
    """Return the timing of a stage of a network that takes inputs of only one length."""
    n = runs.lengths(length)[stage]
    supports = [runs.supports([stage], length, share)[stage] for share in (0.25, 0.75)]
    hop = length / n
    inside = [support for support in supports if support.is_inside]
    if len(inside) == 2 and inside[0].frame < inside[1].frame:
        a, b = inside
        hop = (b.first + b.last - a.first - a.last) / 2 / (b.frame - a.frame)
    return _at((inside or supports)[0], hop, (length / n - 1) / 2, runs.rate_hz)
