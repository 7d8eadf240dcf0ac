"""neuromusic encode: how well a network's stages predict the brain."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("encode")
@click.argument("run", type=options.DIRECTORY)
@click.option("--bids", type=options.DIRECTORY, help="BIDS dataset: the events of brain images.")
@click.option(
    "--derivatives", type=options.DIRECTORY, help="Where the images are  [default: --bids]"
)
@click.option(
    "--subjects", default="all", show_default=True, metavar="all|01,02", help="Whom to encode."
)
@click.option(
    "--roi", default="auditory", show_default=True, metavar="auditory|all|whole|MASK",
    help="Brodmann areas A1, belt, PB, T2T3; every label of the atlas; all voxels; or a mask.",
)  # fmt: skip
@click.option(
    "--atlas", type=options.DIRECTORY, help="Label image  [default: nilearn's Talairach atlas]"
)
@click.option("--labels", type=options.DIRECTORY, help="Names of its labels: TSV, index and name.")
@click.option("--space", help="Which images to take, by the space- in their names.")
@click.option(
    "--components", type=click.IntRange(1), default=100, show_default=True,
    help="Principal components of a stage.",
)  # fmt: skip
@click.option("--banded", is_flag=True, help="Fit all stages together too, a penalty for each.")
@click.option(
    "--high-pass-hz", type=click.FloatRange(0, 0.1, min_open=True), default=1 / 256,
    show_default="1/256", help="Drifts that are slower are removed.",
)  # fmt: skip
@click.option("--sounds", type=options.DIRECTORY, help="Folder of short sounds, at any depth.")
@click.option(
    "--responses", type=options.DIRECTORY,
    help="With --sounds, one value a sound and target: .mat (R, stim_names), .npz or .tsv.",
)  # fmt: skip
@click.option(
    "--splits", type=click.IntRange(1), default=10, show_default=True,
    help="With --sounds, random halves for training and test.",
)  # fmt: skip
@click.option(
    "--statistics", type=click.Choice(["mean", "mean+deviation"]), default="mean+deviation",
    show_default=True, help="With --sounds, what is taken over time.",
)  # fmt: skip
@options.seed
@options.out("maps, tables and figures")
def command(
    run: Path, bids: Path | None, derivatives: Path | None, subjects: str, roi: str,
    atlas: Path | None, labels: Path | None, space: str | None, components: int, banded: bool,
    high_pass_hz: float, sounds: Path | None, responses: Path | None, splits: int, statistics: str,
    seed: int, out: Path,
) -> None:  # fmt: skip
    """Predict the brain from every stage of a network, by ridge regression.

    With --bids, images: every voxel is fitted on the training runs, delays of 1 to 6 volumes, the
    penalty chosen by leaving a run out; and scored on the test clips, their repeats averaged,
    beside the noise ceiling. With --sounds and --responses, one value a sound and voxel or
    component, on random halves of the sounds, beside a spectro-temporal baseline. Either beside the
    same network with random weights. See docs/encoding.md.

    \b
    Examples:
      neuromusic encode runs/a --bids ds003720 --derivatives fmriprep --roi auditory --out encoded
      neuromusic encode runs/a --sounds wav/ --responses components.mat --out encoded
    """
    if (bids is None) == (sounds is None) or (sounds is None) != (responses is None):
        raise click.UsageError("give either --bids, or both --sounds and --responses")
    if bids is not None:
        from neuromusic.pipeline.encode import make_encoding

        make_encoding(
            run, bids, derivatives or bids, subjects.split(","), roi, atlas, labels, out,
            options.say, space, components, banded, high_pass_hz, seed,
        )  # fmt: skip
        options.next_step(
            f"look at {out}/figures/stage_by_area.png; {out}/areas.tsv has the numbers"
        )
        return
    from neuromusic.pipeline.encode_sounds import make_sound_encoding

    assert sounds is not None
    assert responses is not None
    make_sound_encoding(run, sounds, responses, out, splits, seed, statistics, options.say)  # type: ignore[arg-type]
    options.next_step(f"look at {out}/stages.png; the numbers are in {out}/targets.tsv")
