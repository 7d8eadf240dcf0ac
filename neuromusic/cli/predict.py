"""neuromusic predict: the genre of sound files."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("predict")
@click.argument("run", type=options.DIRECTORY)
@click.argument("files", type=options.DIRECTORY, nargs=-1, required=True, metavar="FILE...")
@click.option("--out", type=options.DIRECTORY, help="Table to write; stdout without it.")
def command(run: Path, files: tuple[Path, ...], out: Path | None) -> None:
    """Say which genre sound files are: any format, length and rate.

    Columns: file, predicted, probability, and one a genre.

    \b
    Example:
      neuromusic predict runs/a song.mp3 other.wav --out p.tsv
    """
    import pandas as pd

    from neuromusic.core.files import write_text
    from neuromusic.evaluation.predict import predict_files, prediction_table
    from neuromusic.training.trained import load_network

    loaded = load_network(run)
    log_p = predict_files(files, loaded)
    names = pd.DataFrame({"file": [str(path) for path in files]})
    table = prediction_table(names, log_p, loaded.classes)
    text = table.to_csv(sep="\t", index=False, float_format="%.6f")
    if out is None:
        click.echo(text, nl=False)
        return
    write_text(out, text)
    click.echo(f"wrote {out}: {len(files)} files")
