"""neuromusic encode --sounds: single responses to short sounds."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("encode")
@click.argument("run", type=options.DIRECTORY)
@click.option(
    "--sounds",
    type=options.DIRECTORY,
    required=True,
    help="Folder of the sounds, at any depth.",
)
@click.option(
    "--responses",
    type=options.DIRECTORY,
    required=True,
    help="One value a sound and target: .mat (R, stim_names), .npz or .tsv.",
)
@click.option(
    "--splits",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Random halves of training and test sounds.",
)
@click.option(
    "--statistics",
    type=click.Choice(["mean", "mean+deviation"]),
    default="mean+deviation",
    show_default=True,
    help="Of a stage's activations over time.",
)
@options.seed
@options.out("the scores")
def command(
    run: Path, sounds: Path, responses: Path, splits: int, statistics: str, seed: int, out: Path
) -> None:  # fmt: skip
    """Predict single responses, one value a sound and voxel or component, from every stage.

    Ridge on random halves of the sounds, beside a spectro-temporal baseline (log-mel statistics and
    modulation amplitudes) and the same network with random weights.

    \b
    Example:
      neuromusic encode runs/a --sounds wav/ --responses components.mat --out encoding
    """
    from typing import cast

    from neuromusic.fmri.sound_step import make_sound_encoding
    from neuromusic.fmri.sounds import Statistics

    made = make_sound_encoding(
        run, sounds, responses, out, splits, seed, cast(Statistics, statistics), options.say
    )
    options.next_step(f"look at {made / 'stages.png'}; the numbers are in {made / 'targets.tsv'}")
