"""neuromusic fmri: images with a planted truth."""

from pathlib import Path

import click

from neuromusic.cli import options


def _range(_: click.Context, __: click.Parameter, text: str) -> tuple[float, float]:
    try:
        values = [float(part) for part in text.split(":")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not 0.01 <= values[0] <= values[-1] <= 1:
        raise click.BadParameter(f"{text}: expected a share from 0.01 to 1, or two as 0.1:0.5")
    return values[0], values[-1]


@click.group("fmri")
def command() -> None:
    """Simulate images, to see what an analysis finds in them.

    \b
    Example:
      neuromusic fmri simulate runs/a --out simulated
    """


@command.command()
@click.argument("run", type=options.DIRECTORY)
@click.option(
    "--bids", type=options.DIRECTORY,
    help="Dataset whose events to use; the order of the prepared set without it.",
)  # fmt: skip
@click.option("--subjects", type=click.IntRange(1), show_default="1; all with --bids")
@click.option("--hrf", type=click.Choice(["spm", "glover"]), default="spm", show_default=True)
@click.option("--stages", metavar="NAME,...", show_default="all that stand for an area")
@click.option("--voxels", type=click.IntRange(1), default=50, show_default=True,
              help="Voxels that each stage drives.")  # fmt: skip
@click.option("--noise-voxels", type=click.IntRange(0), default=50, show_default=True,
              help="Voxels of noise and drift alone.")  # fmt: skip
@click.option(
    "--ceiling", metavar="EV or LOW:HIGH", default="0.3", show_default=True, callback=_range,
    help="Share of the signal in the variance of one presentation.",
)  # fmt: skip
@click.option("--drift", type=click.FloatRange(0, 20), default=1.0, show_default=True,
              help="Deviation of a slow drift, in units of the signal's.")  # fmt: skip
@click.option("--ar", type=click.FloatRange(0, 0.95), default=0.3, show_default=True,
              help="Correlation of the noise from one volume to the next.")  # fmt: skip
@options.seed
@options.out("the BIDS dataset")
def simulate(
    run: Path,
    bids: Path | None,
    subjects: int | None,
    hrf: str,
    stages: str | None,
    voxels: int,
    noise_voxels: int,
    ceiling: tuple[float, float],
    drift: float,
    ar: float,
    seed: int,
    out: Path,
) -> None:
    """Write a BIDS dataset whose voxels respond to the stages of a network.

    Each voxel has random weights over the units of one stage, a haemodynamic response, noise and
    drift. derivatives/truth says which: areas.nii.gz with areas.tsv, and truth.tsv with the
    explainable variance and the noise ceiling of every voxel.

    \b
    Examples:
      neuromusic fmri simulate runs/a --out simulated
      neuromusic fmri simulate runs/a --bids ds003720 --ceiling 0.1:0.5 --out simulated
    """
    from neuromusic.fmri.simulation import dataset
    from neuromusic.fmri.simulation.voxels import Planted
    from neuromusic.pipeline import simulate

    chosen = tuple(name.strip() for name in stages.split(",")) if stages else ()
    planted = Planted(hrf, chosen, voxels, noise_voxels, ceiling, drift, ar)  # type: ignore[arg-type]
    simulate.simulate(run, bids, subjects, planted, seed, out, options.say)
    options.next_step(
        f"compare what your analysis finds in {out} with {out}/{dataset.TRUTH}/truth.tsv"
    )
