"""neuromusic verify: whether directories are what their records say."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("verify")
@click.argument("directories", type=options.DIRECTORY, nargs=-1, required=True, metavar="DIR...")
@click.option(
    "--rerun", is_flag=True,
    help="Do the step again beside DIR, and compare byte by byte: lists, prepare, train, export.",
)  # fmt: skip
@click.pass_context
def command(context: click.Context, directories: tuple[Path, ...], rerun: bool) -> None:
    """Hash again what the records in directories name: their own files, and what they came from.

    Of whatever neuromusic made, wherever it lies now; a directory of several steps is checked step
    by step. Exits with 1 if a file has changed or is missing. An input that is no longer here is
    told and not judged.

    \b
    Examples:
      neuromusic verify run_dataset prepared runs/a
      neuromusic verify prepared --rerun
    """
    from neuromusic.pipeline.verify import verify

    good = [verify(directory, rerun, options.say) for directory in directories]
    options.say("all that is here is as recorded" if all(good) else "not as recorded")
    if not all(good):
        context.exit(1)
