"""neuromusic export: predictions and activations on the scanner's time grid."""

from pathlib import Path

import click

from neuromusic.cli import options


def _names(context: click.Context, parameter: click.Parameter, given: object) -> tuple[str, ...]:
    """Split names at commas; an option may be repeated too."""
    texts = [given] if isinstance(given, str) else given or ()
    names = [name.strip() for text in texts for name in text.split(",")]  # type: ignore[attr-defined]
    return tuple(name for name in names if name)


def _how_many(context: click.Context, parameter: click.Parameter, given: str) -> int | str:
    if given == "all":
        return given
    if not given.isdecimal() or int(given) < 1:
        raise click.BadParameter(f"{given!r}: expected a number from 1, or all")
    return int(given)


@click.command("export")
@click.argument("run", type=options.DIRECTORY)
@click.option("--lists", type=options.DIRECTORY, required=True, help="Stimulus lists with runs.")
@options.out("the derivative")
@click.option(
    "--format", "formats", multiple=True, callback=_names, metavar="NAME[,NAME]",
    help="bids, spm, fsl, afni, nilearn, hdf5, npz or mat; several with commas or repeated.",
)  # fmt: skip
@click.option(
    "--components", default="10", show_default=True, callback=_how_many, metavar="N|all",
    help="Principal components of a stage that become regressors, or all units.",
)  # fmt: skip
@click.option(
    "--stages",
    callback=_names,
    metavar="NAME[,NAME]",
    help="Stages for regressors.  [default: all]",
)
@click.option(
    "--modulator", default="probability", show_default=True, metavar="NAME",
    help="What modulates the trials of a genre (SPM pmod, AFNI): probability, or as A1_pc01.",
)  # fmt: skip
@click.option(
    "--hrf", type=click.Choice(["spm", "glover"]), default="spm", show_default=True,
    help="Response for the regressors that are convolved here (spm, afni, nilearn).",
)  # fmt: skip
@click.option(
    "--binning", type=click.Choice(["mean", "lanczos"]), default="mean", show_default=True,
    help="A volume is the mean of its frames, or their value in its middle without aliasing.",
)  # fmt: skip
def command(
    run: Path, lists: Path, out: Path, formats: tuple[str, ...], components: int | str,
    stages: tuple[str, ...], modulator: str, hrf: str, binning: str,
) -> None:  # fmt: skip
    """Write what a run makes of every volume: genre probabilities and stage activations.

    For each scanner run `_stim.tsv.gz` + JSON, one `.npy` (volumes, units) + JSON a stage and
    `_volumes.tsv`; and activations.mat for MATLAB. Each --format goes into a directory of its name
    beside these.

    \b
    Example:
      neuromusic export runs/a --lists run_dataset --out derivatives/neuromusic
      neuromusic export runs/a --lists run_dataset --out derivatives/neuromusic \\
          --format bids,spm,nilearn --stages A1,belt --components 5
    """
    from neuromusic.fmri.export.formats import Wanted
    from neuromusic.pipeline.export import make_export

    wanted = Wanted(formats, components, stages, modulator, hrf, binning)  # type: ignore[arg-type]
    make_export(run, lists, out, options.say, wanted)
    if formats:
        options.next_step(f"docs/export.md says which file of {out} goes where")
    else:
        options.next_step(
            f"numpy.load('{out}/task-Training_run-01_stage-A1_activations.npy') in Python, or "
            f"load('{out}/activations.mat') in MATLAB"
        )
