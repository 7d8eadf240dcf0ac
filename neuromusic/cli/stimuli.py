"""neuromusic stimuli: cut the clips, check sets of sound files."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.group("stimuli")
def command() -> None:
    """Make the clips that are played, and check sets of sound files.

    \b
    Examples:
      neuromusic stimuli cut --tracks GTZAN_DIR --bids ds003720 --out CLIPS
      neuromusic stimuli validate gtzan GTZAN_DIR
    """


@command.command()
@click.option(
    "--tracks", type=options.DIRECTORY, required=True, help="Folder of tracks: wav, au, flac, mp3."
)
@click.option(
    "--bids", type=options.DIRECTORY, required=True, help="BIDS dataset whose events say where."
)
@options.out("the clips")
def cut(tracks: Path, bids: Path, out: Path) -> None:
    """Cut the clips out of their tracks, where the events say.

    2-s quarter-sine fades, then every clip at the mean RMS of the set.

    \b
    Example:
      neuromusic stimuli cut --tracks gtzan/genres --bids ds003720 --out CLIPS
    """
    from neuromusic.pipeline.cut import cut_clips

    cut_clips(tracks, bids, out, options.say)
    options.next_step(
        "neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat "
        f"--clips {out} --out run_dataset"
    )


@command.command()
@click.argument("layout", type=click.Choice(["folder", "gtzan", "fma"]))
@click.argument("directory", type=options.DIRECTORY)
@click.option("--tracks", type=options.DIRECTORY, help="With fma: tracks.csv of fma_metadata.")
@click.option("--least-s", type=click.FloatRange(0), default=15.0, show_default=True,
              help="A file below this length is short.")  # fmt: skip
@click.pass_context
def validate(
    ctx: click.Context, layout: str, directory: Path, tracks: Path | None, least_s: float
) -> None:
    """Decode every file of a set; name those that are missing, corrupt, short or duplicate.

    Exits with 1 if there are any.

    \b
    Examples:
      neuromusic stimuli validate folder ESC-10 --least-s 3.6
      neuromusic stimuli validate fma fma_small --tracks fma_metadata/tracks.csv
    """
    from neuromusic.stimuli.corpora import fma, folder, gtzan

    if (layout == "fma") != (tracks is not None):
        raise click.UsageError("fma and --tracks go together")
    if layout == "folder":
        problems = folder.validate(directory, least_s)
    elif layout == "gtzan":
        problems = gtzan.validate(directory, least_s)
    else:
        assert tracks
        problems = fma.validate(directory, tracks, least_s)
    for problem in problems:
        options.say(f"{problem.kind}: {problem.file}: {problem.what}")
    options.say(f"{len(problems) or 'no'} problem{'s' if len(problems) != 1 else ''}")
    ctx.exit(1 if problems else 0)
