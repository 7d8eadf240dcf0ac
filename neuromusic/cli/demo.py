"""neuromusic demo: the whole way on a synthetic corpus."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("demo")
@options.out("everything that the demo makes", "neuromusic-demo")
@options.seed
@options.workers
def command(out: Path, seed: int, workers: int) -> None:
    """Go the whole way on a small synthetic corpus, in about two minutes.

    Synthesises 140 clips, designs an order pair for them, then runs the code that real data run:
    lists, prepare, train, evaluate, export.

    \b
    Example:
      neuromusic demo --out neuromusic-demo
    """
    from neuromusic.pipeline.demo import run_demo

    run_demo(out, seed, workers, options.say)
