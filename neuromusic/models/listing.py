"""List the modules of a network from outside, from which its stages can be chosen."""

import math

import pandas as pd
from torch import nn

from neuromusic.models.external import External
from neuromusic.models.probe import probe_axes, shortest
from neuromusic.models.probe_runs import Axes, Runs

# Modules whose output depends on the same input as what precedes them.
POINTWISE = (
    nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.ReLU, nn.LeakyReLU, nn.GELU,
    nn.SiLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Flatten, nn.Unflatten,
)  # fmt: skip


def describe(external: External) -> pd.DataFrame:
    """Return one row per module of a network, in their order, if it is called and has an output.

    Parameters
    ----------
    external : External
        The network; its stages need not be named.

    Returns
    -------
    DataFrame
        ``module``: dotted name; ``stages``: the stages that are its output; ``type``; ``shape``: of
        its output for one sound, with "time" for the axis that grows with the sound; ``time_axis``:
        that axis, NA if there is none; ``rate_hz``: frames per second; ``extent_s``: seconds of
        sound that a frame depends on, infinite if all of it; ``parameters``: of the module and its
        children. Rate and extent are NA without a time axis, and the extent for modules that only
        transform each value.

    Raises
    ------
    InputError
        If the network cannot be run.

    Examples
    --------
    >>> import neuromusic as nm
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160))
    >>> describe(nm.External(net, rate_hz=16_000))[["module", "shape", "rate_hz"]].iloc[-1].tolist()
    ['1', '8 x time', 100.0]
    """
    shapes, axes = _shapes_and_axes(external)
    modules = dict(external.module.named_modules())
    measured = {
        name: axis for name, axis in axes.items() if not isinstance(modules[name], POINTWISE)
    }
    timings = probe_axes(external, {name: (name, axis) for name, axis in measured.items()})[0]
    rates = {name: 1 / timing.hop_s for name, timing in timings.items()}
    rows = []
    for name, shape in shapes.items():
        timing, axis = timings.get(name), axes.get(name)
        texts = [str(n) for n in shape]
        if axis is not None:
            texts[axis] = "time"
        rows.append(
            {
                "module": name,
                "stages": ",".join(s for s, module in external.stages.items() if module == name),
                "type": type(modules[name]).__name__,
                "shape": " x ".join(texts[1:]),
                "time_axis": axis,
                "rate_hz": rates.get(name, math.nan),
                "extent_s": math.nan if timing is None else timing.extent_s,
                "parameters": sum(p.numel() for p in modules[name].parameters()),
            }
        )
    return pd.DataFrame(rows).astype({"time_axis": "Int64"})


def _shapes_and_axes(external: External) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Return module -> shape of its output (1, ...), and module -> axis of time, if it has one."""
    every: Axes = {name: (name, -1) for name, _ in external.module.named_modules()}
    root: Axes = {"": ("", -1)}
    runs = Runs(external, every)
    length = runs.context or shortest(Runs(external, root))
    # A network of a fixed length says nothing about which axis is time: -1, as for stages.
    shapes = runs.shapes(length)
    longer = runs.shapes(2 * length)
    axes = {}
    for name, shape in shapes.items():
        other = longer.get(name, shape)
        if len(shape) < 2 or len(other) != len(shape):
            continue
        grown = [axis for axis in range(1, len(shape)) if other[axis] != shape[axis]]
        if len(grown) == 1:
            axes[name] = grown[0] - len(shape)
    return shapes, axes


def rows_of(external: External) -> list[dict[str, str]]:
    """Return the table of `describe` as text, for `neuromusic models`."""
    rows = []
    for row in describe(external).to_dict("records"):
        extent = row["extent_s"]
        rows.append(
            {
                "module": str(row["module"]) or "(all)",
                "stages": str(row["stages"]) or "-",
                "type": str(row["type"]),
                "shape": str(row["shape"]),
                "time axis": "-" if pd.isna(row["time_axis"]) else str(row["time_axis"]),
                "frames per s": "-" if pd.isna(row["rate_hz"]) else f"{row['rate_hz']:.4g}",
                "extent (s)": "-" if pd.isna(extent) else "all" if math.isinf(extent)
                else f"{extent:.3f}",
                "parameters": f"{row['parameters']:,}",
            }
        )  # fmt: skip
    return rows
