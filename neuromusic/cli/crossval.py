"""neuromusic crossval: cross-validate over scanner runs."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("crossval")
@click.argument("settings", type=options.PATH)
@options.prepared
@click.option("--folds", type=click.IntRange(2), default=4, show_default=True,
              help="Number of groups of training runs that are left out in turn.")  # fmt: skip
@options.artists
@options.changes
@options.out("one trained network per fold and the pooled scores")
def command(
    settings: Path, prepared: Path, folds: int, artists: Path | None,
    changes: tuple[str, ...], out: Path,
) -> None:  # fmt: skip
    """Cross-validate a network over scanner runs.

    Every training run is scored by a network that was trained without it. An interrupted
    cross-validation continues where it stopped. With an artist table, also reports the score of the
    clips whose artist does not occur in the training clips of their fold, and intervals over
    artists.

    \b
    Example:
      neuromusic crossval experiments/cortex.toml --prepared prepared --artists artists.tsv \\
        --out runs/cv
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)  # first: it is fast, and may fail
    from neuromusic.pipeline.crossval import crossval

    crossval(config, prepared, out=out, folds=folds, artists=artists)
    options.next_step(f"neuromusic compare {out} OTHER...")
