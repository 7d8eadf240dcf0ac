"""neuromusic train: train a network on a prepared set."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.cli.settings import settings as settings_argument


@click.command("train")
@settings_argument
@options.prepared
@click.option("--lists", type=options.PATH,
              help="With --network: stimulus lists from which --prepared is made.")  # fmt: skip
@options.stages_of_network
@options.changes
@click.option("--resume", is_flag=True, help="Continue an interrupted training.")
@options.out("the trained network")
@options.overwrite
@options.dry_run
def command(
    settings: str, prepared: Path, lists: Path | None, network: str | None,
    stages: tuple[str, ...], frame_s: float, changes: tuple[str, ...], resume: bool, out: Path,
    overwrite: bool,
) -> None:  # fmt: skip
    """Train a network on a prepared set.

    SETTINGS is a name from `neuromusic settings`, a TOML file, or the name of a network, which then
    has default settings.

    metrics.csv and last.ckpt are updated after every epoch; --resume continues from them if the
    training was interrupted.

    With --network, the settings linear or gru train a readout of the stages of any network, which
    stays as it is: --prepared is made first, as `neuromusic prepare` does it.

    \b
    Examples:
      neuromusic train cortex --prepared prepared --out runs/cortex
      neuromusic train mine.toml --prepared prepared --out runs/mine --set train.epochs=5
      neuromusic train linear --network musicnn --stages cnn2,cnn3 --lists run_dataset \\
        --prepared prepared_musicnn --out runs/musicnn
    """
    if (lists is None) != (network is None) or (stages and network is None):
        raise click.UsageError("--network needs --lists; --lists and --stages need --network")
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)  # first: it is fast, and may fail
    if network is not None and lists is not None:
        from neuromusic.pipeline.prepare import prepare

        front_end = options.front_end_of(network, stages, frame_s)
        prepare(lists, out=prepared, front_end=front_end, overwrite=overwrite)
    from neuromusic.pipeline.train import train

    train(config, prepared, out=out, resume=resume, overwrite=overwrite)
    options.next_step(f"neuromusic evaluate {out}")
