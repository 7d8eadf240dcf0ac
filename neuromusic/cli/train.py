"""neuromusic train: a network on a prepared set."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("train")
@click.argument("settings", type=options.DIRECTORY)
@click.option("--prepared", type=options.DIRECTORY, required=True, help="The prepared set.")
@options.changes
@click.option("--resume", is_flag=True, help="Go on with an unfinished training.")
@options.out("the run")
def command(
    settings: Path, prepared: Path, changes: tuple[str, ...], resume: bool, out: Path
) -> None:
    """Train a network with the settings of a TOML file.

    metrics.csv and last.ckpt grow while it trains; a killed training goes on with --resume.

    \b
    Example:
      neuromusic train experiments/cortex.toml --prepared prepared --out runs/a \\
        --set train.epochs=5
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)
    from neuromusic.pipeline.train import make_run

    make_run(config, prepared, out, resume, options.say)
    options.next_step(f"neuromusic evaluate {out}")
