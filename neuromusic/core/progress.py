"""Show on stderr what long work is doing, how far it has come and how long it will still take.

In a terminal, lines move while work goes on. In a pipe or a log file there is one line every 30 s
instead, and one at the end of work that took more than two seconds.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

LINE_S = 30.0  # from one line to the next in a pipe or a log file
SHORT_S = 2.0  # work that ends sooner is not mentioned there
SETTLED_S = 3.0  # after the first item, for which much is compiled and read once
REFRESH_HZ = 5  # in a terminal


class Bar:
    """Work in progress: what it is, and how much of it is done."""

    def __init__(self, label: str, total: float | None, done: float = 0) -> None:
        self.label = label
        self.total = total
        self.done = done
        self.started = time.monotonic()
        self._since: tuple[float, float] | None = None  # time and done after the first item

    def advance(self, n: float = 1) -> None:
        """Count ``n`` more as done."""
        self.set(self.done + n)

    def set(self, done: float) -> None:
        """Count ``done`` as done; less than before begins anew."""
        if done < self.done:
            self.started, self._since = time.monotonic(), None
        elif done > self.done and self._since is None:
            self._since = time.monotonic(), done
        self.done = done

    def end(self) -> None:
        """Stop showing this work."""
        _remove(self)

    def seconds(self) -> float:
        """Return how long the work has taken so far."""
        return time.monotonic() - self.started

    def count(self) -> str:
        """Return how much is done, such as "120 of 480"."""
        return "" if self.total is None else f"{self.done:,.0f} of {self.total:,.0f}"

    def time(self) -> str:
        """Return how long the work will still take, or has taken if that cannot be estimated.

        The first item does not count: it often takes many times as long as the others.
        """
        if self.total is None or self._since is None:
            return f"{duration(self.seconds())} so far"
        since_s, first = self._since
        seconds, n = time.monotonic() - since_s, self.done - first
        if n <= 0 or seconds < SETTLED_S:
            return f"{duration(self.seconds())} so far"
        left = seconds / n * max(0, self.total - self.done)
        return f"about {duration(max(1, left))} left"

    def __str__(self) -> str:
        parts = [part for part in (self.count(), self.time()) if part]
        return f"{self.label}: {', '.join(parts)}"


def track(
    items: Iterable[T],
    label: str,
    total: int,
    done: int = 0,
    size: Callable[[T], float] = lambda item: 1,
) -> Iterator[T]:
    """Yield the items and show how many of ``total`` are done.

    ``done`` items were finished before; each item counts as ``size(item)``.
    """
    with progress(label, total, done) as bar:
        for item in items:
            yield item
            bar.advance(size(item))


@contextlib.contextmanager
def progress(label: str, total: float | None, done: float = 0) -> Iterator[Bar]:
    """Show work while the context lasts; its ``label`` may change, and it is to ``advance``."""
    with _shown(Bar(label, total, done)) as bar:
        yield bar


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """Show that work goes on that cannot be counted."""
    with progress(label, None):
        yield


@contextlib.contextmanager
def epoch_bars(totals: dict[str, int], disable: bool = False) -> Iterator[Callable[..., None]]:
    """Show one bar per entry of ``totals`` (label -> number of steps) while training.

    Yields ``update(label, completed, text="")``: how many steps a bar has completed, and a text to
    show in place of its label.
    """
    bars = {label: Bar(label, total) for label, total in totals.items()}

    def update(label: str, completed: float, text: str = "") -> None:
        bar = bars[label]
        bar.set(completed)  # less in the next trial of a sweep
        bar.label = text or label

    with contextlib.ExitStack() as stack:
        if not disable:
            for bar in bars.values():
                stack.enter_context(_shown(bar))
        yield update


def epoch_text(row: dict[str, float]) -> str:
    """Return the losses of an epoch as a short text."""
    keys = ("train_loss", "valid_loss", "valid_accuracy")
    return " ".join(f"{key} {row[key]:.3f}" for key in keys if key in row)


def duration(seconds: float) -> str:
    """Return a duration in words, such as "45 s", "3 min" or "2 h 5 min"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


# --- What is shown --------------------------------------------------------------------------------

_lock = threading.RLock()
_bars: list[Bar] = []  # the work that goes on, outermost first
_display: "_Lines | Any" = None  # what shows it: _Lines, or a rich.live.Live


@contextlib.contextmanager
def _shown(bar: Bar) -> Iterator[Bar]:
    begin(bar)
    try:
        yield bar
        _log_end(bar)
    finally:
        bar.end()


def begin(bar: Bar) -> Bar:
    """Show a piece of work, beside those that go on already, until its ``end``."""
    global _display
    with _lock:
        _bars.append(bar)
        if _display is None:
            _display = _live() if _is_interactive() else _Lines()
            _display.start()
    return bar


def _remove(bar: Bar) -> None:
    with _lock:
        if bar in _bars:
            del _bars[_bars.index(bar) :]  # and what has begun within it and failed
        if not _bars:
            stop()


def stop() -> None:
    """Stop showing anything, as after an error."""
    global _display
    with _lock:
        display, _display = _display, None
        _bars.clear()
    if display is not None:
        display.stop()


def _forget() -> None:
    """Start anew in a forked process, which has no thread that shows anything."""
    global _display, _lock
    _lock, _display = threading.RLock(), None
    _bars.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, where no process is forked
    os.register_at_fork(after_in_child=_forget)


def _log_end(bar: Bar) -> None:
    """Print a line about finished work, unless it was short or is part of other work."""
    with _lock:
        is_part = bool(_bars) and _bars[0] is not bar
    if bar.seconds() < (LINE_S if is_part else SHORT_S):
        return
    count = f"{bar.count()} " if bar.total is not None else "done "
    _print(f"{bar.label}: {count}in {duration(bar.seconds())}")


def _print(line: str) -> None:
    """Print a line; if stderr is closed there is nobody to tell."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


class _Lines:
    """Prints a line about the work every 30 s."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def run(self) -> None:
        while not self.is_over.wait(LINE_S):
            with _lock:
                line = "; ".join(str(bar) for bar in _bars)
            if line:
                _print(line)

    def stop(self) -> None:
        self.is_over.set()


def _is_interactive() -> bool:
    """Return whether stderr is a terminal, or the output of a notebook."""
    try:
        is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # stderr is closed
        return False
    return is_terminal or "ipykernel" in sys.modules


def _live() -> Any:
    """Return a display for terminals and notebooks."""
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    spinner = Spinner("dots")

    def render() -> Table:
        table = Table.grid(padding=(0, 1))
        for bar in list(_bars):
            pulse = bar.total is None
            shape = ProgressBar(bar.total, bar.done, width=20, pulse=pulse)
            table.add_row(spinner, Text(bar.label), shape, Text(bar.count()), Text(bar.time()))
        return table

    # What goes into a file or a pipe must not appear in the terminal instead.
    into_terminal = sys.stdout.isatty()
    return Live(
        get_renderable=render, console=Console(stderr=True), refresh_per_second=REFRESH_HZ,
        transient=True, redirect_stdout=into_terminal,
    )  # fmt: skip
