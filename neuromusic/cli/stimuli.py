"""neuromusic stimuli: cut clips, check sets of sound files."""

from pathlib import Path
from typing import Literal

import click

from neuromusic.cli import options
from neuromusic.cli.commands import Subcommands


@click.group("stimuli", cls=Subcommands)
def command() -> None:
    """Cut the clips of an experiment, and check sets of sound files.

    \b
    Examples:
      neuromusic stimuli cut --tracks GTZAN_DIR --bids ds003720 --out CLIPS
      neuromusic stimuli validate gtzan GTZAN_DIR
    """


@command.command()
@click.option("--tracks", type=options.PATH, required=True, help="Folder of tracks, of any format.")
@click.option(
    "--bids", type=options.PATH, required=True,
    help="BIDS dataset whose events give the start and end of each clip.",
)  # fmt: skip
@options.channel
@options.out("the clips")
@options.overwrite
@options.dry_run
def cut(
    tracks: Path, bids: Path, channel: Literal["mix", "left", "right"], out: Path, overwrite: bool
) -> None:
    """Cut the clips out of their tracks, as the events of a dataset specify.

    Clips get quarter-sine fades of 2 s, and are scaled to the mean RMS of the set.

    \b
    Example:
      neuromusic stimuli cut --tracks gtzan/genres --bids ds003720 --out CLIPS
    """
    from neuromusic.pipeline.cut import cut_clips

    cut_clips(tracks=tracks, bids=bids, out=out, channel=channel, overwrite=overwrite)
    options.next_step(
        "neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat "
        f"--clips {out} --out run_dataset"
    )


@command.command()
@click.argument("layout", type=click.Choice(["folder", "gtzan", "fma"]))
@click.argument("directory", type=options.PATH)
@click.option("--tracks", type=options.PATH, help="For fma: tracks.csv of fma_metadata.")
@click.option("--least-s", type=click.FloatRange(0), default=15.0, show_default=True,
              help="Report files shorter than this, in seconds.")  # fmt: skip
@options.channel
@click.pass_context
def validate(
    context: click.Context, layout: Literal["folder", "gtzan", "fma"], directory: Path,
    tracks: Path | None, least_s: float, channel: Literal["mix", "left", "right"],
) -> None:  # fmt: skip
    """Decode every file of a set; list those that are missing, corrupt, short or duplicate.

    Exits with 1 if there are any.

    \b
    Examples:
      neuromusic stimuli validate folder ESC-10 --least-s 3.6
      neuromusic stimuli validate fma fma_small --tracks fma_metadata/tracks.csv
    """
    if (layout == "fma") != (tracks is not None):
        raise click.UsageError("fma needs --tracks; the other layouts have none")
    from neuromusic.pipeline.validate import validate_sounds
    from neuromusic.stimuli.corpora import Corpus

    corpus = Corpus(layout, directory, tracks)
    problems = validate_sounds(corpus, least_s=least_s, channel=channel)
    for problem in problems:
        click.echo(f"{problem.kind}: {problem.file}: {problem.what}")
    click.echo(f"{len(problems) or 'no'} problem{'s' if len(problems) != 1 else ''}")
    if not problems:
        source = "" if tracks is None else f" --tracks {tracks}"
        options.next_step(f"neuromusic lists --from-{layout} {directory}{source} --out lists")
    context.exit(1 if problems else 0)
