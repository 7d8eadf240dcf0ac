"""Progress bars on stderr: one line that moves on a terminal, one line a step elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Say = Callable[[str], None]  # tells the user one thing


def track(
    items: Iterable[T], label: str, total: int, done: int = 0,
    size: Callable[[T], float] = lambda item: 1,
) -> Iterator[T]:  # fmt: skip
    """Yield the items and show how many of ``total`` are done, ``done`` of them before.

    An item counts ``size(item)``.
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


def epoch_text(row: dict[str, float]) -> str:
    """Return the losses of an epoch as a short text."""
    keys = ("train_loss", "valid_loss", "valid_accuracy")
    return " ".join(f"{key} {row[key]:.3f}" for key in keys if key in row)
