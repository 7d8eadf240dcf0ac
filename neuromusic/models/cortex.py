"""The cortical family: A1 -> belt -> parabelt -> T2/T3 -> a GRU over time -> a readout.

After CORnet (Kubilius et al. 2018, bioRxiv 408385; 2019, arXiv 1909.06161), with areas of auditory
cortex instead of V1, V2, V4 and IT. The four networks differ in the processing inside and between
areas; they share the areas' sizes, the GRU and the readout. Every stage keeps a time axis.
`design.cortical_areas` lists the cortical area that each stage stands for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.design.cortical_areas import AREAS
from neuromusic.models.network import InputSpec, Network
from neuromusic.models.registry import register_model


@dataclass(frozen=True)
class Resolution:
    """Kernel and pooling of an area, the same in all four networks."""

    kernel: int  # number of bands; smallest number of frames
    band_pool: int
    frame_s: float  # longest frame period of its output


RESOLUTIONS = {
    "A1": Resolution(5, 4, 0.16),
    "belt": Resolution(3, 2, 0.16),
    "PB": Resolution(3, 2, 0.32),
    "T2T3": Resolution(3, 2, 0.64),
}


@dataclass(frozen=True)
class Size:
    """The width of each part."""

    areas: tuple[int, int, int, int]  # channels
    joint: int  # features per frame that enter the GRU
    gru: int  # units per direction
    summary: int  # features of each early area that enter the readout


SIZES = {
    "tiny": Size((8, 16, 32, 64), 64, 32, 32),
    "base": Size((16, 32, 64, 128), 128, 64, 64),
    "large": Size((32, 64, 128, 256), 256, 128, 128),
}


@dataclass(frozen=True)
class Plan:
    """The dimensions of an area at the frame rate of the input."""

    area: str
    n_in: int
    n_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]  # of the first convolution; pooling does the rest
    pool: tuple[int, int]


def plan_areas(spec: InputSpec, size: Size) -> list[Plan]:
    """Return the plans of the four areas for an input."""
    plans = []
    n_in, bands, pooled = spec.n_channels, spec.n_bands, 1
    for area, n_out in zip(AREAS, size.areas, strict=True):
        first = area is AREAS[0]
        resolution = RESOLUTIONS[area.name]
        # Pool as many frames as the area's longest frame period allows at this frame rate.
        time_pool = max(1, int(resolution.frame_s / (pooled * spec.frame_s) + 1e-9))
        # A1 spans about a quarter of a second at any frame rate.
        frames = max(resolution.kernel, int(0.26 / spec.frame_s)) if first else resolution.kernel
        # The input has by far the most bands and frames, so a stride does part of the pooling.
        time_stride = next(s for s in (3, 2, 1) if time_pool % s == 0) if first else 1
        # A front end with few bands is not pooled away.
        band_pool = resolution.band_pool if bands >= resolution.band_pool else 1
        band_stride = 2 if first and band_pool > 1 else 1
        plans.append(
            Plan(
                area.name, n_in, n_out, (resolution.kernel, frames + (frames + 1) % 2),
                (band_stride, time_stride),
                (band_pool // band_stride, time_pool // time_stride),
            )
        )  # fmt: skip
        n_in, bands, pooled = n_out, bands // band_pool, pooled * time_pool
    return plans


def feedforward_area(plan: Plan) -> nn.Sequential:
    """Return an area's convolution, pooling, normalisation and ReLU."""
    padding = (plan.kernel[0] // 2, plan.kernel[1] // 2)
    return nn.Sequential(
        nn.Conv2d(plan.n_in, plan.n_out, plan.kernel, plan.stride, padding, bias=False),
        nn.MaxPool2d(plan.pool),
        nn.BatchNorm2d(plan.n_out),
        nn.ReLU(),
    )


class Recurrent(nn.Module):
    """A recurrent area: s <- ReLU(norm(conv(x + s))), as in CORnet-R.

    All steps share the convolution; each step has its own normalisation.
    """

    def __init__(self, plan: Plan, steps: int) -> None:
        super().__init__()
        self.entry = feedforward_area(plan)
        self.conv = nn.Conv2d(plan.n_out, plan.n_out, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(plan.n_out) for _ in range(steps))
        self.relu = nn.ReLU()

    def path(self, steps: int) -> list[nn.Module]:
        """Return the modules on the path through n steps, in order."""
        return [self.entry, *[self.conv] * steps]

    def step(self, x: Tensor, state: Tensor | None, index: int) -> Tensor:
        """Return the next state (B, channels, bands, time) from the input and the last state."""
        drive = x if state is None else x + state
        new: Tensor = self.relu(self.norms[index](self.conv(drive)))
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Return the last state."""
        x = self.entry(x)
        state = None
        for index in range(len(self.norms)):
            state = self.step(x, state, index)
        assert state is not None
        return state


class _SharedConv(nn.Conv2d):
    """A 3x3 convolution whose kernel is used with several strides."""

    def forward(self, x: Tensor, stride: tuple[int, int] | int = 1) -> Tensor:
        return F.conv2d(x, self.weight, stride=stride, padding=1)


class Bottleneck(nn.Module):
    """An area of CORnet-S: expand, convolve, shrink, add the skip; repeated with shared weights.

    The first pass pools through the stride of its convolution and of the skip; each pass has its
    own normalisation.
    """

    EXPAND = 4

    def __init__(self, plan: Plan, steps: int) -> None:
        super().__init__()
        wide = self.EXPAND * plan.n_out
        self.entry = nn.Conv2d(plan.n_in, plan.n_out, 1, bias=False)
        self.skip = nn.Conv2d(plan.n_out, plan.n_out, 1, stride=plan.pool, bias=False)
        self.skip_norm = nn.BatchNorm2d(plan.n_out)
        self.expand = nn.Conv2d(plan.n_out, wide, 1, bias=False)
        self.conv = _SharedConv(wide, wide, 3, padding=1, bias=False)
        self.stride = plan.pool  # of the first pass
        self.shrink = nn.Conv2d(wide, plan.n_out, 1, bias=False)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(n) for _ in range(steps) for n in (wide, wide, plan.n_out)
        )
        self.steps = steps
        self.relu = nn.ReLU()

    def path(self) -> list[nn.Module]:
        """Return the modules on the longest path, in order."""
        first = nn.AvgPool2d(3, self.stride, padding=1)  # as the convolution with this stride
        return [first, *[self.conv] * (self.steps - 1)]

    def forward(self, x: Tensor) -> Tensor:
        """Return the state after all passes, (B, channels, bands, time)."""
        x = self.entry(x)
        for index in range(self.steps):
            first, second, third = self.norms[3 * index : 3 * index + 3]
            skip = self.skip_norm(self.skip(x)) if index == 0 else x
            y = self.relu(first(self.expand(x)))
            stride = self.stride if index == 0 else 1
            y = self.relu(second(self.conv(y, stride)))
            x = self.relu(third(self.shrink(y)) + skip)
        return x


class Cortex(Network):
    """The areas in sequence, a GRU over time, and a readout of all of them."""

    least_frames = 2  # the GRU needs a sequence

    def __init__(
        self, spec: InputSpec, size: str, dropout: float, build: Callable[[Plan], nn.Module]
    ) -> None:
        super().__init__(spec)
        if size not in SIZES:
            raise InputError(
                f"model.options.size: {size!r} is not one of {', '.join(SIZES)}"
                f"{did_you_mean(size, list(SIZES))}"
            )
        width = SIZES[size]
        self.areas = nn.ModuleDict({plan.area: build(plan) for plan in plan_areas(spec, width)})
        names = list(self.areas)
        units = [
            n * self.geometry(name).size[0] for n, name in zip(width.areas, names, strict=True)
        ]
        self.joint = nn.Sequential(
            nn.Linear(units[-1], width.joint),
            nn.LayerNorm(width.joint),
            nn.ReLU(),
            nn.Dropout(dropout / 2),
        )
        self.gru = nn.GRU(width.joint, width.gru, batch_first=True, bidirectional=True)
        self.set_stages([*names, "GRU"], {area.name: (area.title, area.brodmann) for area in AREAS})
        self.summaries = nn.ModuleList(
            nn.Sequential(nn.Dropout(0.1), nn.Linear(n, width.summary)) for n in units[:-1]
        )
        n_out = 3 * (2 * width.gru + width.summary * len(self.summaries))
        self.decoder = nn.Sequential(
            nn.BatchNorm1d(n_out), nn.Dropout(dropout), nn.Linear(n_out, spec.n_classes)
        )

    def area_path(self, name: str, is_last: bool) -> list[nn.Module]:
        """Return the modules inside an area, on the path through it or to its own output."""
        area = self.areas[name]
        if isinstance(area, Recurrent):
            return area.path(len(area.norms))
        return area.path() if isinstance(area, Bottleneck) else [area]

    def path(self, stage: str) -> list[nn.Module]:
        """See `Network.path`."""
        names = list(self.areas)
        passed = names[: names.index(stage) + 1] if stage in names else names
        modules = [m for name in passed for m in self.area_path(name, name == passed[-1])]
        return modules if stage in names else [*modules, self.gru]

    def part(self, stage: str) -> list[nn.Module]:
        """See `Network.part`."""
        return [self.areas[stage]] if stage in self.areas else [self.joint, self.gru]

    def areas_of(self, x: Tensor) -> dict[str, Tensor]:
        """Return area -> (B, channels, bands, time) for the standardised input."""
        out = {}
        for name, area in self.areas.items():
            x = out[name] = area(x)
        return out

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """See `Network.activations`."""
        out = self.areas_of(self.standardise(x))
        frames = out["T2T3"].flatten(1, 2).transpose(1, 2)  # (B, time, channels x bands)
        sequence, _ = self.gru(self.joint(frames))  # (B, time, 2 x gru)
        out["GRU"] = sequence.transpose(1, 2)
        return out

    def readout(self, active: dict[str, Tensor]) -> Tensor:
        """Apply one linear layer to temporal statistics of the GRU and of each early area.

        The last area reaches the readout only through the GRU.
        """
        features = [temporal_statistics(active["GRU"].transpose(1, 2))]
        for name, summary in zip(self.areas, self.summaries, strict=False):
            frames = active[name].flatten(1, 2).transpose(1, 2)  # (B, time, channels x bands)
            features.append(temporal_statistics(summary(frames)))
        logits: Tensor = self.decoder(torch.cat(features, dim=1))
        return logits


class Unrolled(Cortex):
    """Areas in biological time, as in CORnet-RT: activity advances by one area per step.

    The input of an area is the output of the previous area in the previous step, and its own last
    state. A1 is active in every step, T2/T3 only in the last ones.
    """

    def __init__(self, spec: InputSpec, size: str, dropout: float, steps: int) -> None:
        late = {area.name: steps - index for index, area in enumerate(AREAS)}
        if min(late.values()) < 1:
            raise InputError(
                f"model.options.steps: {steps} is too few for {len(AREAS)} areas; "
                f"set at least {len(AREAS)}"
            )
        self.active_steps = late
        super().__init__(spec, size, dropout, lambda plan: Recurrent(plan, late[plan.area]))

    def area_path(self, name: str, is_last: bool) -> list[nn.Module]:
        """See `Cortex.area_path`; the longest path takes all steps in the area in which it ends."""
        area = self.areas[name]
        assert isinstance(area, Recurrent)
        return area.path(self.active_steps[name] if is_last else 1)

    def areas_of(self, x: Tensor) -> dict[str, Tensor]:
        """See `Cortex.areas_of`."""
        areas = {name: area for name, area in self.areas.items() if isinstance(area, Recurrent)}
        state: dict[str, Tensor] = {}
        entered = areas["A1"].entry(x)  # the input is the same in every step
        for step in range(self.active_steps["A1"]):
            new = {}
            for index, (name, area) in enumerate(areas.items()):
                if step < index:  # activity has not arrived yet
                    break
                drive = entered if index == 0 else area.entry(state[AREAS[index - 1].name])
                new[name] = area.step(drive, state.get(name), step - index)
            state = new
        return state


def temporal_statistics(x: Tensor) -> Tensor:
    """Return mean, SD and mean absolute change over time: (B, time, n) -> (B, 3 n)."""
    deviation = (x.var(1, unbiased=False) + 1e-4).sqrt()
    change = x.diff(dim=1).abs().mean(1)
    return torch.cat([x.mean(1), deviation, change], dim=1)


@register_model("cortex-z")
def cortex_z(spec: InputSpec, size: str = "base", dropout: float = 0.4) -> Cortex:
    """Feed-forward, as CORnet-Z: convolution, pooling, normalisation and ReLU in each area."""
    return Cortex(spec, size, dropout, feedforward_area)


@register_model("cortex-r")
def cortex_r(spec: InputSpec, size: str = "base", dropout: float = 0.4, steps: int = 3) -> Cortex:
    """Each area recurrent on itself for some steps, as in CORnet-R."""
    return Cortex(spec, size, dropout, lambda plan: Recurrent(plan, steps))


@register_model("cortex-rt")
def cortex_rt(
    spec: InputSpec, size: str = "base", dropout: float = 0.4, steps: int = 5
) -> Unrolled:
    """Each area recurrent on itself, all areas unrolled in biological time, as in CORnet-RT."""
    return Unrolled(spec, size, dropout, steps)


# Passes through an area, as those of V2, V4 and IT in CORnet-S.
PASSES = {"belt": 2, "PB": 4, "T2T3": 2}


@register_model("cortex-s")
def cortex_s(spec: InputSpec, size: str = "base", dropout: float = 0.4) -> Cortex:
    """Repeated bottlenecks with a skip and shared weights, as in CORnet-S; A1 is feed-forward."""

    def build(plan: Plan) -> nn.Module:
        is_repeated = plan.area in PASSES
        return Bottleneck(plan, PASSES[plan.area]) if is_repeated else feedforward_area(plan)

    return Cortex(spec, size, dropout, build)
