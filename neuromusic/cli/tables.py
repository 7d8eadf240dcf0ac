"""Tables on stdout: aligned columns in a terminal, tab-separated values in a pipe or a file."""

import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

Row = dict[str, str]
MIN_WIDTH = 20  # characters of the last column in a narrow terminal


def in_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()  # None: a service closed it


def show_table(rows: Sequence[Row], *, of_people: Sequence[Row] = (), group: str = "") -> None:
    """Print a table; all rows have the same columns.

    Parameters
    ----------
    rows : sequence of dict
        What is printed into a pipe or a file, with all digits and columns.
    of_people : sequence of dict
        What is printed in a terminal instead; by default the same.
    group : str
        Column whose values become headings in a terminal, in the order of the rows.
    """
    if in_terminal():
        _show_aligned(of_people or rows, group)
        return
    lines = [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []
    click.echo("".join("\t".join(line) + "\n" for line in lines), nl=False)


def _show_aligned(rows: Sequence[Row], group: str) -> None:
    if not rows:
        return
    names = [name for name in rows[0] if name != group]
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in names]
    of_others = sum(width + 2 for width in widths[:-1])
    room = shutil.get_terminal_size().columns - of_others
    widths[-1] = min(widths[-1], max(MIN_WIDTH, room))
    on_right = [all(_is_number(row[name]) for row in rows) for name in names]
    lines = [_aligned(names, widths, on_right)]
    lines.append("-" * max(map(len, lines[0].splitlines())))
    previous = ""
    for row in rows:
        if group and row[group] != previous:
            lines += [*([""] if previous else []), click.style(row[group], bold=True)]
            previous = row[group]
        lines.append(_aligned([row[name] for name in names], widths, on_right))
    click.echo("\n".join(lines))


def _aligned(cells: list[str], widths: list[int], on_right: list[bool]) -> str:
    """Return one row; the last cell may take several lines."""
    *first, last = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, on_right, strict=True)
    ]
    start = "".join(f"{cell}  " for cell in first)
    wrapped = textwrap.wrap(last, widths[-1], drop_whitespace=False) or [""]
    texts = [text.strip() if len(wrapped) > 1 else text for text in wrapped]
    return "\n".join([start + texts[0].rstrip(), *(" " * len(start) + text for text in texts[1:])])


def _is_number(text: str) -> bool:
    """Return whether a cell is a number, perhaps with a unit, or stands for one."""
    return text in ("", "-", "all") or text.lstrip("-+.")[:1].isdigit()
