"""neuromusic cache: the activations that commands with --cache have stored."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("cache")
@click.argument("directory", type=options.PATH)
@click.option("--limit-gb", type=click.FloatRange(0, min_open=True),
              help="New limit of the size in GB; 20 in a new cache.")  # fmt: skip
@click.option("--clear", is_flag=True, help="Remove all entries.")
def command(directory: Path, limit_gb: float | None, clear: bool) -> None:
    """Show a cache of activations, limit its size, or empty it.

    A cache is made by --cache of encode, export, similar and benchmark, such as `neuromusic encode
    runs/a --bids ds003720 --cache cache --out encoded`. An entry holds the
    activations of one network for one sound. If the entries are larger than the limit, those that
    were not used for the longest time are removed. Nothing is lost: what is missing is computed
    again.

    \b
    Examples:
      neuromusic cache cache
      neuromusic cache cache --limit-gb 50
      neuromusic cache cache --clear
    """
    from neuromusic.core.plan import size_text
    from neuromusic.pipeline.cache import cache

    state = cache(directory, limit_gb=limit_gb, clear=clear)
    lines = {
        "entries": str(state.n_entries),
        "size": f"{size_text(state.n_bytes)} of at most {size_text(1e9 * state.limit_gb)}",
        "oldest use": f"{state.oldest:%Y-%m-%d %H:%M}" if state.oldest else "n/a",
        "newest use": f"{state.newest:%Y-%m-%d %H:%M}" if state.newest else "n/a",
    }
    for name, value in lines.items():
        click.echo(f"{name:<12}{value}")
