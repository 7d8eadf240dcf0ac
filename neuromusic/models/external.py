"""Networks from outside: any torch module with named stages, and how it is to hear sound."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.features.frontends import base as frontends
from neuromusic.features.frontends.base import FrontEnd
from neuromusic.models.hooks import submodule

Stamp = Literal["end", "centre"]
STAMPS = ("end", "centre")
LEAST_RATE_HZ = 1000  # a lower rate is a frame rate or kHz by mistake


@dataclass(frozen=True)
class External:
    """Any torch network, and how it is to hear sound.

    Its input is a wave (batch, samples) at ``rate_hz``, or the output (batch, rows, frames) of one
    of our front ends; give exactly one of the two.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is used in evaluation mode.
    stages : mapping of str to str
        Name of each stage -> dotted name of the module whose output it is, as in
        ``module.named_modules()``; "" is the network itself. Without stages, a network can only be
        listed (`neuromusic models FILE`).
    rate_hz : int, optional
        Sample rate of the wave in Hz.
    front_end : str or front end, optional
        Name of a front end, such as "logmel", or its parameters, such as ``MelSpec(n_mels=64)``.
    time_axis : mapping of str to int or None
        Stage -> axis of time in the module's output (batch, ...); -1, the last one, if not named.
        None: the output has no time axis, so the network is applied in sliding windows.
    context_s : float, optional
        Length in seconds of what the network hears at once. Longer sounds are cut into windows of
        this length. By default the whole sound.
    stride_s : float
        Seconds from one sliding window to the next, for stages without a time axis.
    stamp : {"end", "centre"}
        Which time of its window a value of a stage without a time axis is given.
    causal : bool
        Frames of stages with a time axis are given the time of the last input that they depend on,
        instead of the centre of their extent; so no frame uses input after its time.
    name : str
        Name in tables and figures.
    classes : sequence of str
        Names of the values of the network's own output, if it is a classifier.

    Raises
    ------
    InputError
        If a setting is impossible, or a module name is unknown.

    Examples
    --------
    >>> import neuromusic as nm
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160), nn.ReLU())
    >>> network = nm.External(net, stages={"conv": "2"}, rate_hz=16_000, name="my-net")
    >>> network.input_rate_hz
    16000.0
    """

    module: nn.Module
    stages: Mapping[str, str] = field(default_factory=dict)
    rate_hz: int | None = None
    front_end: str | FrontEnd | None = None
    time_axis: Mapping[str, int | None] = field(default_factory=dict)
    context_s: float | None = None
    stride_s: float = 0.1
    stamp: Stamp = "end"
    causal: bool = False
    name: str = "network"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_input()
        self._check_stages()
        self._check_windows()
        object.__setattr__(self, "classes", tuple(self.classes))
        self.module.eval()

    def axis(self, stage: str) -> int | None:
        """Return the axis of time of a stage's output; None if it has none."""
        return self.time_axis.get(stage, -1)

    @property
    def spec(self) -> FrontEnd | None:
        """The front end that computes the input; None for a wave."""
        if isinstance(self.front_end, str):
            return frontends.front_end(self.front_end)
        return self.front_end

    @property
    def input_rate_hz(self) -> float:
        """Samples, or frames of the front end, per second."""
        spec = self.spec
        if spec is not None:
            return 1 / spec.frame_s
        assert self.rate_hz is not None
        return float(self.rate_hz)

    def settings(self) -> dict[str, Any]:
        """Return what describes this network in a record, as plain values, without its weights."""
        spec = self.spec
        return {
            "name": self.name,
            "stages": dict(self.stages),
            "rate_hz": self.rate_hz,
            "front_end": None if spec is None else frontends.describe(spec),
            "time_axis": {stage: self.axis(stage) for stage in self.stages},
            "context_s": self.context_s,
            "stride_s": self.stride_s,
            "stamp": self.stamp,
            "causal": self.causal,
            "classes": list(self.classes),
        }

    def _check_input(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise InputError(
                f"{self.name}: module: expected a torch.nn.Module, got {type(self.module).__name__}"
            )
        if (self.rate_hz is None) == (self.front_end is None):
            raise InputError(
                f"{self.name}: give either rate_hz, if the network takes samples, or front_end"
            )
        if self.rate_hz is not None and not self.rate_hz >= LEAST_RATE_HZ:
            raise InputError(
                f"{self.name}: rate_hz: is {self.rate_hz}; expected the sample rate in Hz, such as "
                "16000"
            )
        if isinstance(self.front_end, str):
            frontends.front_end(self.front_end)

    def _check_stages(self) -> None:
        for stage, module in self.stages.items():
            try:
                submodule(self.module, module)
            except InputError as error:
                raise InputError(f"{self.name}: stage {stage}: {error}") from None
        for stage in self.time_axis:
            if stage not in self.stages:
                raise InputError(
                    f"{self.name}: time_axis: unknown stage {stage!r}; expected one of "
                    f"{listed(self.stages)}{did_you_mean(stage, self.stages)}"
                )

    def _check_windows(self) -> None:
        for what, value in (("context_s", self.context_s), ("stride_s", self.stride_s)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(
                    f"{self.name}: {what}: is {value}; expected a positive number of seconds"
                )
        if self.stamp not in STAMPS:
            raise InputError(f"{self.name}: stamp: is {self.stamp!r}; expected 'end' or 'centre'")
        for stage in self.stages:
            if self.axis(stage) is None and self.context_s is None:
                raise InputError(
                    f"{self.name}: stage {stage}: has no time axis, so the network must be applied "
                    "in sliding windows; set context_s, the length of a window in seconds"
                )
