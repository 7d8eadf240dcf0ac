"""neuromusic similar: find clips that a network responds to in a similar way."""

from pathlib import Path

import click

from neuromusic.cli import options, tables


@click.command("similar")
@options.any_network
@click.option("--clip", type=options.PATH, required=True, help="Sound file to compare with.")
@click.option(
    "--among", type=options.PATH, required=True, help="Folder of sound files, searched recursively."
)
@click.option("-k", "k", type=click.IntRange(1), default=10, show_default=True,
              help="Number of clips to return.")  # fmt: skip
@click.option("--stage", help="Stage (named part) of the network.  [default: the last]")
@click.option("--index", type=options.PATH, help="Index file.  [default: NETWORK/index-STAGE.npz]")
@options.network_channel
@options.table_out
@options.cache
@options.overwrite
@options.dry_run
def command(
    network: Path | None, named: str | None, features: Path | None, clip: Path, among: Path,
    k: int, stage: str | None, index: Path | None, channel: str | None, out: Path | None,
    overwrite: bool,
) -> None:  # fmt: skip
    """Find the clips to which a network responds most similarly.

    Similarity is the cosine between the activations of a stage, averaged over each clip. The
    averages are kept in an index, so a second search processes only new files. The table has the
    columns rank, file and similarity. --overwrite replaces an index of another network or stage,
    and another table in --out.

    \b
    Example:
      neuromusic similar runs/a --clip song.wav --among clips/ -k 5 --stage PB
    """
    from neuromusic.pipeline.similar import similar

    options.check_not_input(out, [clip])
    heard = options.hearing(network, named, features, channel)
    table = similar(heard, clip, among=among, k=k, stage=stage, index=index, overwrite=overwrite)
    if out is None and tables.in_terminal():
        digits = table.assign(similarity=table["similarity"].map("{:.3f}".format))
        tables.show_table(digits.astype(str).to_dict("records"))
    else:
        options.write_table(table, out, "clips", overwrite)
