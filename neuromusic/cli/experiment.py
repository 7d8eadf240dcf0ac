"""neuromusic experiment: describe any experiment, compare it with the data, and draw it."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.cli.commands import Subcommands


@click.group("experiment", cls=Subcommands)
def command() -> None:
    """Describe an experiment, compare it with its data, and draw it.

    \b
    Example:
      neuromusic experiment inspect BIDS --out experiment.toml
    """


@command.command()
@click.argument("bids", type=options.PATH)
@click.option("--out", type=options.PATH, required=True, help="Description to write (TOML).")
@options.overwrite
def inspect(bids: Path, out: Path, overwrite: bool) -> None:
    """Write a description from what is in a BIDS dataset.

    Comments in the file say what was found, and what could not be decided.

    \b
    Example:
      neuromusic experiment inspect BIDS --out experiment.toml
    """
    from neuromusic.pipeline.experiment import inspect_experiment

    inspect_experiment(bids, out=out, overwrite=overwrite)
    options.next_step(f"neuromusic experiment check {out} --bids {bids}")


@command.command()
@click.argument("experiment", type=options.PATH)
@click.option("--bids", type=options.PATH, required=True, help="BIDS dataset to compare with.")
@click.option("--sounds", type=options.PATH, help="Folder with the sounds, found by name.")
@click.pass_context
def check(context: click.Context, experiment: Path, bids: Path, sounds: Path | None) -> None:
    """Compare a description with events, images and sounds.

    EXPERIMENT is a description or the name of a preset. Prints one line per subject, then one line
    per mismatch. Exits with 1 if there are mismatches.

    \b
    Example:
      neuromusic experiment check experiment.toml --bids BIDS --sounds SOUNDS
    """
    from neuromusic.pipeline.experiment import check_experiment

    result = check_experiment(experiment, bids=bids, sounds=sounds)
    for line in result.agreements:
        click.echo(line)
    for line in result.information:
        click.echo(f"note: {line}")
    for line in result.mismatches:
        click.echo(f"mismatch: {line}")
    n = len(result.mismatches)
    found = f"{n} mismatch{'es' * (n > 1)}" if n else "no mismatch"
    click.echo(f"{found} in {result.n_runs} runs")
    if any(", row " in line for line in result.mismatches):
        click.echo("row 1 is the first below the header")
    context.exit(1 if n else 0)


@command.command()
@click.argument("experiment", type=options.PATH)
@click.option("--bids", type=options.PATH, required=True, help="BIDS dataset with the events.")
@click.option("--subject", help="Subject to draw.  [default: the first]")
@click.option(
    "--out", type=options.PATH, default="design.png", show_default=True,
    help="Picture to write: .png, .pdf or .svg.",
)  # fmt: skip
@options.overwrite
def show(experiment: Path, bids: Path, subject: str | None, out: Path, overwrite: bool) -> None:
    """Draw all runs of a subject, and count what an experiment contains.

    EXPERIMENT is a description or the name of a preset.

    \b
    Example:
      neuromusic experiment show experiment.toml --bids BIDS --out design.png
    """
    from neuromusic.pipeline.experiment import show_experiment

    counts = show_experiment(experiment, bids=bids, out=out, subject=subject, overwrite=overwrite)
    width = max(map(len, counts["what"]))
    for what, n in zip(counts["what"], counts["n"], strict=True):
        click.echo(f"{what:<{width}}  {n}")
