"""neuromusic leaks: find what training, validation and test clips share."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from neuromusic.cli import options

if TYPE_CHECKING:
    from neuromusic.design.splits import HeldOutRuns


@click.command("leaks")
@click.argument("lists", type=options.PATH)
@options.artists
@click.option("--validation-runs", type=click.IntRange(0), default=1, show_default=True,
              help="Number of final training runs held out for validation (0: none). Ignored if "
                   "the lists have their own validation clips.")  # fmt: skip
@click.option("--settings", type=options.PATH,
              help="Settings of a training (TOML); takes data.validation_runs and data.test_runs "
                   "from there.")  # fmt: skip
@click.option(
    "--audio", is_flag=True,
    help="Also compare the sound: exact copies, and near copies that differ in gain, start or "
         "coding.",
)  # fmt: skip
@options.channel
@click.option(
    "--out", type=options.PATH, help="File to write: a TSV of all pairs that share something."
)
@options.overwrite
@options.dry_run
@click.pass_context
def command(
    context: click.Context, lists: Path, artists: Path | None, validation_runs: int,
    settings: Path | None, audio: bool, channel: Literal["mix", "left", "right"], out: Path | None,
    overwrite: bool,
) -> None:  # fmt: skip
    """Report what training, validation and test clips share.

    They may share clips, tracks, artists and replicas; exits with 1 if they do. Replicas are tracks
    of the same artist of which at least one is known to repeat or distort another. Without --audio
    no sound is read, so the clips may be missing.

    \b
    Examples:
      neuromusic leaks run_dataset --artists artists.tsv --audio --out shared.tsv
      neuromusic leaks run_dataset --artists artists.tsv --settings runs/a/config.toml
    """
    from neuromusic.pipeline.leaks import find_leaks

    held_out = _held_out(validation_runs, settings)
    comparisons = find_leaks(
        lists, artists=artists, held_out=held_out, audio=audio, channel=channel, out=out,
        overwrite=overwrite,
    )  # fmt: skip
    if any(len(comparison.pairs) for comparison in comparisons):
        options.next_step(
            "neuromusic lists --drop-leaks artist --artists FILE makes lists without leaks; "
            "neuromusic evaluate NETWORK --artists FILE scores the test clips without leaks"
        )
        context.exit(1)


def _held_out(validation_runs: int, settings: Path | None) -> "HeldOutRuns":
    from neuromusic.design.splits import HeldOutRuns

    if settings is None:
        return HeldOutRuns(validation_runs)
    from neuromusic.training.config import load_config

    data = load_config(settings).data
    if data.test_tracks:
        from neuromusic.core.errors import InputError

        raise InputError(
            f"{settings}: data.test_tracks: leaks knows runs only; crossval --group artist leaves "
            "out whole artists, so that none is on both sides"
        )
    return HeldOutRuns(data.validation_runs, tuple(data.test_runs))
