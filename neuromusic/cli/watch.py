"""neuromusic watch: how a training is going."""

import contextlib
import shutil
import time
from pathlib import Path

import click

from neuromusic.cli import options, tables

INTERVAL_S = 2.0  # between two looks at the files


@click.command("watch")
@click.argument("directory", type=options.PATH)
@click.option("--once", is_flag=True, help="Show the state and end.")
def command(directory: Path, once: bool) -> None:
    """Show how a training is going.

    DIRECTORY is the output directory of train, crossval or sweep, of a training that goes on, has
    stopped or is finished. Learning curves and the time left are drawn in the terminal, from the
    files that the training writes after each epoch, until it ends or you press Ctrl-C; into a pipe
    there is one line per epoch. The training is not touched.

    \b
    Examples:
      neuromusic watch runs/cortex
      neuromusic watch runs/cv --once
    """
    from neuromusic.training.watching import find_trainings

    if once:
        click.echo(_picture(find_trainings(directory)))
        return
    with contextlib.suppress(KeyboardInterrupt):  # the usual end: nothing of ours is interrupted
        if tables.in_terminal():
            _live(directory)
        else:
            _lines(directory)


def _picture(directories: list[Path]) -> str:
    """Return one line per training, and the curves of the last one that changed."""
    from neuromusic.training.watching import curves, read_training, stalled_line, state_line

    trainings = [read_training(path) for path in directories]
    newest = min(trainings, key=lambda each: each.silent_s)
    size = shutil.get_terminal_size()
    parts = ["\n".join(state_line(each) for each in trainings)]
    if len(trainings) > 1:
        parts.append(f"{newest.directory.name}:")
    parts.append(curves(newest, size.columns, size.lines - len(trainings) - 4))
    if not all(each.is_finished for each in trainings) and stalled_line(newest):
        parts.append(stalled_line(newest))
    return "\n\n".join(parts)


def _is_over(directory: Path) -> bool:
    """Return whether a training, or a whole cross-validation or sweep, is finished."""
    from neuromusic.core.records import RECORD

    return (directory / RECORD).is_file()


def _live(directory: Path) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from neuromusic.training.watching import find_trainings

    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            is_over = _is_over(directory)
            live.update(Text(_picture(find_trainings(directory))), refresh=True)
            if is_over:
                return
            time.sleep(INTERVAL_S)


def _lines(directory: Path) -> None:
    from neuromusic.training.watching import find_trainings, read_training, state_line

    shown: set[str] = set()
    while True:
        is_over = _is_over(directory)
        for path in find_trainings(directory):
            line = state_line(read_training(path))
            key = line.split(" left")[0].rsplit(", about", 1)[0]  # not the time left alone
            if key not in shown:
                shown.add(key)
                click.echo(line)
        if is_over:
            return
        time.sleep(INTERVAL_S)
