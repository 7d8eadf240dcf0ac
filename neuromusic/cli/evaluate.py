"""neuromusic evaluate: score a trained network."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.core.figures import FigureStyle


@click.command("evaluate")
@click.argument("network", type=options.PATH)
@click.option("--prepared", type=options.PATH,
              help="Prepared set to score.  [default: the one of the training]")  # fmt: skip
@options.artists
@options.figures
@options.overwrite
@options.dry_run
def command(
    network: Path, prepared: Path | None, artists: Path | None, figures: FigureStyle,
    overwrite: bool,
) -> None:  # fmt: skip
    """Score a trained network on the test clips.

    The same network with random weights is scored for comparison. Writes evaluation.json,
    predictions.tsv and figures/ into the network's directory. With an artist table, also reports
    the score of the clips whose artist does not occur in the training.

    \b
    Examples:
      neuromusic evaluate runs/a
      neuromusic evaluate runs/a --artists artists.tsv
    """
    from neuromusic.pipeline.evaluate import evaluate

    evaluate(network, prepared=prepared, artists=artists, figures=figures, overwrite=overwrite)
    options.next_step(
        f"neuromusic export {network} --lists run_dataset --out derivatives/neuromusic"
    )
