"""neuromusic crossval: cross-validate over scanner runs or artists."""

from pathlib import Path
from typing import Literal

import click

from neuromusic.cli import options
from neuromusic.cli.settings import settings as settings_argument
from neuromusic.core.figures import FigureStyle


@click.command("crossval")
@settings_argument
@options.prepared
@click.option("--folds", type=click.IntRange(2), default=4, show_default=True,
              help="Number of groups of runs, or artists, that are left out in turn.")  # fmt: skip
@click.option("--group", type=click.Choice(["run", "artist"]), default="run", show_default=True,
              help="What is left out together; artist needs --artists.")  # fmt: skip
@options.artists
@options.changes
@options.out("one trained network per fold and the pooled scores")
@options.figures
@options.overwrite
@options.dry_run
def command(
    settings: str, prepared: Path, folds: int, group: Literal["run", "artist"],
    artists: Path | None, changes: tuple[str, ...], out: Path, figures: FigureStyle,
    overwrite: bool,
) -> None:  # fmt: skip
    """Cross-validate a network over scanner runs or artists.

    The training runs, or the artists, form groups, called folds; each fold is scored by a network
    that was trained on the others. An interrupted cross-validation continues where it stopped. With
    an artist table, also reports the score of the clips whose artist does not occur in the training
    clips of their fold, and intervals over artists.

    \b
    Examples:
      neuromusic crossval cortex --prepared prepared --artists artists.tsv --out runs/cv
      neuromusic crossval cortex --prepared prepared --artists artists.tsv --group artist \\
        --out runs/cv-artists
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)  # first: it is fast, and may fail
    from neuromusic.pipeline.crossval import crossval

    crossval(
        config, prepared, out=out, folds=folds, group=group, artists=artists,
        figures=figures, overwrite=overwrite,
    )  # fmt: skip
    options.next_step(f"neuromusic compare {out} OTHER...")
