"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from neuromusic.core.errors import InputError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PATH = click.Path(path_type=Path)
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
    default=lambda: len(os.sched_getaffinity(0)),
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


def out(what: str, default: str | None = None) -> Decorator:
    """Return the --out option for the directory that a command writes."""
    return click.option(
        "--out", type=PATH, required=default is None, default=default, show_default=True,
        help=f"Output directory for {what}.",
    )  # fmt: skip


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


def write_table(table: Any, path: Path | None, what: str) -> None:
    """Write a DataFrame as TSV to a file, or to stdout if ``path`` is None."""
    from neuromusic.core.files import write_text

    text = table.to_csv(sep="\t", index=False, float_format="%.6f")
    if path is None:
        click.echo(text, nl=False)
        return
    write_text(path, text)
    click.echo(f"wrote {path}: {len(table)} {what}")
