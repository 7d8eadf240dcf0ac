"""Progress bars on stderr: a moving line on a terminal, one line per bar elsewhere."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


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
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, completed=done)
        for item in items:
            yield item
            progress.advance(task, size(item))


@contextlib.contextmanager
def epoch_bars(totals: dict[str, int], disable: bool = False) -> Iterator[Callable[..., None]]:
    """Show one bar per entry of ``totals`` (label -> number of steps) while training.

    Yields ``update(label, completed, text="")``: how many steps a bar has completed, and a text to
    show in place of its label.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=disable) as progress:
        tasks = {label: progress.add_task(label, total=n) for label, n in totals.items()}

        def update(label: str, completed: float, text: str = "") -> None:
            progress.update(tasks[label], completed=completed, description=text or label)

        yield update


def epoch_text(row: dict[str, float]) -> str:
    """Return the losses of an epoch as a short text."""
    keys = ("train_loss", "valid_loss", "valid_accuracy")
    return " ".join(f"{key} {row[key]:.3f}" for key in keys if key in row)
