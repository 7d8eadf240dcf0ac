"""neuromusic train: train a network on a prepared set."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("train")
@click.argument("settings", type=options.PATH)
@options.prepared
@options.changes
@click.option("--resume", is_flag=True, help="Continue an interrupted training.")
@options.out("the trained network")
def command(
    settings: Path, prepared: Path, changes: tuple[str, ...], resume: bool, out: Path
) -> None:
    """Train a network with the settings of a TOML file.

    metrics.csv and last.ckpt are updated after every epoch; --resume continues from them if the
    training was interrupted.

    \b
    Example:
      neuromusic train experiments/cortex.toml --prepared prepared --out runs/a \\
        --set train.epochs=5
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)  # first: it is fast, and may fail
    from neuromusic.pipeline.train import train

    train(config, prepared, out=out, resume=resume)
    options.next_step(f"neuromusic evaluate {out}")
