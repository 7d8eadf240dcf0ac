"""neuromusic models: list the networks."""

import click

INPUT = "Sizes are for 10 s of sound: 430 frames of 128 mel bands, or 220 500 samples; ten classes."


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from neuromusic.training.library import network_rows

    return [row["name"] for row in network_rows() if row["name"].startswith(incomplete)]


@click.command("models")
@click.argument("name", required=False, shell_complete=_complete)
def command(name: str | None) -> None:
    """List the networks, or the stages of one, or the modules of a network of yours.

    A stage is a named part of a network, such as A1 or conv1, whose activations are exported and
    compared with the brain. A network takes bands (the output of a front end such as log-mel) or
    samples ("wave"). Sizes are for 10 s of sound: 430 frames of 128 mel bands, or 220 500 samples;
    ten classes. Multiply-adds are those of one such window. The receptive field is what one value
    of the last stage before a recurrent layer depends on: seconds, and octaves at 1 kHz.

    NAME may also be a network from elsewhere: a file such as my_net.py, package.module:function, or
    a name of 'neuromusic networks list'. Its modules are then listed, with the shapes of their
    outputs, frames per second, and the seconds of sound that a frame depends on; any of them can be
    a stage.

    \b
    Examples:
      neuromusic models
      neuromusic models cortex-z
      neuromusic models my_net.py
    """
    from neuromusic.cli.tables import in_terminal, show_table

    if name is not None and _is_external(name):
        from neuromusic.models.listing import rows_of
        from neuromusic.models.loading import load_external

        show_table(rows_of(load_external(name)))
        return
    if name is not None:
        from neuromusic.models.summary import stage_rows

        rows = stage_rows(name)
        if in_terminal():
            _state_input()
        show_table(rows, of_people=[_stage_of_people(row) for row in rows])
        return
    from neuromusic.training.library import network_rows

    rows = network_rows()
    if in_terminal():
        _state_input()
    show_table(rows, of_people=[_of_people(row) for row in rows], group="family")


def _is_external(name: str) -> bool:
    from neuromusic.models import list_models
    from neuromusic.models.loading import is_external

    return name not in list_models() and is_external(name)


def _state_input() -> None:
    click.echo(f"{INPUT}\n", err=True)


def _of_people(row: dict[str, str]) -> dict[str, str]:
    return {
        "family": row["family"],
        "name": row["name"],
        "input": row["input"],
        "parameters": f"{int(row['parameters']):,}",
        "multiply-adds": f"{int(row['multiply_adds']) / 1e6:,.0f} M",
        "field (s)": row["receptive_field_s"],
        "octaves": row["receptive_field_octaves"],
    }


def _stage_of_people(row: dict[str, str]) -> dict[str, str]:
    names = ("stage", "Brodmann", "shape", "parameters", "multiply-adds", "field (s)", "octaves")
    columns = ("stage", "Brodmann", "shape (..., time)", "parameters", "multiply-adds", "field (s)",
               "field (octaves)")  # fmt: skip
    return {name: row[column] for name, column in zip(names, columns, strict=True)}
