"""neuromusic export: predictions and activations on the scanner's time grid."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("export")
@click.argument("run", type=options.DIRECTORY)
@click.option("--lists", type=options.DIRECTORY, required=True, help="Stimulus lists with runs.")
@options.out("the derivative")
def command(run: Path, lists: Path, out: Path) -> None:
    """Write what a run makes of every volume: genre probabilities and stage activations.

    For each scanner run `_stim.tsv.gz` + JSON, one `.npy` (volumes, units) + JSON a stage and
    `_volumes.tsv`; and activations.mat for MATLAB.

    \b
    Example:
      neuromusic export runs/a --lists run_dataset --out derivatives/neuromusic
    """
    from neuromusic.pipeline import make_export

    make_export(run, lists, out, options.say)
    options.next_step(
        f"numpy.load('{out}/task-Training_run-01_stage-A1_activations.npy') in Python, or "
        f"load('{out}/activations.mat') in MATLAB"
    )
