"""Run a copy of a network on random input: lengths of its stages, and what a frame depends on."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neuromusic.core.errors import InputError
from neuromusic.models.external import External
from neuromusic.models.hooks import outputs_of
from neuromusic.models.smooth import ShapesOnly, Smooth

Axes = Mapping[str, tuple[str, int]]  # key -> (dotted name of a module, axis of time)
N_INPUTS = 4  # random inputs whose supports are joined, if maxima may hide parts of the input
MOST_SAMPLES, MOST_BAND_FRAMES = 2**19, 2**12  # of the longest input


@dataclass(frozen=True)
class Support:
    """First and last position of the input that a frame depends on."""

    frame: int
    first: int
    last: int
    reaches_start: bool  # of the input, within about a hop: the ends may be unused
    reaches_end: bool

    @property
    def is_inside(self) -> bool:
        """Whether the frame depends on neither end of the input."""
        return not (self.reaches_start or self.reaches_end)


class Runs:
    """A copy of a network on the CPU, with the stages whose outputs are wanted."""

    def __init__(self, external: External, axes: Axes) -> None:
        self.name, self.rate_hz = external.name, external.input_rate_hz
        spec = external.spec
        self.n_rows = None if spec is None else spec.n_channels * spec.n_bands
        self.most = MOST_SAMPLES if spec is None else MOST_BAND_FRAMES
        context_s = external.context_s
        self.context = None if context_s is None else round(context_s * self.rate_hz)
        self.names = {key: name for key, (name, _) in axes.items()}
        self.axes = {key: axis for key, (_, axis) in axes.items()}
        self.module = _copy(external.module)
        self.error: Exception | None = None
        self._lengths: dict[int, dict[str, int]] = {}
        self._shapes: dict[int, dict[str, tuple[int, ...]]] = {}
        self._failed: dict[int, Exception] = {}
        self._meta: nn.Module | None = None
        self._way: tuple[nn.Module, torch.dtype, bool] | None = None  # how gradients are computed
        self._has_gradients = True

    # --- Lengths ----------------------------------------------------------------------------------

    def works(self, length: int) -> bool:
        """Return whether the network runs on an input of this length, up to all of the stages.

        What follows the last stage may fail: a readout may need inputs of one length.
        """
        complete = len(self.shapes(length)) == len(self.names)
        if not complete:
            self.error = self._failed.get(length)
        return complete

    def lengths(self, length: int) -> dict[str, int]:
        """Return the number of frames of each stage; 0 if the input is too short for it."""
        shapes = self.shapes(length)
        found = dict.fromkeys(self.names, 0)
        for key, shape in shapes.items():
            axis = self.axes[key]
            if -len(shape) < axis < len(shape) and axis != 0:
                found[key] = shape[axis]
        return found

    def shapes(self, length: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the stages' outputs (batch, ...) for an input of some length."""
        if length not in self._shapes:
            self._shapes[length] = self._measure_shapes(length)
        return self._shapes[length]

    def _measure_shapes(self, length: int) -> dict[str, tuple[int, ...]]:
        if length < 1:
            return {}
        if self._meta is not None:
            return self._shapes_on(self._meta, length, "meta")
        shapes = self._shapes_on(self.module, length, "cpu")
        if len(shapes) == len(self.names):
            # Tensors without values have the same shapes and take no time, if the network can run
            # on them.
            try:
                meta = copy.deepcopy(self.module).to("meta")
                if self._shapes_on(meta, length, "meta") == shapes:
                    self._meta = meta
            except Exception:  # nosec B110  # any error of the user's module
                pass
        return shapes

    @torch.no_grad()
    def _shapes_on(self, module: nn.Module, length: int, device: str) -> dict[str, tuple[int, ...]]:
        x = self._random(1, length, torch.float32) if device == "cpu" else self._empty(length)
        mode: AbstractContextManager[object] = ShapesOnly() if device == "meta" else nullcontext()
        with mode, outputs_of(module, self.names) as outputs:
            try:
                module(x)
            except Exception as error:  # any error of the user's module
                self._failed[length] = error
        return {key: tuple(output.shape) for key, output in outputs.items()}

    def shortest_with(self, stage: str, n: int, length: int) -> int:
        """Return the shortest input on which a stage has n frames; it has them on ``length``."""
        step = 1
        low, high = length - 1, length
        while self.lengths(low)[stage] >= n:
            low, high = low - step, low
            step *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.lengths(middle)[stage] >= n else (middle, high)
        return high

    def why_not_time(self, stage: str, length: int) -> str:
        """Return why an axis of a stage is not time."""
        shape = self.shapes(length).get(stage)
        if shape is None:
            return (
                f"module {self.names[stage]!r} is not called when the network runs, or returns no "
                f"tensor ({self._failed.get(length, 'its parent may use its weights directly')})"
            )
        other = self.shapes(length // 2).get(stage, shape)
        axes = [
            str(i - len(shape))
            for i, (a, b) in enumerate(zip(shape, other, strict=False))
            if a != b
        ]
        hint = f"; axis {' or '.join(axes)} has one that grows" if axes else ""
        return (
            f"axis {self.axes[stage]} of its output {shape} has the same length for any sound, so "
            f"it is not time{hint}"
        )

    # --- What a frame depends on ------------------------------------------------------------------

    def supports(
        self, stages: Sequence[str], length: int, share: float = 0.5
    ) -> dict[str, Support]:
        """Return what one frame of each stage depends on: the one after this share of all.

        A stage without frames is left out.
        """
        lengths = self.lengths(length)
        frames = {stage: int(share * lengths[stage]) for stage in stages if lengths[stage]}
        if self._has_gradients:
            for module, dtype, smooth in self._ways():
                try:
                    found = self._by_gradient(module, dtype, smooth, frames, length)
                except Exception as error:  # any error of the user's module
                    self.error = error
                    continue
                if found is not None:
                    self._way = module, dtype, smooth
                    return found
            self._has_gradients = False
        return {
            stage: self._support(stage, frame, *self._by_replacing(stage, frame, length), length)
            for stage, frame in frames.items()
        }

    def _support(self, stage: str, frame: int, first: int, last: int, length: int) -> Support:
        end = 1.5 * length / self.lengths(length)[stage]
        return Support(frame, first, last, first < end, last >= length - end)

    def _ways(self) -> Iterator[tuple[nn.Module, torch.dtype, bool]]:
        if self._way is not None:
            yield self._way
            return
        double = _copy(self.module).double()
        for module, dtype in ((double, torch.float64), (self.module, torch.float32)):
            for smooth in (True, False):
                yield module, dtype, smooth

    def _by_gradient(
        self, module: nn.Module, dtype: torch.dtype, smooth: bool, frames: Mapping[str, int],
        length: int,
    ) -> dict[str, Support] | None:  # fmt: skip
        """Return what the frames depend on, or None if a gradient is missing or not finite."""
        x = self._random(1 if smooth else N_INPUTS, length, dtype).requires_grad_()
        mode: AbstractContextManager[object] = Smooth() if smooth else nullcontext()
        names = {stage: self.names[stage] for stage in frames}
        with mode, outputs_of(module, names) as outputs:
            try:
                module(x)
            except Exception:  # after the last stage; see `works`
                if len(outputs) < len(frames):
                    raise
        found = {}
        for stage, frame in frames.items():
            values = outputs[stage].select(self.axes[stage], frame)
            if not values.requires_grad:
                return None
            # Weights, because the sum of the values may be a constant, as after a softmax.
            weights = torch.randn(values.shape, generator=_generator(), dtype=torch.float64)
            (gradient,) = torch.autograd.grad(
                (values * weights.to(dtype)).sum(), x, retain_graph=True, allow_unused=True
            )
            if gradient is None or not gradient.isfinite().all():
                return None
            size = gradient.abs().reshape(-1, length).amax(0)
            seen = size.nonzero().flatten()
            if not len(seen):
                return None
            # A recurrent layer forgets until the gradient is too small a number to be stored: it
            # depends on everything.
            faded = torch.finfo(dtype).tiny ** 0.75
            first = 0 if size[seen[0]] < faded else int(seen[0])
            last = length - 1 if size[seen[-1]] < faded else int(seen[-1])
            found[stage] = self._support(stage, frame, first, last, length)
        return found

    def _by_replacing(self, stage: str, frame: int, length: int) -> tuple[int, int]:
        """Return the first and the last position at which the input changes a frame.

        The first one is the shortest beginning of the input that changes the frame when it is
        replaced by another one.
        """
        batch = self._random(2 * N_INPUTS, length, torch.float32)
        base, other = batch[:N_INPUTS], 3 * batch[N_INPUTS:]
        before = self._frame(base, stage, frame)

        def changes(first: int, last: int) -> bool:
            x = base.clone()
            x[..., first:last] = other[..., first:last]
            return not torch.equal(self._frame(x, stage, frame), before)

        if not changes(0, length):
            raise InputError(f"{self.name}: stage {stage}: does not depend on the sound")
        low, high = 0, length  # replacing [0, low) does not change the frame, [0, high) does
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if changes(0, middle) else (middle, high)
        start, end = high - 1, length
        low = start  # replacing [low, length) changes the frame, [end, length) does not
        while end - low > 1:
            middle = (low + end) // 2
            low, end = (middle, end) if changes(middle, length) else (low, middle)
        return start, low

    @torch.no_grad()
    def _frame(self, x: Tensor, stage: str, frame: int) -> Tensor:
        with outputs_of(self.module, {stage: self.names[stage]}) as outputs:
            try:
                self.module(x)
            except Exception:  # after the stage; see `works`
                if stage not in outputs:
                    raise
        return outputs[stage].select(self.axes[stage], frame)

    # --- Inputs -----------------------------------------------------------------------------------

    def _shape(self, n: int, length: int) -> tuple[int, ...]:
        return (n, length) if self.n_rows is None else (n, self.n_rows, length)

    def _random(self, n: int, length: int, dtype: torch.dtype) -> Tensor:
        return torch.randn(self._shape(n, length), generator=_generator(), dtype=dtype)

    def _empty(self, length: int) -> Tensor:
        return torch.empty(self._shape(1, length), device="meta")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _copy(module: nn.Module) -> nn.Module:
    """Return a copy on the CPU, in evaluation mode; its parameters need no gradients."""
    return copy.deepcopy(module).cpu().eval().requires_grad_(False)
