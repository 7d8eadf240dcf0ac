"""The command group; turns errors and signals into messages and exit codes."""

import contextlib
import os
import re
import select
import signal
from collections.abc import Iterator
from typing import Any

import click

from neuromusic.cli.commands import Commands
from neuromusic.core.cores import set_thread_environment
from neuromusic.core.errors import DryRun, InputError
from neuromusic.core.version import __version__

TABLES_ON_STDOUT = ("benchmark", "compare", "predict", "similar")


class _BadInput(click.ClickException):
    exit_code = 2


class _Terminated(KeyboardInterrupt):
    """SIGTERM, from a scheduler or `kill`; handled like Ctrl-C."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt the cleaning up
    raise _Terminated


class Ending(click.Command):
    """Ends with one line on errors: exit code 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM.

    If the reader of a pipe has gone, as in ``neuromusic models | head -1``, it ends with 141.
    """

    out_name = "--out"  # what messages call the output

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments; print the help."""
        with _quiet_if_reader_is_gone():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            with _quiet_if_reader_is_gone():
                return super().invoke(ctx)
        except DryRun as report:
            click.echo(str(report))
        except InputError as error:
            raise _BadInput(_with_notes(_with_flags(str(error), self.out_name), error)) from None
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


def _with_flags(message: str, out_name: str) -> str:
    """Return a message of a Python function with the options of its command."""
    message = re.sub(r"with \w+=True \((--[a-z-]+)\)", r"with \1", message)
    message = re.sub(r"\b(another|directory for) out\b", rf"\1 {out_name}", message)
    flag = re.match(r"([a-z_]+)='([^']*)':", message)
    if flag:
        message = f"--{flag[1].replace('_', '-')} {flag[2]}:{message[flag.end() :]}"
    return message


@contextlib.contextmanager
def _quiet_if_reader_is_gone() -> Iterator[None]:
    """Exit with 141, as programs do that SIGPIPE ends, if nobody reads what is printed."""
    try:
        yield
    except BrokenPipeError:
        gone = [number for number in (1, 2) if _has_no_reader(number)]
        if not gone:  # another pipe than those to the user
            raise
        for number in gone:  # what is still in a buffer goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        raise click.exceptions.Exit(141) from None


def _has_no_reader(number: int) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _notes(error: BaseException) -> list[str]:
    """Return what steps have added to an error: what they kept, and how to continue."""
    return getattr(error, "__notes__", [])


def _with_notes(message: str, error: BaseException) -> str:
    return "; ".join([message, *_notes(error)])


def _explain_os_error(error: OSError) -> str:
    from neuromusic.core.files import UNREACHABLE_REMEDY, is_unreachable

    if is_unreachable(error):
        return f"{error.filename or 'a file'}: {error.strerror}; {UNREACHABLE_REMEDY}"
    return f"{error.filename or 'output'}: {error.strerror}"


class _Group(Ending, Commands):
    """The group of all commands."""


def _show_system(context: click.Context, option: click.Parameter, is_set: bool) -> None:
    """Print what a bug report needs about this machine, and end."""
    if is_set and not context.resilient_parsing:
        from neuromusic.core.system import system_report

        set_thread_environment()
        click.echo(system_report())
        context.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neuromusic")
@click.option(
    "--system", is_flag=True, is_eager=True, expose_value=False, callback=_show_system,
    help="Show versions, devices, cores and memory, for a bug report, and exit.",
)  # fmt: skip
@click.pass_context
def cli(context: click.Context) -> None:
    """Networks beside a brain: from the sounds of an fMRI experiment to networks, predictions on
    the scanner's time grid, and encoding models.

    Try `neuromusic demo` first. The usual order is lists, prepare, train, evaluate, export.
    """
    from neuromusic.cli.log import echoing_log  # logging takes a moment: not for --help
    from neuromusic.core import progress

    set_thread_environment()
    context.with_resource(echoing_log(context.invoked_subcommand in TABLES_ON_STDOUT))
    context.call_on_close(progress.stop)  # after an error, before its message
