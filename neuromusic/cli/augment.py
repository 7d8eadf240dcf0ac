"""neuromusic augment: write the variants of the training clips as sound files."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("augment")
@click.argument("lists", type=options.PATH)
@options.seed
@options.workers
def command(lists: Path, seed: int, workers: int) -> None:
    """Write the variants of the training clips as sound files.

    Each clip gets nine wav files next to it. They are for listening and for other programs:
    `prepare` computes the same variants itself and needs no files.

    \b
    Example:
      neuromusic augment run_dataset
    """
    from neuromusic.core.parallel import Machine
    from neuromusic.pipeline.augment import augment

    augment(lists, seed=seed, machine=Machine(workers))
    options.next_step(f"neuromusic prepare {lists} --out prepared --seed {seed}")
