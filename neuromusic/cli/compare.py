"""neuromusic compare: runs in one table."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("compare")
@click.argument("runs", type=options.DIRECTORY, nargs=-1, required=True, metavar="RUN...")
@click.option("--top", type=click.IntRange(1), help="Only so many, the best.")
@options.artists
@click.option(
    "--out", type=options.DIRECTORY, help="Directory to make: both tables, JSON and a figure."
)
def command(
    runs: tuple[Path, ...], top: int | None, artists: Path | None, out: Path | None
) -> None:
    """Rank runs and cross-validations by the accuracy over their clips, and test each pair.

    With interval, cross-entropy, F1, parameters, multiply-adds a window, seconds an epoch, the same
    network with random weights, and the number that [published] in the settings names. Runs that
    differ in the seed alone are one row: their mean. Pairs on the same clips: the difference with
    its interval, and the exact McNemar test, corrected for all pairs. With an artist table,
    intervals are drawn over artists.

    \b
    Examples:
      neuromusic compare runs/* --top 5 --out runs-compared
      neuromusic compare runs/cv-a runs/cv-b --artists artists.tsv
    """
    from neuromusic.pipeline.compare import compare

    for warning in compare(list(runs), top, out, options.say, artists):
        click.echo(f"warning: {warning}", err=True)
