"""Options that several commands share."""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from neuromusic.cli import tables
from neuromusic.core import plan
from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path
from neuromusic.core.folders import is_same_file

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Path(click.Path):
    """A path in which ``~`` is a home directory: shells do not expand it in ``--out=~/x``."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: Any) -> Path:
        """Return the path."""
        return as_path(Path(os.fsdecode(super().convert(value, parameter, context))))


PATH = _Path(path_type=Path)
TRAIN_ORDER_HELP = "Order file of the training runs, ExpTrnOrder.mat (variable TrnOrd)."
TEST_ORDER_HELP = "Order file of the test runs, ExpValOrder.mat (variable ValOrd)."
train_order = click.option("--train-order", type=PATH, required=True, help=TRAIN_ORDER_HELP)
test_order = click.option("--test-order", type=PATH, required=True, help=TEST_ORDER_HELP)
prepared = click.option("--prepared", type=PATH, required=True, help="Prepared set to train on.")
seed = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True,
    help="Seed of the random numbers; the same seed gives the same files.",
)  # fmt: skip
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=available_cores,
    show_default="number of cores",
    help="Number of processes; does not change the result.",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)
_CHANNEL = click.Choice(["mix", "left", "right"])
channel = click.option(
    "--channel", type=_CHANNEL, default="mix", show_default=True,
    help="Channel of the sounds: the mean of all, or the first or second one.",
)  # fmt: skip
network_channel = click.option(
    "--channel", type=_CHANNEL,
    help="Channel of the sounds that the network hears.  [default: the one it was trained on]",
)  # fmt: skip
artists = click.option(
    "--artists", type=PATH,
    help="Artist table: TSV with columns track, artist_group and fault.",
)  # fmt: skip
changes = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change a setting, for example --set train.epochs=5. May be repeated.",
)


def _begin_dry_run(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.with_resource(plan.dry_run())


def _begin_caching(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        from neuromusic.core.cache import caching

        context.with_resource(caching(value))


cache = click.option(
    "--cache", type=PATH, metavar="DIR", expose_value=False, callback=_begin_caching,
    help="Store the activations of networks here, and take those that are here already; several "
    "commands may share it, see `neuromusic cache`. Results do not change.",
)  # fmt: skip
overwrite = click.option(
    "--overwrite", is_flag=True,
    help="Replace an earlier output that was made with other settings or inputs.",
)  # fmt: skip
dry_run = click.option(
    "--dry-run", is_flag=True, expose_value=False, callback=_begin_dry_run,
    help="Check all inputs, show what would be computed and written, and stop.",
)  # fmt: skip


def out(what: str, default: str | None = None) -> Decorator:
    """Return the --out option for the directory that a command writes."""
    return click.option(
        "--out", type=PATH, required=default is None, default=default, show_default=True,
        help=f"Output directory for {what}.",
    )  # fmt: skip


def _check_parent(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Click callback: refuse a file in a directory that does not exist, before the work."""
    if value is not None and not value.absolute().parent.is_dir():
        raise InputError(f"{value}: there is no directory {value.parent}; make it first")
    if value is not None and value.is_dir():
        raise InputError(f"{value}: is a directory; name a file")
    return value


table_out = click.option(
    "--out", type=PATH, callback=_check_parent, help="Table to write (TSV).  [default: stdout]"
)


def any_network(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument NETWORK, and the options --network and --features in its place."""
    decorators = (
        click.argument("network", type=PATH, required=False),
        click.option(
            "--network", "named",
            help="In place of NETWORK, which may also be any of these: the directory of a trained "
            "network, my_net.py, package.module:function, a name of `neuromusic networks list`, "
            "hf:NAME, torchaudio:PIPELINE or torchvision:NAME.",
        ),
        click.option(
            "--features", type=PATH,
            help="In place of NETWORK: folder of features that were computed elsewhere, see "
            "docs/how-to/networks.md.",
        ),
    )  # fmt: skip
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def hearing(
    network: Path | None, named: str | None, features: Path | None, channel: Any,
    stages: Sequence[str] = (),
) -> Any:  # fmt: skip
    """Return what is given as a network; loaded, if a channel or stages are given for it.

    Raises UsageError unless exactly one of ``network``, ``named`` and ``features`` is given.
    """
    given = [each for each in (network, named, features) if each is not None]
    if len(given) != 1:
        raise click.UsageError("give one of NETWORK, --network and --features")
    if features is None and channel is None and not stages:
        return given[0]  # without importing torch: other arguments are checked first
    from neuromusic.training.applied_networks import load_applied, load_features

    if features is not None:
        return load_features(features)
    return load_applied(given[0], channel=channel, stages=stages)


def stages_of_network(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --network, --stages and --frame-s: a front end for a readout."""
    decorators = (
        click.option(
            "--network",
            help="Use the stages of this network as features: my_net.py, a name of `neuromusic "
            "networks list`, the directory of a trained network, or what `encode` takes.",
        ),
        click.option(
            "--stages", callback=split_names, metavar="NAME,NAME",
            help="Stages of the network.  [default: all]",
        ),
        click.option(
            "--frame-s", type=float, default=0.1, show_default=True,
            help="Seconds from one frame of the stages to the next.",
        ),
    )  # fmt: skip
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def front_end_of(network: str, stages: Sequence[str], frame_s: float) -> Any:
    """Return the front end of stages of a network; a path may begin with ``~``."""
    from neuromusic.training.stages_front_end import stages_front_end

    source = as_path(network) if network.startswith("~") else network
    return stages_front_end(source, stages, frame_s)


def chosen_device(name: str) -> str:
    """Return "cpu" or "cuda" for a value of --device.

    Raises InputError for cuda if torch finds no GPU.
    """
    if name == "cpu":  # without importing torch, which takes seconds
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU; omit --device to use the CPU")
    return name


def split_names(_: click.Context, __: click.Parameter, value: Any) -> tuple[str, ...]:
    """Click callback: split names at commas; the option may also be repeated."""
    texts = [value] if isinstance(value, str) else value or ()
    names = [name.strip() for text in texts for name in text.split(",")]
    return tuple(name for name in names if name)


def next_step(text: str) -> None:
    """Suggest the next command, on stderr."""
    click.echo(f"next: {text}", err=True)


def check_not_input(out: Path | None, inputs: Iterable[Path]) -> None:
    """Raise InputError if a table would be written over one of the inputs."""
    if out is not None and any(is_same_file(out, path) for path in inputs):
        raise InputError(f"{out}: is one of the inputs; choose another out")


def write_table(table: Any, path: Path | None, what: str, overwrite: bool = False) -> None:
    """Write a DataFrame as TSV to a file, or to stdout if ``path`` is None.

    A terminal gets aligned columns with fewer digits. Raises InputError if the file exists, its
    content differs and ``overwrite`` is False.
    """
    from neuromusic.core.outputs import write_result

    if path is None and tables.in_terminal():
        shown = table.map(lambda cell: f"{cell:.3f}" if isinstance(cell, float) else str(cell))
        tables.show_table(shown.to_dict("records"))
        return
    text = table.to_csv(sep="\t", index=False, float_format="%.6f", lineterminator="\n")
    if path is None:
        click.echo(text, nl=False)
        return
    write_result(path, text, overwrite)
    click.echo(f"wrote {path}: {len(table)} {what}")


def figures(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of figures to a command, which gets them as ``figures``, a FigureStyle."""

    @click.option(
        "--figures", "formats", multiple=True, default=["png"], show_default="png",
        callback=split_names, metavar="png|pdf|svg",
        help="Formats of the figures; several with commas.",
    )  # fmt: skip
    @click.option(
        "--width-mm", "--figure-width-mm", "width_mm", type=float,
        help="Width of the figures, 80 to 400.  [default: 88 (one panel) or 180 (several)]",
    )  # fmt: skip
    @functools.wraps(command)
    def with_style(
        *args: Any, formats: tuple[str, ...], width_mm: float | None, **options: Any
    ) -> Any:
        from neuromusic.core.figures import FigureStyle

        return command(*args, figures=FigureStyle(formats, width_mm), **options)

    return with_style
