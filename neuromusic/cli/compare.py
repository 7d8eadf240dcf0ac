"""neuromusic compare: runs in one table."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("compare")
@click.argument("runs", type=options.DIRECTORY, nargs=-1, required=True, metavar="RUN...")
@click.option("--top", type=click.IntRange(1), help="Only so many, the best.")
@click.option(
    "--out", type=options.DIRECTORY, help="Directory to make: table.tsv, table.md, table.png."
)
def command(runs: tuple[Path, ...], top: int | None, out: Path | None) -> None:
    """Rank runs and cross-validations by the accuracy over their clips.

    With interval, cross-entropy, F1, parameters, multiply-adds a window, seconds an epoch, the same
    network with random weights, and the number that [published] in the settings names.

    \b
    Example:
      neuromusic compare runs/* --top 5 --out runs-compared
    """
    from neuromusic.compare import compare

    warning = compare(list(runs), top, out, options.say)
    if warning:
        click.echo(f"warning: {warning}", err=True)
