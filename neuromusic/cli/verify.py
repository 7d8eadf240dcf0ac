"""neuromusic verify: check directories against their provenance records."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("verify")
@click.argument("directories", type=options.PATH, nargs=-1, required=True, metavar="DIR...")
@click.option(
    "--rerun", is_flag=True,
    help="Also repeat the command that made DIR and compare the files byte by byte.",
)  # fmt: skip
@click.pass_context
def command(context: click.Context, directories: tuple[Path, ...], rerun: bool) -> None:
    """Check files against their provenance records.

    Every file is hashed (SHA-256) and compared with its record. Works for every directory that
    neuromusic wrote, even if it was moved; if it contains several outputs, each is checked. The
    inputs are checked too, and that scores and figures belong to the weights beside them. Exits
    with 1 if a file has changed, is missing or is in no record; inputs that cannot be found are
    listed but are no failure.

    \b
    Examples:
      neuromusic verify run_dataset prepared runs/a
      neuromusic verify prepared --rerun
    """
    from neuromusic.pipeline.verify import verify

    passed = [verify(directory, rerun=rerun) for directory in directories]
    click.echo("all files are as recorded" if all(passed) else "not as recorded")
    context.exit(0 if all(passed) else 1)
