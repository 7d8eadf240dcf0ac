"""neuromusic encode: how well the stages of a network predict brain responses."""

from pathlib import Path
from typing import Literal

import click

from neuromusic.cli import options
from neuromusic.core.figures import FigureStyle


@click.command("encode")
@click.argument("network", type=options.PATH)
@click.option("--bids", type=options.PATH, help="BIDS dataset with the events of the images.")
@click.option(
    "--derivatives",
    type=options.PATH,
    help="Folder of the images, searched recursively.  [default: the folder of --bids]",
)
@click.option(
    "--subjects", default="all", show_default=True, metavar="all|01,02", help="Subjects to encode."
)
@click.option(
    "--roi", default="auditory", show_default=True, metavar="auditory|all|whole|MASK",
    help="For --bids. auditory: Brodmann areas of A1, belt, PB and T2T3; all: every label of the "
    "atlas; whole: all voxels; or a mask image.",
)  # fmt: skip
@click.option(
    "--atlas",
    type=options.PATH,
    help="Label image.  [default: the Talairach atlas, which is installed with the package]",
)
@click.option("--labels", type=options.PATH,
              help="Names of the labels: TSV with columns index and name.")  # fmt: skip
@click.option("--experiment", metavar="FILE",
              help="For --bids: description of the experiment, see `neuromusic experiment`.  "
              "[default: experiment.toml in the folder, or ds003720]")  # fmt: skip
@click.option("--space", help="Use only images with this space- entity in their names.")
@click.option("--res", help="... with this res- entity.")
@click.option("--den", help="... with this den- entity.")
@click.option("--desc", help="... with this desc- entity.")
@click.option("--echo", help="... with this echo- entity.")
@click.option("--ses", help="... with this ses- entity.")
@click.option("--task", help="... with this task- entity.")
@click.option(
    "--confounds", callback=options.split_names, metavar="NAME[,NAME]",
    help="For --bids: fMRIPrep's confounds that are removed: motion, wm_csf, global_signal, scrub, "
    "or nilearn's simple, scrubbing, compcor, ica_aroma.  [default: none]",
)  # fmt: skip
@click.option(
    "--components", type=click.IntRange(1), default=100, show_default=True,
    help="For --bids: number of principal components of each stage.",
)  # fmt: skip
@click.option("--banded", is_flag=True,
              help="For --bids: also fit all stages together, a penalty for each.")  # fmt: skip
@click.option(
    "--high-pass-hz", type=click.FloatRange(0, 0.1, min_open=True), default=1 / 256,
    show_default="1/256", help="For --bids: drifts below this frequency (Hz) are removed.",
)  # fmt: skip
@click.option("--sounds", type=options.PATH,
              help="Folder of short sounds, searched recursively; with --bids, of the sounds that "
              "were played.  [default with --bids: the network's prepared set]")  # fmt: skip
@click.option(
    "--responses", type=options.PATH,
    help="For --sounds: one value per sound and target, as .mat (R with sounds x targets, "
    "stim_names), .npz or .tsv.",
)  # fmt: skip
@click.option(
    "--protocol", type=click.Choice(["ours", "tuckute2023"]), default="ours", show_default=True,
    help="For --sounds: tuckute2023 fits and scores as Tuckute et al. (2023) do, and lists their "
    "published values for the components of natsound165.",
)  # fmt: skip
@click.option(
    "--splits", type=click.IntRange(1), default=10, show_default=True,
    help="For --sounds: number of random splits into training and test halves.",
)  # fmt: skip
@click.option(
    "--statistics", type=click.Choice(["mean", "mean+deviation"]),
    help="For --sounds: summary of each unit over time.  [default: mean+deviation; with "
    "--protocol tuckute2023 always mean]",
)  # fmt: skip
@click.option(
    "--control-seeds", type=click.IntRange(1), default=1, show_default=True,
    help="For --bids: number of networks with random weights, and of those with permuted weights, "
    "that the trained one is compared with.",
)  # fmt: skip
@click.option(
    "--artists", type=options.PATH,
    help="For --bids: artist table; areas are also scored on the test clips that share no artist "
    "with a training clip.",
)  # fmt: skip
@options.network_channel
@options.seed
@options.out("maps, tables and figures")
@options.overwrite
@options.dry_run
@options.figures
def command(
    network: Path, bids: Path | None, derivatives: Path | None, subjects: str, roi: str,
    atlas: Path | None, labels: Path | None, experiment: str | None, space: str | None,
    res: str | None, den: str | None, desc: str | None, echo: str | None, ses: str | None,
    task: str | None, confounds: tuple[str, ...], components: int, banded: bool,
    high_pass_hz: float, control_seeds: int, artists: Path | None, sounds: Path | None,
    responses: Path | None, protocol: Literal["ours", "tuckute2023"], splits: int,
    statistics: Literal["mean", "mean+deviation"] | None, channel: str | None, seed: int, out: Path,
    overwrite: bool, figures: FigureStyle,
) -> None:  # fmt: skip
    """Predict brain responses from the stages of a network.

    A stage is a named part of the network, such as A1. Responses are predicted by ridge regression
    on each stage, in one of two ways.

    With --bids, from images: every voxel is fitted on the training runs, with delays of 1 to 6
    volumes and a penalty chosen by leave-one-run-out cross-validation, then scored on the test
    clips, averaged over their repeats, and compared with the noise ceiling.

    With --sounds and --responses, from one value per sound and voxel (or component): fitted and
    scored on random halves of the sounds, and compared with a spectro-temporal baseline.

    Both are compared with the same network with random weights, --bids also with permuted ones
    (the trained weights of each layer in random order). See docs/encoding.md.

    \b
    Examples:
      neuromusic encode runs/a --bids ds003720 --derivatives fmriprep --roi auditory --out encoded
      neuromusic encode runs/a --bids ds003720 --control-seeds 5 --artists artists.tsv --out new
      neuromusic encode runs/a --bids BIDS --experiment experiment.toml --sounds SOUNDS \\
          --confounds motion --roi whole --out encoded
      neuromusic encode runs/a --sounds wav/ --responses components.mat --out encoded
    """
    if (bids is None) == (responses is None) or (responses is not None and sounds is None):
        raise click.UsageError("give either --bids, or both --sounds and --responses")
    if bids is not None and channel is not None and sounds is None:
        raise click.UsageError("--channel is for --sounds; images use the network's prepared set")
    if bids is not None:
        from neuromusic.design.dataset import Dataset
        from neuromusic.pipeline.encode import EncodingOptions, Rois, encode

        entities = {"space": space, "res": res, "den": den, "desc": desc, "echo": echo,
                    "ses": ses, "task": task}  # fmt: skip
        encode(
            options.hearing(network, channel),
            bids=Dataset(bids, experiment, sounds),
            out=out,
            images=derivatives,
            subjects="all" if subjects == "all" else subjects.split(","),
            rois=Rois(roi, atlas, labels),
            options=EncodingOptions(
                entities={key: value for key, value in entities.items() if value},
                confounds=confounds,
                components=components,
                banded=banded,
                high_pass_hz=high_pass_hz,
                control_seeds=control_seeds,
                artists=artists,
                seed=seed,
                figures=figures,
            ),
            overwrite=overwrite,
        )
        options.next_step(f"see {out}/figures; {out}/areas.tsv has the numbers")
        return
    from neuromusic.pipeline.encode_sounds import SoundOptions, encode_sounds

    assert sounds is not None and responses is not None
    encode_sounds(
        options.hearing(network, channel),
        sounds=sounds,
        responses=responses,
        out=out,
        options=SoundOptions(protocol, statistics),
        splits=splits,
        seed=seed,
        overwrite=overwrite,
        figures=figures,
    )
    options.next_step(f"see {out}/{figures.names('stages')[0]}; {out}/targets.tsv has the numbers")
