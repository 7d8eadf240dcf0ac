"""neuromusic models: list the registered networks."""

import click


@click.command("models")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the networks, or the stages of one.

    Sizes are given for windows of 10 s with 128 mel bands and 23.2 ms per frame, or for 5 s of
    samples.

    \b
    Examples:
      neuromusic models
      neuromusic models cortex-z
    """
    from neuromusic.models.summary import model_rows, stage_rows

    rows = model_rows() if name is None else stage_rows(name)
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    for row in [{key: key for key in widths}, *rows]:
        click.echo("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
