"""The command group; turns errors and signals into messages and exit codes."""

import signal
from typing import Any

import click

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
from neuromusic.core.files import UNREACHABLE_REMEDY, is_unreachable
from neuromusic.core.version import __version__

TABLES_ON_STDOUT = ("predict", "similar")


class _BadInput(click.ClickException):
    exit_code = 2


class _Terminated(KeyboardInterrupt):
    """SIGTERM, from a scheduler or `kill`; handled like Ctrl-C."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt the cleaning up
    raise _Terminated


class _Group(click.Group):
    """Ends with one line on errors: exit code 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise _BadInput(_with_notes(str(error), error)) from None
        except OSError as error:
            if error.filename is None and error.strerror is None:
                raise
            raise _BadInput(_with_notes(_explain_os_error(error), error)) from None
        except KeyboardInterrupt as error:
            kept = _with_notes("stopped", error)
            nothing_kept = "stopped; no unfinished files are left"
            click.echo(kept if _notes(error) else nothing_kept, err=True)
            ctx.exit(143 if isinstance(error, _Terminated) else 130)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "can't start new thread" not in str(error):
                raise
            message = f"not enough memory ({error})" if str(error) else "not enough memory"
            raise _BadInput(_with_notes(message, error)) from None
        finally:
            signal.signal(signal.SIGTERM, before)


def _notes(error: BaseException) -> list[str]:
    """Return what steps have added to an error: what they kept, and how to continue."""
    return getattr(error, "__notes__", [])


def _with_notes(message: str, error: BaseException) -> str:
    return "; ".join([message, *_notes(error)])


def _explain_os_error(error: OSError) -> str:
    if is_unreachable(error):
        return f"{error.filename or 'a file'}: {error.strerror}; {UNREACHABLE_REMEDY}"
    return f"{error.filename or 'output'}: {error.strerror}"


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neuromusic")
@click.pass_context
def cli(context: click.Context) -> None:
    """Auditory neuroscience with neural networks: from the order files of an fMRI experiment to
    networks, predictions on the scanner's time grid, and encoding models.

    The usual sequence is lists, prepare, train, evaluate, export. Try `neuromusic demo` first.
    """
    from neuromusic.cli.log import echoing_log  # logging takes a moment: not for --help

    context.with_resource(echoing_log(context.invoked_subcommand in TABLES_ON_STDOUT))


for _module in (
    orders, stimuli, lists, leaks, augment, prepare, models, train, evaluate, crossval, compare,
    confusions, sweep, predict, similar, export, encode, fmri, run, verify,
    demo,
):  # fmt: skip
    cli.add_command(_module.command)
