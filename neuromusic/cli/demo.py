"""neuromusic demo: the whole pipeline on a synthetic corpus."""

from pathlib import Path

import click

from neuromusic.cli import options

OWN_DATA = """
with your own data:
  neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat --clips CLIPS \
--out run_dataset
  neuromusic prepare run_dataset --out prepared
  neuromusic train experiments/cortex.toml --prepared prepared --out runs/cortex
  neuromusic evaluate runs/cortex
  neuromusic export runs/cortex --lists run_dataset --out derivatives/neuromusic"""


@click.command("demo")
@options.out("everything that the demo writes", "neuromusic-demo")
@options.seed
@options.workers
def command(out: Path, seed: int, workers: int) -> None:
    """Run the whole pipeline on a small synthetic corpus.

    Takes about two minutes. Synthesises 140 clips and designs order files for them, then runs the
    same code as for real data: lists, prepare, train, evaluate, export.

    \b
    Example:
      neuromusic demo --out neuromusic-demo
    """
    from neuromusic.pipeline.demo import demo

    demo(out, seed=seed, workers=workers)
    click.echo(f"\nfigures: {out / 'run' / 'figures'}\nexport:  {out / 'export'}\n{OWN_DATA}")
