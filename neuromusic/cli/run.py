"""neuromusic run: all steps of an experiment."""

import click

from neuromusic.cli import options
from neuromusic.cli.settings import settings as settings_argument
from neuromusic.core.figures import FigureStyle


@click.command("run")
@settings_argument
@options.changes
@options.workers
@options.overwrite
@options.dry_run
@options.figures
def command(
    settings: str, changes: tuple[str, ...], workers: int, overwrite: bool, figures: FigureStyle
) -> None:
    """Run all steps of an experiment.

    These are lists, prepare, train, evaluate and export. Steps whose output is up to date are
    skipped. The section [paths] of the settings names the input and the output.

    \b
    Example:
      neuromusic run cortex --set paths.clips=CLIPS \\
        --set paths.train_order=ExpTrnOrder.mat --set paths.test_order=ExpValOrder.mat
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)  # first: it is fast, and may fail
    from neuromusic.pipeline.run import run

    run(config, workers=workers, overwrite=overwrite, figures=figures)
