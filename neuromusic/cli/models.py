"""neuromusic models: the registry."""

import click


@click.command("models")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the networks, or show the stages of one.

    For an input of 128 mel bands at 23.2 ms a frame and windows of 9.9 s, unless a network asks for
    another.

    \b
    Examples:
      neuromusic models
      neuromusic models cortex-z
    """
    from neuromusic.models.table import model_rows, stage_rows

    rows = model_rows() if name is None else stage_rows(name)
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    for row in [{key: key for key in widths}, *rows]:
        click.echo("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
