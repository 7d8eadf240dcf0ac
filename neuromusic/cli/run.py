"""neuromusic run: all steps of an experiment."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("run")
@click.argument("settings", type=options.PATH)
@options.changes
@options.workers
def command(settings: Path, changes: tuple[str, ...], workers: int) -> None:
    """Run all steps of an experiment.

    These are lists, prepare, train, evaluate and export. Steps whose output is up to date are
    skipped. The section [paths] of the settings names the input and the output.

    \b
    Example:
      neuromusic run experiments/cortex.toml --set paths.clips=CLIPS \\
        --set paths.train_order=ExpTrnOrder.mat --set paths.test_order=ExpValOrder.mat
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)  # first: it is fast, and may fail
    from neuromusic.pipeline.run import run

    run(config, workers=workers)
