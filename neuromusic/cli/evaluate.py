"""neuromusic evaluate: score a run."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("evaluate")
@click.argument("run", type=options.DIRECTORY)
@click.option("--prepared", type=options.DIRECTORY, help="Another prepared set to be scored.")
@options.artists
def command(run: Path, prepared: Path | None, artists: Path | None) -> None:
    """Score a run on the test clips, beside the same network with random weights.

    Writes evaluation.json, predictions.tsv and figures/ into the run. With an artist table also
    the score of the clips whose artist the run never heard.

    \b
    Examples:
      neuromusic evaluate runs/a
      neuromusic evaluate runs/a --artists artists.tsv
    """
    from neuromusic.pipeline.evaluate import make_evaluation

    make_evaluation(run, prepared, options.say, artists)
    options.next_step(f"neuromusic export {run} --lists run_dataset --out derivatives/neuromusic")
