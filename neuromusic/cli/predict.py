"""neuromusic predict: predict the genre of sound files."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("predict")
@click.argument("network", type=options.PATH)
@click.argument("files", type=options.PATH, nargs=-1, required=True, metavar="FILE...")
@click.option("--out", type=options.PATH, help="Table to write (TSV).  [default: stdout]")
def command(network: Path, files: tuple[Path, ...], out: Path | None) -> None:
    """Predict the genre of sound files.

    The files may have any format, length and sampling rate. The table has one row per file: file,
    predicted genre, its probability, and one column of probabilities per genre.

    \b
    Example:
      neuromusic predict runs/a song.mp3 other.wav --out p.tsv
    """
    from neuromusic.pipeline.predict import predict

    options.write_table(predict(network, files), out, "files")
