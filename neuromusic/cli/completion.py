"""neuromusic completion: make the shell complete commands, options and names."""

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that makes the shell complete commands.

    Add one of these lines to the file that your shell reads when it starts (~/.bashrc, ~/.zshrc or
    ~/.config/fish/config.fish), and open a new terminal.

    \b
    Examples:
      neuromusic completion bash          # source <(neuromusic completion bash)
      neuromusic completion zsh           # source <(neuromusic completion zsh)
      neuromusic completion fish          # neuromusic completion fish | source
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    group = context.find_root().command
    click.echo(kind(group, {}, "neuromusic", "_NEUROMUSIC_COMPLETE").source())
