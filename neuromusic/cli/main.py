"""The command group, and how errors end a command."""

import signal
from typing import Any

import click

from neuromusic import __version__
from neuromusic.cli import (
    augment,
    compare,
    confusions,
    crossval,
    demo,
    encode,
    evaluate,
    export,
    fmri,
    leaks,
    lists,
    models,
    orders,
    predict,
    prepare,
    run,
    similar,
    stimuli,
    sweep,
    train,
    verify,
)
from neuromusic.core.errors import InputError
from neuromusic.core.files import REMEDY, is_unreachable


class _BadInput(click.ClickException):
    exit_code = 2


class _Terminated(KeyboardInterrupt):
    """A scheduler, or `kill`, asks to stop: it is done as for Ctrl-C."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough; what is half-written goes
    raise _Terminated


class _Group(click.Group):
    """Ends with one line: code 2 on bad input, 130 on Ctrl-C, 143 when it is asked to stop."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise _BadInput("; ".join([str(error), *notes(error)])) from None
        except OSError as error:
            if error.filename is None and error.strerror is None:
                raise
            first = f"{error.filename or 'output'}: {error.strerror}"
            if is_unreachable(error):
                first = f"{error.filename or 'a file'}: {error.strerror}; {REMEDY}"
            raise _BadInput("; ".join([first, *notes(error)])) from None
        except KeyboardInterrupt as error:
            left = notes(error) or ["nothing half-written is left"]
            click.echo("; ".join(["stopped", *left]), err=True)
            ctx.exit(143 if isinstance(error, _Terminated) else 130)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "can't start new thread" not in str(error):
                raise
            first = f"not enough memory ({error})" if str(error) else "not enough memory"
            raise _BadInput("; ".join([first, *notes(error)])) from None
        finally:
            signal.signal(signal.SIGTERM, before)


def notes(error: BaseException) -> list[str]:
    """Return what steps have added to an error on its way: what they left, and how to go on."""
    return getattr(error, "__notes__", [])


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neuromusic")
def cli() -> None:
    """Networks beside a brain: from order files to numbers on the scanner's time grid.

    orders -> lists -> prepare -> train -> evaluate -> export. Try `neuromusic demo` first.
    """


for _module in (
    orders, stimuli, lists, leaks, augment, prepare, models, train, evaluate, crossval, compare,
    confusions, sweep, predict, similar, export, encode, fmri, run, verify,
    demo,
):  # fmt: skip
    cli.add_command(_module.command)
