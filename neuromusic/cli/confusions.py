"""neuromusic confusions: compare a network's confusions with listeners' and the brain's."""

from pathlib import Path

import click

from neuromusic.cli import options
from neuromusic.core.figures import FigureStyle


@click.command("confusions")
@click.argument("network", type=options.PATH)
@click.option("--behaviour", type=options.PATH, required=True,
              help="Folder of the listeners' spreadsheets, one .xlsx per subject.")  # fmt: skip
@click.option("--decoding", type=options.PATH, required=True,
              help="Genres decoded from the brain: TSV with subject, y_true, y_pred.")  # fmt: skip
@options.seed
@options.out("the three matrices, their rank correlations and a figure")
@options.figures
@options.overwrite
@options.dry_run
def command(
    network: Path, behaviour: Path, decoding: Path, seed: int, out: Path, figures: FigureStyle,
    overwrite: bool,
) -> None:  # fmt: skip
    """Compare the confusions of a network, listeners and the brain.

    Tests whether they confuse the same genres. Compares the confusion matrix of a trained network
    or a cross-validation with those of the listeners and of brain decoding: rank correlations of
    the off-diagonal cells, with one-sided p values from permutations of the genres.

    \b
    Example:
      neuromusic confusions runs/cv --behaviour behaviour/ --decoding predictions_480_clips.tsv \\
        --out confusions
    """
    from neuromusic.pipeline.confusions import confusions

    confusions(
        network, behaviour=behaviour, decoding=decoding, out=out, seed=seed, figures=figures,
        overwrite=overwrite,
    )  # fmt: skip
