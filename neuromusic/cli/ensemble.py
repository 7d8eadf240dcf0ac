"""neuromusic ensemble: make one network of several."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("ensemble")
@click.argument("networks", type=options.PATH, nargs=-1, required=True, metavar="NETWORK...")
@click.option("--prepared", type=options.PATH,
              help="Where the prepared set of the networks is now, if it was moved.")  # fmt: skip
@options.out("the ensemble")
@options.overwrite
@options.dry_run
def command(
    networks: tuple[Path, ...], prepared: Path | None, out: Path, overwrite: bool
) -> None:  # fmt: skip
    """Make one network of several that answer together.

    The ensemble is a trained network like any other: evaluate, predict, export, encode, similar and
    compare take it. Its probabilities are the mean of those of its members, at a temperature that
    is fitted on the validation clips that all members held out; without such clips none is fitted.
    Its stages are those of all members.

    The members must have been trained on the same prepared set. Members that make the same
    mistakes, such as seeds of one recipe, gain nothing: they should differ in what they take in,
    such as network, window length, or statistics of bands.

    \b
    Examples:
      neuromusic ensemble runs/cortex runs/bands --out runs/both
      neuromusic ensemble runs/cortex runs/short runs/bands --out runs/three
    """
    from neuromusic.pipeline.ensemble import ensemble

    ensemble(networks, prepared=prepared, out=out, overwrite=overwrite)
    options.next_step(f"neuromusic evaluate {out}")
