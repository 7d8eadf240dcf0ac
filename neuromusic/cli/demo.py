"""neuromusic demo: the whole pipeline on a synthetic corpus."""

import shlex
from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.core.figures import FigureStyle

GUIDE = """
{out} contains
  clips, orders  140 synthetic clips of 15 s, and order files: which clip is played when
  run_dataset    the clips under the names of their runs, and the stimulus lists
  prepared       the features (log-mel) of all clips; ten variants of each training clip
  run            the trained network, its scores (evaluation.json) and figures
  export         probabilities and activations for each volume of the scanner
  report.html    a page about all of it: open it in a browser

now try
  neuromusic predict {out}/run {out}/clips/{clip}
  neuromusic similar {out}/run --clip {out}/clips/{clip} --among {out}/clips
  neuromusic models

with your own experiment: two order files, and a folder CLIPS with the clips that they name
  neuromusic lists --train-order ExpTrnOrder.mat --test-order ExpValOrder.mat \\
    --clips CLIPS --out run_dataset
  neuromusic prepare run_dataset --out prepared
  neuromusic train cortex --prepared prepared --out runs/cortex
  neuromusic evaluate runs/cortex
  neuromusic export runs/cortex --lists run_dataset --out derivatives/neuromusic

with your own sounds: a folder SOUNDS with one folder per class
  neuromusic lists --from-folder SOUNDS --out run_dataset
  and prepare, train and evaluate as above"""


@click.command("demo")
@options.out("everything that the demo writes", "neuromusic-demo")
@options.seed
@options.workers
@options.overwrite
@options.dry_run
@options.figures
def command(out: Path, seed: int, workers: int, overwrite: bool, figures: FigureStyle) -> None:
    """Run the whole pipeline on a small synthetic corpus.

    Takes about two minutes and half a gigabyte, and needs no data. Synthesises 140 clips and
    designs order files for them, then runs the same code as for real data: lists, prepare, train,
    evaluate, export. At the end it says what it wrote and how to continue.

    \b
    Example:
      neuromusic demo --out neuromusic-demo
    """
    from neuromusic.pipeline.demo import demo

    demo(out, seed=seed, workers=workers, overwrite=overwrite, figures=figures)
    clip = min(path.name for path in (out / "clips").glob("*.wav"))
    click.echo(GUIDE.format(out=shlex.quote(str(out)), clip=clip))
