"""neuromusic similar: search by sound."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("similar")
@click.argument("run", type=options.DIRECTORY)
@click.option("--clip", type=options.DIRECTORY, required=True, help="The sound file to start from.")
@click.option(
    "--among", type=options.DIRECTORY, required=True, help="Folder of sound files, at any depth."
)
@click.option("-k", "k", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--stage", help="Stage of the network to compare in; the last without it.")
@click.option(
    "--index", "file", type=options.DIRECTORY, help="Index to keep; RUN/index-STAGE.npz without it."
)
@click.option("--out", type=options.DIRECTORY, help="Table to write; stdout without it.")
def command(
    run: Path, clip: Path, among: Path, k: int, stage: str | None, file: Path | None,
    out: Path | None,
) -> None:  # fmt: skip
    """Find the clips to which a network responds most alike.

    By the cosine between the activations of a stage, each averaged over the clip. What was heard is
    kept in an index, so a second search hears only what is new. Columns: rank, file, similarity.

    \b
    Example:
      neuromusic similar runs/a --clip song.wav --among clips/ -k 5 --stage PB
    """
    from neuromusic.core.files import write_text
    from neuromusic.pipeline.similar import similar

    table = similar(run, clip, among, k, stage, file, lambda text: click.echo(text, err=True))
    text = table.to_csv(sep="\t", index=False, float_format="%.6f")
    if out is None:
        click.echo(text, nl=False)
        return
    write_text(out, text)
    click.echo(f"wrote {out}: {len(table)} clips")
