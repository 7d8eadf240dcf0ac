"""neuromusic evaluate: score a run."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("evaluate")
@click.argument("run", type=options.DIRECTORY)
@click.option("--prepared", type=options.DIRECTORY, help="Another prepared set to be scored.")
def command(run: Path, prepared: Path | None) -> None:
    """Score a run on the test clips, beside the same network with random weights.

    Writes evaluation.json, predictions.tsv and figures/ into the run.

    \b
    Example:
      neuromusic evaluate runs/a
    """
    from neuromusic.pipeline import make_evaluation

    make_evaluation(run, prepared, options.say)
    options.next_step(f"neuromusic export {run} --lists run_dataset --out derivatives/neuromusic")
