"""neuromusic predict: predict the genre of sound files."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from neuromusic.cli import options, tables

if TYPE_CHECKING:
    import pandas as pd

N_NEXT = 2  # classes after the predicted one in a terminal


@click.command("predict")
@click.argument("network", type=options.PATH)
@click.argument("files", type=options.PATH, nargs=-1, required=True, metavar="FILE...")
@options.network_channel
@options.table_out
@options.overwrite
def command(
    network: Path, files: tuple[Path, ...], channel: Literal["mix", "left", "right"] | None,
    out: Path | None, overwrite: bool,
) -> None:  # fmt: skip
    """Predict the genre of sound files.

    The files may have any format, length and sampling rate. A terminal shows the predicted genre of
    each file and the two genres after it, with their probabilities, and the number of windows
    (pieces of sound) that were averaged. A pipe, or --out, gets TSV with one row per file: file,
    predicted genre, its probability, and one column of probabilities per genre.

    \b
    Example:
      neuromusic predict runs/a song.mp3 other.wav --out p.tsv
    """
    from neuromusic.pipeline.predict import predict

    options.check_not_input(out, files)
    table = predict(network, files, channel=channel)
    if out is None and tables.in_terminal():
        tables.show_table(_rows_for_people(table))
    else:
        options.write_table(table, out, "files", overwrite)


def _rows_for_people(table: "pd.DataFrame") -> list[tables.Row]:
    """Return one row per file with the most probable genres only."""
    classes = list(table.columns[3:])
    rows = []
    for (_, row), windows in zip(table.iterrows(), table.attrs["windows"], strict=True):
        ranked = sorted(classes, key=lambda name: -row[name])
        others = [name for name in ranked if name != row["predicted"]]
        rows.append(
            {
                "file": row["file"],
                "predicted": row["predicted"],
                "probability": f"{row['probability']:.3f}",
                "next": ", ".join(f"{name} {row[name]:.3f}" for name in others[:N_NEXT]),
                "windows": str(windows),
            }
        )
    return rows
