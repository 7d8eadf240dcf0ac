"""neuromusic augment: write the variants as sound files."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("augment")
@click.argument("lists", type=options.DIRECTORY)
@options.seed
@options.workers
def command(lists: Path, seed: int, workers: int) -> None:
    """Write the nine variants of every training clip as wav, beside the clip.

    Only to listen to them or for other tools: `prepare` makes its own, without files.

    \b
    Example:
      neuromusic augment run_dataset
    """
    from neuromusic.pipeline.augment import write_variants

    write_variants(lists, seed, workers, options.say)
    options.next_step(f"neuromusic prepare {lists} --out prepared --seed {seed}")
