"""neuromusic leaks: what the sides of a split share."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("leaks")
@click.argument("lists", type=options.DIRECTORY)
@options.artists
@click.option("--validation-runs", type=click.IntRange(0), default=1, show_default=True,
              help="So many runs at the end of the training order choose the epoch; 0 for none. "
                   "Of no effect where the lists have validation clips of their own.")  # fmt: skip
@click.option("--settings", type=options.DIRECTORY,
              help="Settings of a training (TOML): its data.validation_runs and data.test_runs "
                   "instead.")  # fmt: skip
@click.option(
    "--audio", "with_audio", is_flag=True,
    help="Listen too: exact copies, and near ones whatever the gain, start or coding.",
)  # fmt: skip
@click.option(
    "--out", type=options.DIRECTORY, help="File to write: every pair that is shared, TSV."
)
@click.pass_context
def command(
    context: click.Context, lists: Path, artists: Path | None, validation_runs: int,
    settings: Path | None, with_audio: bool, out: Path | None,
) -> None:  # fmt: skip
    """Report what training, validation and test share: clips, tracks, artists, replicas.

    Exits with 1 if anything is shared. Replicas are tracks of one artist of which one is known to
    repeat or distort another. Without --audio no sound is read, so the clips may be missing.

    \b
    Examples:
      neuromusic leaks run_dataset --artists artists.tsv --audio --out shared.tsv
      neuromusic leaks run_dataset --artists artists.tsv --settings runs/a/config.toml
    """
    from neuromusic.design.splits import Held
    from neuromusic.pipeline.leaks import report

    held = Held(validation_runs)
    if settings:
        from neuromusic.training.config import load_config

        data = load_config(settings).data
        held = Held(data.validation_runs, tuple(data.test_runs))
    if report(lists, artists, held, with_audio, out, options.say):
        options.next_step(
            "neuromusic lists --drop-leaks artist --artists FILE makes a clean list; neuromusic "
            "evaluate RUN --artists FILE scores the clean part of the test"
        )
        context.exit(1)
