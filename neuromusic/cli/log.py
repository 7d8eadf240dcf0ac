"""Show the package's log messages to the user of a command."""

import contextlib
import logging
from collections.abc import Iterator

import click


class _Echo(logging.Handler):
    """Print results to stdout, and warnings, marked as such, to stderr.

    `click.echo` finds the current streams for each message, and removes colours if they are not
    terminals.
    """

    def __init__(self, info_to_stderr: bool) -> None:
        super().__init__()
        self.info_to_stderr = info_to_stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message; errors from a closed pipe or a full disk end the command."""
        if record.levelno >= logging.WARNING:
            click.echo(click.style("warning: ", fg="yellow") + record.getMessage(), err=True)
        else:
            click.echo(record.getMessage(), err=self.info_to_stderr)


@contextlib.contextmanager
def echoing_log(info_to_stderr: bool = False) -> Iterator[None]:
    """Print what the package logs while the context lasts.

    With ``info_to_stderr``, results go to stderr too: stdout is for a table.
    """
    logger = logging.getLogger("neuromusic")
    level, propagate = logger.level, logger.propagate
    handler = _Echo(info_to_stderr)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries may add handlers to the root logger
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
