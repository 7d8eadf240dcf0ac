"""neuromusic crossval: run-wise cross-validation."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("crossval")
@click.argument("settings", type=options.DIRECTORY)
@click.option("--prepared", type=options.DIRECTORY, required=True, help="The prepared set.")
@click.option("--folds", type=click.IntRange(2), default=4, show_default=True)
@options.artists
@options.changes
@options.out("one run a fold and the pooled scores")
def command(
    settings: Path, prepared: Path, folds: int, artists: Path | None,
    changes: tuple[str, ...], out: Path,
) -> None:  # fmt: skip
    """Score every training run by a network that was trained without it.

    Goes on where a killed cross-validation stopped. With an artist table also the score of the
    clips whose artist their fold's network never heard, and intervals over artists.

    \b
    Example:
      neuromusic crossval experiments/cortex.toml --prepared prepared --artists artists.tsv \\
        --out runs/cv
    """
    from neuromusic.training.config import load_config

    config = load_config(settings, changes)
    from neuromusic.pipeline.crossval import make_crossval

    make_crossval(config, prepared, folds, out, options.say, artists)
    options.next_step(f"neuromusic compare {out} OTHER...")
