"""neuromusic augment: write the variants of the training clips as sound files."""

from pathlib import Path
from typing import Literal

import click

from neuromusic.cli import options


@click.command("augment")
@click.argument("lists", type=options.PATH)
@options.channel
@options.seed
@options.workers
@options.overwrite
@options.dry_run
def command(
    lists: Path, channel: Literal["mix", "left", "right"], seed: int, workers: int, overwrite: bool
) -> None:
    """Write the variants of the training clips as sound files.

    Training clips have ten variants: the original and nine that were changed in tempo, pitch, noise
    and so on, so that a network learns from more than one version of each. Each clip gets the nine
    as wav files next to it. They are for listening and for other programs:
    `prepare` computes the same variants itself and needs no files.

    \b
    Example:
      neuromusic augment run_dataset
    """
    from neuromusic.core.parallel import Machine
    from neuromusic.pipeline.augment import augment

    machine = Machine(workers)
    augment(lists, seed=seed, channel=channel, machine=machine, overwrite=overwrite)
    options.next_step(f"neuromusic prepare {lists} --out prepared --seed {seed}")
