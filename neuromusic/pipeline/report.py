"""Make one page of what other commands wrote: results for people, in a single HTML file."""

import contextlib
import filecmp
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuromusic.core import plan
from neuromusic.core.errors import InputError
from neuromusic.core.figures import FigureStyle
from neuromusic.core.files import as_path, write_text
from neuromusic.core.outputs import locked, naming_a_full_disk
from neuromusic.reporting import directories, page
from neuromusic.training.trained import TrainedNetwork

log = logging.getLogger(__name__)

SECONDS_PER_PART, BYTES_PER_PART = 4.0, 3_000_000
MARK = b'<meta name="generator" content="neuromusic'  # in every page


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Attributes
    ----------
    path : Path
        The HTML file.
    problems : list of str
        Why sections or figures are missing from it; empty if all is there.
    figures : list of Path
        The figures and their data as files of their own.
    """

    path: Path
    problems: list[str]
    figures: list[Path]


def report(
    paths: Sequence[TrainedNetwork | Path | str] | TrainedNetwork | Path | str,
    *,
    out: Path | str,
    title: str = "",
    hear: bool = False,
    figures: FigureStyle | None = None,
    overwrite: bool = False,
) -> Report:
    """Write one page about trained networks, comparisons, encodings, benchmarks, exports and lists.

    The page is one HTML file with everything inside, which loads nothing: it can be sent by mail,
    opened without a network, and printed. The same inputs give the same bytes.

    Parameters
    ----------
    paths : TrainedNetwork, str, Path or a sequence of them
        Directories that commands wrote. A directory that contains such directories, as `run` and
        `demo` write it, gives a part for each.
    out : str or Path
        The file, such as report.html.
    title : str
        Title of the page; by default it names the first directory.
    hear : bool
        Add the ten variants of a training clip as sounds, about a megabyte.
    figures : FigureStyle, optional
        Also write each figure in these formats, with its data as TSV, into a directory beside the
        page (report_figures). Its width is that of the figures in the page, too.
    overwrite : bool
        Replace a file that is not a page, and figures that differ.

    Returns
    -------
    Report
        The file, and what is missing from it and why.

    Raises
    ------
    InputError
        If a path is not the output of a command that has a part, the page would be larger than
        25 MB, ``out`` is another file or a figure would change and ``overwrite`` is False, or the
        disk is full (ResourceError).

    Examples
    --------
    >>> import neuromusic as nm
    >>> scores = nm.evaluate("network")
    >>> page = nm.report("network", out="report.html")
    >>> page.path.name, page.problems
    ('report.html', [])
    """
    given = [paths] if isinstance(paths, (TrainedNetwork, Path, str)) else list(paths)
    sources = [each.directory if isinstance(each, TrainedNetwork) else as_path(each)
               for each in given]  # fmt: skip
    out = as_path(out)
    _check_out(out, overwrite)
    folder = None if figures is None else out.with_name(f"{out.stem}_figures")
    found = directories.find(sources)
    n = len(found)
    plan.begin(
        out, plan.Work(f"a page with {n} parts", n * SECONDS_PER_PART, n * BYTES_PER_PART), found
    )
    parts = []
    for directory in found:
        try:
            parts.append(directories.part_of(directory, hear))
        except (InputError, KeyError, TypeError, ValueError) as error:
            parts.append(directories.failed_part(directory, error))
    heading = title or f"neuromusic: {sources[0].absolute().name}"
    with locked(out), naming_a_full_disk(out), _directory_beside(folder) as part:
        made = page.make_page(parts, out, heading, figures or FigureStyle(), part)
        if part is not None and folder is not None:
            _move(part, folder, overwrite)
        write_text(out, made.text)
    log.info("wrote %s: %d part%s; open it in a browser", out, n, "" if n == 1 else "s")
    written = []
    if folder is not None:
        written = [folder / path.name for path in made.figures]
        log.info("wrote %s: %d figures and tables", folder, len(written))
    for problem in made.problems:
        log.warning("not in the page: %s", problem)
    return Report(out, made.problems, written)


@contextlib.contextmanager
def _directory_beside(folder: Path | None) -> Iterator[Path | None]:
    """Yield an empty directory beside ``folder``, and remove it at the end.

    The caller holds a lock, so what is there already was left by a process that was killed.
    """
    if folder is None:
        yield None
        return
    part = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, folder: Path, overwrite: bool) -> None:
    """Move the files of ``part`` into ``folder``, in which files of other names stay.

    Raises
    ------
    InputError
        If a file would be replaced by another content and ``overwrite`` is False: somebody may have
        worked on the figure. Nothing is moved then.
    """
    files = sorted(part.iterdir())
    for path in files:
        old = folder / path.name
        if old.exists() and not overwrite and not filecmp.cmp(path, old, shallow=False):
            raise InputError(
                f"{old}: is another figure than the one that would replace it; remove {folder}, "
                "choose another out, or pass with overwrite=True (--overwrite)"
            )
    folder.mkdir(exist_ok=True)
    for path in files:
        path.replace(folder / path.name)


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise InputError if ``out`` cannot be written, or is a file that is not a page."""
    if out.is_dir():
        raise InputError(f"{out}: is a directory; name a file, such as {out / 'report.html'}")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: there is no directory {out.parent}; make it first")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{out}: is not a name of a page; expected one that ends in .html")
    if out.is_file() and not overwrite:
        with out.open("rb") as file:
            if MARK not in file.read(2_000):
                raise InputError(
                    f"{out}: is not a page of neuromusic; choose another out, or replace it with "
                    "overwrite=True (--overwrite)"
                )
