"""neuromusic export: predictions and activations on the scanner's time grid."""

from pathlib import Path
from typing import Literal

import click

from neuromusic.cli import options

# What to do with the files of a format; {0} is their directory.
USES = {
    "spm": "in SPM, {0}/*_conditions.mat are Multiple conditions, and {0}/*_regressors.mat "
    "Multiple regressors",
    "fsl": "in FEAT, {0}/STEM/*.txt are EVs in the 3 column format",
    "afni": "3dDeconvolve reads {0}/*_times.1D as -stim_times, and {0}/*_regressors.1D as -ortvec",
    "nilearn": "FirstLevelModel.fit(images, design_matrices=...) takes the tables {0}/*_design.tsv",
}


def _components(_: click.Context, __: click.Parameter, value: str) -> int | str:
    if value == "all":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r}: expected a whole number from 1, or all")
    return int(value)


@click.command("export")
@options.any_network
@click.option("--lists", type=options.PATH, required=True, help="Stimulus lists with scanner runs.")
@options.out("the derivative")
@click.option(
    "--format", "formats", multiple=True, callback=options.split_names, metavar="NAME[,NAME]",
    help="bids, spm, fsl, afni, nilearn, hdf5, npz or mat; several separated by commas, or repeat "
    "the option.",
)  # fmt: skip
@click.option(
    "--components", default="10", show_default=True, callback=_components, metavar="N|all",
    help="Number of principal components of each stage that become regressors, or all units.",
)  # fmt: skip
@click.option(
    "--stages", callback=options.split_names, metavar="NAME[,NAME]",
    help="Stages that become regressors.  [default: all]",
)  # fmt: skip
@click.option(
    "--modulator", default="probability", show_default=True, metavar="NAME",
    help="Parametric modulator of each genre's trials (SPM pmod, AFNI): probability, or a "
    "regressor such as A1_pc01.",
)  # fmt: skip
@click.option(
    "--hrf", type=click.Choice(["spm", "glover"]), default="spm", show_default=True,
    help="Haemodynamic response for regressors that are convolved here (spm, afni, nilearn).",
)  # fmt: skip
@click.option(
    "--slice-time-ref", type=click.FloatRange(0, 1), default=0.0, show_default=True,
    help="Time that images stand for, as a share of the TR: 0 if slices were timed to the onset of "
    "a volume, 0.5 if to its middle (spm, fsl, afni, nilearn).",
)  # fmt: skip
@click.option(
    "--nilearn-regressors", callback=options.split_names, metavar="NAME[,NAME]",
    help="Regressors of the network in the nilearn designs: probability, stages, or all.  "
    "[default: none]",
)  # fmt: skip
@click.option(
    "--binning", type=click.Choice(["mean", "lanczos"]), default="mean", show_default=True,
    help="How frames become volumes: their mean, or their low-pass filtered value at mid-volume.",
)  # fmt: skip
@options.network_channel
@options.cache
@options.overwrite
@options.dry_run
def command(
    network: Path | None, named: str | None, features: Path | None, lists: Path, out: Path,
    formats: tuple[str, ...], components: int | Literal["all"], stages: tuple[str, ...],
    modulator: str,
    hrf: Literal["spm", "glover"], slice_time_ref: float, nilearn_regressors: tuple[str, ...],
    binning: Literal["mean", "lanczos"], channel: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Write predictions and activations on the scanner's time grid.

    Each volume gets the probability of each genre and the activations of all stages (named parts
    of the network). The directory is a BIDS derivative: each scanner run gets a `_stim.tsv.gz` with
    the probabilities. In its subdirectory activations, each run gets one `.npy` (volumes, units)
    per stage and `_volumes.tsv`; activations.mat is for MATLAB. Each --format is written to a
    subdirectory of the same name; bids adds events, and components to the signals.

    \b
    Example:
      neuromusic export runs/a --lists run_dataset --out derivatives/neuromusic
      neuromusic export runs/a --lists run_dataset --out derivatives/neuromusic \\
          --format bids,spm,nilearn --stages A1,belt --components 5
    """
    from neuromusic.fmri.export.formats import Regressors
    from neuromusic.pipeline.export import export

    regressors = Regressors(components, stages, modulator, hrf, slice_time_ref, nilearn_regressors)
    export(
        options.hearing(network, named, features, channel), lists, out=out, formats=formats,
        regressors=regressors, binning=binning, overwrite=overwrite,
    )  # fmt: skip
    example = min((out / "activations").glob("*_activations.npy"))
    use = (
        f"numpy.load('{example}') in Python, or load('{out}/activations/activations.mat') in MATLAB"
    )
    if formats and formats[0] in USES:
        use = USES[formats[0]].format(out / formats[0])
    options.next_step(f'{use}; the page "Which file goes where" (docs/how-to/export.md) has more')
