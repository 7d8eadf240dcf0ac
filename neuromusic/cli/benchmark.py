"""neuromusic benchmark: several networks beside several sets of responses."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.core.figures import FigureStyle


@click.command("benchmark")
@click.argument("settings", type=options.PATH, metavar="SETTINGS.toml")
@click.option("--network", "networks", multiple=True,
              help="A further network, as for `encode --network`. May be repeated.")  # fmt: skip
@click.option("--dataset", "datasets", multiple=True,
              help="A further data set: its name, or a TOML file that describes it. May be "
              "repeated.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True,
              help="Number of encodings at the same time; each needs its own memory.")  # fmt: skip
@click.option("--dask", metavar="ADDRESS",
              help="Dask scheduler that distributes the encodings instead.")  # fmt: skip
@options.out("the encodings, the tables and the figure", "benchmark")
@options.figures
@options.cache
@options.overwrite
@options.dry_run
@click.pass_context
def command(
    context: click.Context, settings: Path, networks: tuple[str, ...], datasets: tuple[str, ...],
    workers: int, dask: str | None, out: Path, figures: FigureStyle, overwrite: bool,
) -> None:  # fmt: skip
    """Compare networks by how well they predict brain responses.

    The settings name networks and data sets; docs/how-to/networks.md describes them. Each network
    and data set is encoded once, into OUT/NETWORK/DATASET. To continue after an interruption, or
    after adding a network or a data set, repeat the command. Exits with 1 if a network failed; the
    others are finished.

    \b
    Examples:
      neuromusic benchmark experiments/benchmark.toml --out benchmark
      neuromusic benchmark benchmark.toml --network my_net.py --dataset mine.toml --out benchmark
    """
    from neuromusic.core.parallel import Machine
    from neuromusic.pipeline.benchmark import benchmark

    result = benchmark(
        settings, out=out, networks=networks, datasets=datasets,
        machine=Machine(workers, dask=dask), overwrite=overwrite, figures=figures,
    )  # fmt: skip
    click.echo(result.text, nl=False)
    context.exit(1 if result.failures else 0)
