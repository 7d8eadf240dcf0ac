"""neuromusic fmri: simulate fMRI data in which the truth is known."""

from pathlib import Path
from typing import Literal

import click

from neuromusic.cli import options
from neuromusic.cli.commands import Subcommands


def _range(_: click.Context, __: click.Parameter, text: str) -> tuple[float, float]:
    try:
        values = [float(part) for part in text.split(":")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not 0.01 <= values[0] <= values[-1] <= 1:
        raise click.BadParameter(
            f"{text}: expected a number from 0.01 to 1, or a range such as 0.1:0.5"
        )
    return values[0], values[-1]


@click.group("fmri", cls=Subcommands)
def command() -> None:
    """Simulate images to test what an analysis finds in them.

    \b
    Example:
      neuromusic fmri simulate runs/a --out simulated
    """


@command.command()
@click.argument("network", type=options.PATH)
@click.option(
    "--bids", type=options.PATH,
    help="Dataset whose events are used.  [default: the order in the prepared set]",
)  # fmt: skip
@click.option(
    "--experiment", metavar="FILE or NAME", show_default="experiment.toml in --bids, or ds003720",
    help="Description of the experiment of --bids.",
)  # fmt: skip
@click.option(
    "--sounds", type=options.PATH,
    help="Folder of the sounds that --bids names.  [default: the network's prepared set]",
)  # fmt: skip
@click.option("--subjects", type=click.IntRange(1), show_default="1; all with --bids",
              help="Number of subjects.")  # fmt: skip
@click.option("--hrf", type=click.Choice(["spm", "glover"]), default="spm", show_default=True,
              help="Haemodynamic response.")  # fmt: skip
@click.option("--stages", callback=options.split_names, metavar="NAME[,NAME]",
              show_default="all that stand for an area",
              help="Stages that drive voxels.")  # fmt: skip
@click.option("--voxels", type=click.IntRange(1), default=50, show_default=True,
              help="Number of voxels per stage.")  # fmt: skip
@click.option("--noise-voxels", type=click.IntRange(0), default=50, show_default=True,
              help="Number of voxels with noise and drift only.")  # fmt: skip
@click.option(
    "--ceiling", metavar="EV or LOW:HIGH", default="0.3", show_default=True, callback=_range,
    help="Explainable variance: share of the signal in the variance of one presentation.",
)  # fmt: skip
@click.option("--drift", type=click.FloatRange(0, 20), default=1.0, show_default=True,
              help="Standard deviation of the slow drift, relative to the signal's.")  # fmt: skip
@click.option("--ar", type=click.FloatRange(0, 0.95), default=0.3, show_default=True,
              help="Autocorrelation of the noise from one volume to the next.")  # fmt: skip
@click.option(
    "--confounds", "motion", type=click.FloatRange(0), is_flag=False, flag_value=1.0, default=0.0,
    metavar="[WEIGHT]", show_default="none; 1 without a number",
    help="Add head motion with this standard deviation, relative to the signal's, and write a "
    "table of confounds as fMRIPrep does.",
)  # fmt: skip
@click.option("--images", type=click.Choice(["nifti", "cifti", "gifti"]), default="nifti",
              show_default=True, help="Volumes, grayordinates or surfaces.")  # fmt: skip
@options.seed
@options.out("the BIDS dataset")
@options.overwrite
@options.dry_run
def simulate(
    network: Path, bids: Path | None, experiment: str | None, sounds: Path | None,
    subjects: int | None, hrf: Literal["spm", "glover"], stages: tuple[str, ...], voxels: int,
    noise_voxels: int, ceiling: tuple[float, float], drift: float, ar: float, motion: float,
    images: Literal["nifti", "cifti", "gifti"], seed: int, out: Path, overwrite: bool,
) -> None:  # fmt: skip
    """Write a BIDS dataset whose voxels respond to the stages of a network.

    Each voxel has random weights over the units of one stage (a named part of the network), a
    haemodynamic response, noise and drift. derivatives/truth documents them: areas.nii.gz (.npy
    for surfaces and grayordinates) with areas.tsv, and truth.tsv with the explainable variance and
    the noise ceiling of every voxel.

    \b
    Examples:
      neuromusic fmri simulate runs/a --out simulated
      neuromusic fmri simulate runs/a --bids ds003720 --ceiling 0.1:0.5 --out simulated
      neuromusic fmri simulate runs/a --bids ds000113 --experiment experiment.toml \\
          --sounds sounds --confounds --images gifti --out simulated
    """
    from neuromusic.design.dataset import Dataset
    from neuromusic.fmri.simulation.dataset import TRUTH
    from neuromusic.fmri.simulation.voxels import Planted
    from neuromusic.pipeline import simulate as pipeline

    if bids is None and (experiment or sounds):
        raise click.UsageError("--experiment and --sounds describe the dataset of --bids; add it")
    dataset = Dataset(bids, experiment, sounds) if bids is not None else None
    planted = Planted(hrf, stages, voxels, noise_voxels, ceiling, drift, ar, motion, images)
    pipeline.simulate(
        network, out=out, bids=dataset, subjects=subjects, planted=planted, seed=seed,
        overwrite=overwrite,
    )  # fmt: skip
    options.next_step(f"compare what your analysis finds in {out} with {out}/{TRUTH}/truth.tsv")
