"""neuromusic encode: how well the stages of a network predict brain responses."""

from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from neuromusic.cli import options
from neuromusic.cli.image_options import ImageArguments, image_options
from neuromusic.core.figures import FigureStyle


@click.command("encode")
@options.any_network
@click.option("--stages", callback=options.split_names, metavar="NAME[,NAME]",
              help="Stages of a network of others.  [default: all]")  # fmt: skip
@click.option("--bids", type=options.PATH, help="BIDS dataset with the events of the images.")
@click.option(
    "--subjects", default="all", show_default=True, metavar="all|01,02", help="Subjects to encode."
)
@image_options("--bids", "For --bids: ")
@click.option(
    "--components", type=click.IntRange(1),
    help="Number of principal components of each stage.  [default: 100 with --bids, 32 for "
    "responses in time; single responses have none]",
)  # fmt: skip
@click.option("--sounds", type=options.PATH,
              help="Folder of short sounds, searched recursively; with --bids, of the sounds that "
              "were played.  [default with --bids: the network's prepared set]")  # fmt: skip
@click.option(
    "--responses", type=options.PATH,
    help="For --sounds: one value per sound and target, as .mat (R with sounds x targets, "
    "stim_names), .npz or .tsv; or responses in time (sounds x samples x targets and rate_hz), as "
    ".mat, .npz, HDF5 or MNE's .fif.",
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
    "--lags-s", type=float, nargs=2, metavar="FROM TO",
    help="For responses in time: shortest and longest delay after the sound.  [default: 0 0.4]",
)  # fmt: skip
@click.option("--rate-hz", type=float,
              help="For responses in time: sampling rate, if the file does not say; .fif files are "
              "resampled to it.")  # fmt: skip
@click.option("--first-sample-s", type=float,
              help="For responses in time: time of the first sample after the onset of the sound, "
              "if the file does not say.  [default: 0]")  # fmt: skip
@click.option("--onsets", type=options.PATH,
              help="For a recording (.fif): TSV with onset, sound and duration in s.  "
              "[default: its annotations]")  # fmt: skip
@click.option("--window-s", type=float, nargs=2, metavar="FROM TO",
              help="For a recording (.fif): what is taken after each onset.  [default: 0 to the "
              "duration]")  # fmt: skip
@click.option("--dask", metavar="ADDRESS",
              help="For --bids: scheduler of a Dask cluster that fits the voxels, for example "
              "tcp://node1:8786.")  # fmt: skip
@options.network_channel
@options.seed
@options.out("maps, tables and figures")
@options.cache
@options.overwrite
@options.dry_run
@options.figures
def command(
    network: Path | None, named: str | None, features: Path | None, stages: tuple[str, ...],
    bids: Path | None, subjects: str, images: ImageArguments, components: int | None,
    sounds: Path | None, responses: Path | None, protocol: Literal["ours", "tuckute2023"],
    splits: int, statistics: Literal["mean", "mean+deviation"] | None,
    lags_s: tuple[float, float] | None, rate_hz: float | None, first_sample_s: float | None,
    onsets: Path | None, window_s: tuple[float, float] | None, dask: str | None,
    channel: str | None, seed: int, out: Path, overwrite: bool, figures: FigureStyle,
) -> None:  # fmt: skip
    """Predict brain responses from the stages of a network.

    A stage is a named part of the network, such as A1. Responses are predicted by ridge regression
    on each stage, in one of three ways.

    With --bids, from images: every voxel is fitted on the training runs, with delays of 1 to 6
    volumes and a penalty chosen by leave-one-run-out cross-validation, then scored on the test
    clips, averaged over their repeats, and compared with the noise ceiling.

    With --sounds and --responses, from one value per sound and voxel (or component): fitted and
    scored on random halves of the sounds, and compared with a spectro-temporal baseline.

    With --sounds and --responses that have a time axis (electrodes, sensors), from features at
    several lags: fitted and scored on sounds held out, and compared with an acoustic baseline.

    All are compared with the same network with random weights, --bids also with permuted ones
    (the trained weights of each layer in random order). See docs/how-to/encoding.md.

    \b
    Examples:
      neuromusic encode runs/a --bids ds003720 --derivatives fmriprep --roi auditory --out encoded
      neuromusic encode runs/a --bids ds003720 --control-seeds 5 --artists artists.tsv --out new
      neuromusic encode runs/a --bids BIDS --experiment experiment.toml --sounds SOUNDS \\
          --confounds motion --roi whole --out encoded
      neuromusic encode runs/a --sounds wav/ --responses components.mat --out encoded
      neuromusic encode --network my_net.py --sounds wav/ --responses components.mat --out encoded
      neuromusic encode runs/a --sounds stories/ --responses eeg-raw.fif --onsets onsets.tsv \\
          --rate-hz 100 --lags-s -0.1 0.5 --out encoded
    """
    if (bids is None) == (responses is None) or (responses is not None and sounds is None):
        raise click.UsageError("give either --bids, or both --sounds and --responses")
    if bids is not None and channel is not None and sounds is None:
        raise click.UsageError("--channel is for --sounds; images use the network's prepared set")
    heard = options.hearing(network, named, features, channel, stages)
    if bids is not None:
        from neuromusic.core.parallel import Machine
        from neuromusic.design.dataset import Dataset
        from neuromusic.pipeline.encode import encode

        encode(
            heard,
            bids=Dataset(bids, images.experiment, sounds),
            out=out,
            images=images.derivatives,
            subjects="all" if subjects == "all" else subjects.split(","),
            rois=images.rois(),
            options=images.encoding_options(components or 100, seed, figures),
            machine=Machine(dask=dask),
            overwrite=overwrite,
        )
        options.next_step(f"see {out}/figures; {out}/areas.tsv has the numbers")
        return
    assert sounds is not None and responses is not None
    from neuromusic.encoding.timed_responses import TimedInput, is_timed

    given = TimedInput(rate_hz, first_sample_s, onsets, window_s)
    places: dict[str, Any] = {"sounds": sounds, "responses": responses, "out": out}
    if lags_s is not None or given != TimedInput() or is_timed(responses):
        _refuse("responses in time", ("protocol", "splits", "statistics", "dask"))
        from neuromusic.pipeline.encode_timed import TimedOptions, encode_timed

        timed = TimedOptions(lags_s or (0.0, 0.4), components=components or 32, seed=seed)
        encode_timed(
            heard, **places, options=timed, given=given, overwrite=overwrite, figures=figures
        )
        figure = figures.names("scores")[0]
    else:
        _refuse("single responses", ("components", "dask"))
        from neuromusic.pipeline.encode_sounds import SoundOptions, encode_sounds

        encode_sounds(
            heard,
            **places,
            options=SoundOptions(protocol, statistics),
            splits=splits,
            seed=seed,
            overwrite=overwrite,
            figures=figures,
        )
        figure = figures.names("stages")[0]
    options.next_step(f"see {out}/{figure}; {out}/targets.tsv has the numbers")


def _refuse(kind: str, names: tuple[str, ...]) -> None:
    """Raise UsageError for an option that has no meaning for a kind of responses."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is not for {kind}")
