"""neuromusic encode: how well a network's stages predict brain images."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("encode")
@click.argument("run", type=options.DIRECTORY)
@click.option("--bids", type=options.DIRECTORY, required=True, help="BIDS dataset: its events.")
@click.option(
    "--derivatives", type=options.DIRECTORY, help="Where the images are, if not in the dataset."
)
@click.option(
    "--subjects", default="all", show_default=True, metavar="all|01,02", help="Whom to encode."
)
@click.option(
    "--roi", default="auditory", show_default=True, metavar="auditory|all|whole|MASK",
    help="Brodmann areas A1, belt, PB, T2T3; every label of the atlas; all voxels; or a mask.",
)  # fmt: skip
@click.option("--atlas", type=options.DIRECTORY, help="Label image [nilearn's Talairach atlas].")
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
@options.seed
@options.out("maps, tables and figures")
def command(
    run: Path, bids: Path, derivatives: Path | None, subjects: str, roi: str, atlas: Path | None,
    labels: Path | None, space: str | None, components: int, banded: bool,
    high_pass_hz: float, seed: int, out: Path,
) -> None:  # fmt: skip
    """Predict every voxel from every stage of a network, by ridge regression.

    Fitted on the training runs, delays of 1 to 6 volumes, the penalty chosen voxel by voxel by
    leaving a run out; scored on the test clips, their repeats averaged, beside the noise ceiling
    and the same network with random weights. See docs/encoding.md.

    \b
    Example:
      neuromusic encode runs/a --bids ds003720 --derivatives fmriprep --roi auditory --out encoded
    """
    from neuromusic.fmri.steps import make_encoding

    make_encoding(
        run, bids, derivatives or bids, subjects.split(","), roi, atlas, labels, out, options.say,
        space, components, banded, high_pass_hz, seed,
    )  # fmt: skip
    options.next_step(f"look at {out}/figures/stage_by_area.png; {out}/areas.tsv has the numbers")
