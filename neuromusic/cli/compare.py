"""neuromusic compare: rank trained networks and test their differences."""

from pathlib import Path

import click

from neuromusic.cli import options, tables
from neuromusic.core.figures import FigureStyle


@click.command("compare")
@click.argument("networks", type=options.PATH, nargs=-1, required=True, metavar="NETWORK...")
@click.option("--top", type=click.IntRange(1), help="Show only the N best.", metavar="N")
@options.artists
@click.option(
    "--out",
    type=options.PATH,
    help="Output directory for both tables, as TSV and JSON, and a figure.",
)
@options.figures
@options.overwrite
@options.dry_run
def command(
    networks: tuple[Path, ...], top: int | None, artists: Path | None, out: Path | None,
    figures: FigureStyle, overwrite: bool,
) -> None:  # fmt: skip
    """Rank trained networks and test their differences.

    Trained networks and cross-validations are ranked by clip accuracy. The first table has, for
    each, the accuracy with its confidence interval, cross-entropy, F1, number of parameters,
    multiply-adds per window, seconds per epoch, the accuracy of the same network with random
    weights, and the number that [published] in the settings cites. Networks that differ only in
    their seed are averaged into one row.

    A terminal shows the most important columns of the first table, a pipe gets all as TSV; --out
    has both tables.

    The second table has, for each pair scored on the same clips, the difference with its interval
    and the exact, two-sided McNemar test, corrected for the number of pairs. With an artist table,
    intervals are over artists instead of clips. If a setting has several seeds, intervals are over
    seeds too, and replace the test.

    \b
    Examples:
      neuromusic compare runs/* --top 5 --out runs-compared
      neuromusic compare runs/cv-a runs/cv-b --artists artists.tsv
    """
    from neuromusic.pipeline.compare import compare

    comparison = compare(
        list(networks), out=out, top=top, artists=artists, figures=figures, overwrite=overwrite
    )
    if not tables.in_terminal():  # a terminal has shown the most important columns
        from neuromusic.evaluation.comparison_text import COLUMNS

        options.write_table(comparison.table[list(COLUMNS)], None, "networks")
