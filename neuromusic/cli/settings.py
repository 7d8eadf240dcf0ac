"""neuromusic settings: the settings that are installed with the package."""

from typing import Any

import click
from click.shell_completion import CompletionItem


class _Settings(click.ParamType):
    """A TOML file of settings, or a name; the shell completes both."""

    name = "settings"

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so; without any, let the shell complete files."""
        from neuromusic.training.library import settings_names

        names = [name for name in settings_names() if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


SETTINGS = _Settings()
settings = click.argument("settings", type=SETTINGS, metavar="SETTINGS")


def _complete(_: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    return [item for item in SETTINGS.shell_complete(_, parameter, incomplete) if item.value]


@click.command("settings")
@click.argument("name", required=False, shell_complete=_complete)
def command(name: str | None) -> None:
    """List the settings in the package, or print one to edit.

    `train`, `crossval`, `sweep` and `run` take a name from this list or a TOML file of your own.

    \b
    Examples:
      neuromusic settings
      neuromusic settings cortex > mine.toml
    """
    from neuromusic.cli.tables import show_table
    from neuromusic.core.errors import InputError, did_you_mean
    from neuromusic.training import library

    if name is None:
        show_table(library.settings_rows(), group="group")
        return
    if name not in library.settings_names():
        raise InputError(
            f"unknown settings {name!r}{did_you_mean(name, library.settings_names())}; "
            "'neuromusic settings' lists them"
        )
    click.echo(library.settings_text(name), nl=False)
