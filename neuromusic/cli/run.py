"""neuromusic run: all steps of an experiment."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("run")
@click.argument("settings", type=options.DIRECTORY)
@options.changes
@options.workers
def command(settings: Path, changes: tuple[str, ...], workers: int) -> None:
    """Do every step of an experiment; what is done already and unchanged is not done again.

    The section [paths] of the settings says where the input lies and where the output goes.

    \b
    Example:
      neuromusic run experiments/cortex.toml --set paths.clips=CLIPS \\
        --set paths.train_order=ExpTrnOrder.mat --set paths.test_order=ExpValOrder.mat
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)
    from neuromusic.pipeline.run import run_all

    run_all(config, workers, options.say)
