"""neuromusic stimuli: cut the clips."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.group("stimuli")
def command() -> None:
    """Make the clips that are played.

    \b
    Example:
      neuromusic stimuli cut --tracks GTZAN_DIR --bids ds003720 --out CLIPS
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
    from neuromusic.pipeline import cut_clips

    cut_clips(tracks, bids, out, options.say)
    options.next_step(
        "neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat "
        f"--clips {out} --out run_dataset"
    )
