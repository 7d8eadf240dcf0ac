"""neuromusic confusions: the network's, the listeners' and the brain's."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("confusions")
@click.argument("run", type=options.DIRECTORY)
@click.option("--behaviour", type=options.DIRECTORY, required=True,
              help="Folder of the listeners' spreadsheets, one .xlsx a subject.")  # fmt: skip
@click.option("--decoding", type=options.DIRECTORY, required=True,
              help="Decoded from the brain: TSV with subject, y_true, y_pred.")  # fmt: skip
@options.seed
@options.out("three matrices, their rank correlations and a figure")
def command(run: Path, behaviour: Path, decoding: Path, seed: int, out: Path) -> None:
    """Ask whether a network confuses what people and brains confuse.

    Sets its confusion matrix (of a run or a cross-validation) beside the listeners' and the brain's
    and correlates the cells off the diagonal, with p from permutations of the genres.

    \b
    Example:
      neuromusic confusions runs/cv --behaviour behaviour/ --decoding predictions_480_clips.tsv \\
        --out confusions
    """
    from neuromusic.pipeline.confusions import compare_confusions

    compare_confusions(run, behaviour, decoding, seed, out, options.say)
