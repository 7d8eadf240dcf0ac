"""neuromusic train: train a network on a prepared set."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.cli.settings import settings as settings_argument


@click.command("train")
@settings_argument
@options.prepared
@options.changes
@click.option("--resume", is_flag=True, help="Continue an interrupted training.")
@options.out("the trained network")
@options.overwrite
@options.dry_run
def command(
    settings: str, prepared: Path, changes: tuple[str, ...], resume: bool, out: Path,
    overwrite: bool,
) -> None:  # fmt: skip
    """Train a network on a prepared set.

    SETTINGS is a name from `neuromusic settings`, a TOML file, or the name of a network, which then
    has default settings.

    metrics.csv and last.ckpt are updated after every epoch; --resume continues from them if the
    training was interrupted.

    \b
    Example:
      neuromusic train cortex --prepared prepared --out runs/cortex
      neuromusic train mine.toml --prepared prepared --out runs/mine --set train.epochs=5
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)  # first: it is fast, and may fail
    from neuromusic.pipeline.train import train

    train(config, prepared, out=out, resume=resume, overwrite=overwrite)
    options.next_step(f"neuromusic evaluate {out}")
