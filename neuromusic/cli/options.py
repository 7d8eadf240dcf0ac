"""Options and helpers that several commands share."""

import os
from pathlib import Path

import click

from neuromusic.core.errors import InputError

DIRECTORY = click.Path(path_type=Path)
train_order = click.option(
    "--train-order", type=DIRECTORY, required=True, help="ExpTrnOrder.mat (variable TrnOrd)."
)
test_order = click.option(
    "--test-order", type=DIRECTORY, required=True, help="ExpValOrder.mat (variable ValOrd)."
)
seed = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=lambda: len(os.sched_getaffinity(0)),
    show_default="number of cores",
    help="Processes; the result does not depend on it.",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: a GPU if there is one.",
)
artists = click.option(
    "--artists", type=DIRECTORY, help="Artist table: TSV with track, artist_group, fault."
)
changes = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change a setting, as --set train.epochs=5; may be repeated.",
)


def out(what: str, default: str | None = None):  # type: ignore[no-untyped-def]  # click's own type
    """Return the --out option for a directory that a command makes."""
    return click.option(
        "--out", type=DIRECTORY, required=default is None, default=default, show_default=True,
        help=f"Directory to make: {what}.",
    )  # fmt: skip


def chosen_device(name: str) -> str:
    """Return "cpu" or "cuda" for what --device says; raise InputError for a GPU that is missing."""
    if name == "cpu":  # without the seconds that torch takes to start
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is no GPU that torch can use; leave --device out")
    return name


def say(text: str) -> None:
    """Tell the user something, on stdout."""
    click.echo(text)


def next_step(text: str) -> None:
    """Tell the user what to type next, on stderr."""
    click.echo(f"next: {text}", err=True)
