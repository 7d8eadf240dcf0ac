"""The commands by purpose. The module of a command is imported when the command is used."""

from importlib import import_module
from typing import Any

import click

# The first sentence of each command's help is repeated here, so that `neuromusic --help` need not
# import all commands.
SECTIONS = {
    "Start": {
        "demo": "Run the whole pipeline on a small synthetic corpus.",
        "run": "Run all steps of an experiment.",
        "completion": "Print a script that makes the shell complete commands.",
    },
    "Design: what is played, and when": {
        "experiment": "Describe an experiment, compare it with its data, and draw it.",
        "orders": "Check, rebuild and design the order files of an experiment.",
        "lists": "Link clips under their run names and write the stimulus lists.",
    },
    "Stimuli: from sounds to features": {
        "stimuli": "Cut the clips of an experiment, and check sets of sound files.",
        "prepare": "Compute the features of all clips in stimulus lists.",
        "augment": "Write the variants of the training clips as sound files.",
    },
    "Networks": {
        "models": "List the networks, or the stages of one, or the modules of a network of yours.",
        "networks": "List the networks that others have trained, and obtain their weights.",
        "settings": "List the settings in the package, or print one to edit.",
        "train": "Train a network on a prepared set.",
        "evaluate": "Score a trained network on the test clips.",
        "crossval": "Cross-validate a network over scanner runs or artists.",
        "sweep": "Search for the best settings.",
        "ensemble": "Make one network of several that answer together.",
        "compare": "Rank trained networks and test their differences.",
        "predict": "Predict the genre of sound files.",
        "similar": "Find the clips to which a network responds most similarly.",
    },
    "Brain": {
        "export": "Write predictions and activations on the scanner's time grid.",
        "encode": "Predict brain responses from the stages of a network.",
        "benchmark": "Compare networks by how well they predict brain responses.",
        "cache": "Show a cache of activations, limit its size, or empty it.",
        "confusions": "Compare the confusions of a network, listeners and the brain.",
        "fmri": "Simulate images to test what an analysis finds in them.",
    },
    "Results to look at": {
        "report": "Make one page of results, to look at and to send.",
        "watch": "Show how a training is going.",
    },
    "Checks": {
        "leaks": "Report what training, validation and test clips share.",
        "verify": "Check files against their provenance records.",
    },
}


class Subcommands(click.Group):
    """A group whose help does not cut off the summaries of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without arguments, show the help."""
        return super().parse_args(ctx, args or ["--help"])

    def sections(self) -> dict[str, dict[str, str]]:
        """Return title -> name -> summary."""
        summaries = {name: each.get_short_help_str(1000) for name, each in self.commands.items()}
        return {"Commands": summaries}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, with aligned summaries."""
        sections = self.sections()
        width = max(len(name) for section in sections.values() for name in section)
        for title, section in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in section.items()])


class Commands(Subcommands):
    """The group whose commands are modules of this package, by purpose."""

    def sections(self) -> dict[str, dict[str, str]]:
        """Return the commands without importing them."""
        return SECTIONS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"neuromusic.cli.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command that the first argument names; suggest one if it is unknown."""
        from neuromusic.core.errors import did_you_mean

        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)
