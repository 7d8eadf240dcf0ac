"""neuromusic-bids: the BIDS App, which encodes the participants of a BIDS dataset."""

from pathlib import Path
from typing import Any, Literal

import click

from neuromusic.cli import options
from neuromusic.cli.image_options import ImageArguments, image_options
from neuromusic.cli.main import Ending
from neuromusic.core.cores import set_thread_environment
from neuromusic.core.errors import counted
from neuromusic.core.figures import FigureStyle
from neuromusic.core.version import __version__

PARTICIPANTS = ("--participant-label", "--participant_label")


class _App(Ending):
    """A command with the conventions of BIDS Apps."""

    out_name = "output directory"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; labels of participants may be separated by spaces."""
        return super().parse_args(ctx, _with_joined_labels(args))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the app, with its messages on the terminal."""
        from neuromusic.cli.log import echoing_log  # logging takes a moment: not for --help
        from neuromusic.core import progress

        set_thread_environment()
        ctx.with_resource(echoing_log())
        ctx.call_on_close(progress.stop)  # after an error, before its message
        return super().invoke(ctx)


def _with_joined_labels(args: list[str]) -> list[str]:
    """Return arguments in which ``--participant-label 01 02`` is ``--participant-label 01,02``.

    The labels end at the next option. Click's options have a fixed number of values.
    """
    joined: list[str] = []
    labels: list[str] | None = None  # those of the option that is being read
    for word in [*args, "--"]:  # the last word only ends the labels
        if labels is not None and not word.startswith("-"):
            labels.append(word)
            continue
        if labels is not None:
            joined += [PARTICIPANTS[0], *([",".join(labels)] if labels else [])]
            labels = None
        if word in PARTICIPANTS:
            labels = []
        else:
            joined.append(word)
    return joined[:-1]


@click.command(
    "neuromusic-bids", cls=_App, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.argument("bids_dir", type=options.PATH)
@click.argument("output_dir", type=options.PATH)
@click.argument("analysis_level", type=click.Choice(["participant", "group"]))
@click.option(
    *PARTICIPANTS, "participants", multiple=True, callback=options.split_names, metavar="LABEL ...",
    help="Participants, with or without sub-; several separated by spaces.  [default: all]",
)  # fmt: skip
@click.option(
    "--network",
    help="For participants: the directory of a trained network, my_net.py, package.module:"
    "function, a name of `neuromusic networks list`, hf:NAME, torchaudio:PIPELINE or torchvision:"
    "NAME. For the group it is optional, and checked to be the same.",
)  # fmt: skip
@click.option(
    "--stages", callback=options.split_names, metavar="NAME[,NAME]",
    help="Stages of a network of others.  [default: all]",
)  # fmt: skip
@click.option(
    "--sounds", type=options.PATH,
    help="Folder of the sounds that were played, searched recursively.  [default: the network's "
    "prepared set]",
)  # fmt: skip
@image_options("BIDS_DIR")
@click.option("--components", type=click.IntRange(1), default=100, show_default=True,
              help="Number of principal components of each stage.")  # fmt: skip
@click.option(
    "-w", "--work-dir", "work", type=options.PATH,
    help="Folder for intermediate files, which several processes may share: activations of the "
    "network, which are then computed once for all participants, and voxels that are being "
    "fitted.  [default: beside the results, until these are complete]",
)  # fmt: skip
@click.option(
    "--skip-bids-validation", "--skip_bids_validation", "skip_validation", is_flag=True,
    help="Do not run the BIDS validator on BIDS_DIR.",
)  # fmt: skip
@options.seed
@options.overwrite
@options.figures
@click.version_option(__version__, prog_name="neuromusic-bids")
def command(
    bids_dir: Path, output_dir: Path, analysis_level: Literal["participant", "group"],
    participants: tuple[str, ...], network: str | None, stages: tuple[str, ...],
    sounds: Path | None, images: ImageArguments, components: int, work: Path | None,
    skip_validation: bool, seed: int, overwrite: bool, figures: FigureStyle,
) -> None:  # fmt: skip
    """Predict the brain responses of the participants of a BIDS dataset from a network's stages.

    BIDS_DIR is the dataset, OUTPUT_DIR the BIDS derivative that is written.

    ANALYSIS_LEVEL participant encodes each participant, as `neuromusic encode --bids` does. Those
    that are done are skipped, and so are those that another process is encoding: start the same
    command several times to encode several participants at once.

    ANALYSIS_LEVEL group joins all participants: tests over participants, tables and figures. It
    encodes nothing, and takes the same options. See docs/how-to/bids_app.md.

    \b
    Examples:
      neuromusic-bids ds003720 out participant --network runs/a --derivatives fmriprep
      neuromusic-bids ds003720 out participant --participant-label 001 002 --network runs/a
      neuromusic-bids ds003720 out group
    """
    if analysis_level == "participant" and network is None:
        raise click.UsageError("--network is needed to encode participants")
    from neuromusic.design.dataset import Dataset
    from neuromusic.pipeline.bids_app import App, encode_participants, join_participants

    app = App(
        bids=Dataset(bids_dir, images.experiment, sounds),
        out=output_dir,
        labels=participants,
        images=images.derivatives,
        rois=images.rois(),
        options=images.encoding_options(components, seed, figures),
        work=work,
        skip_validation=skip_validation,
        overwrite=overwrite,
    )
    heard: Any = options.hearing(None, network, None, None, stages) if network else None
    if analysis_level == "group":
        group = join_participants(heard, app)
        options.next_step(f"see {group}/figures; {group}/group.tsv has the tests")
        return
    states = encode_participants(heard, app)
    busy = [label for label, state in states.items() if state == "busy"]
    done = len(states) - len(busy)
    click.echo(
        f"{done} of {counted(len(states), 'participant')} done"
        + (f"; another process is encoding sub-{', sub-'.join(busy)}" if busy else "")
    )
    options.next_step(f"neuromusic-bids {bids_dir} {output_dir} group, when all are done")


def main() -> None:
    """Run the app under its name, as the entry point ``neuromusic-bids``."""
    command(prog_name="neuromusic-bids")


if __name__ == "__main__":
    main()
