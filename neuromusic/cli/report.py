"""neuromusic report: one page for people."""

from pathlib import Path

import click

from neuromusic.cli import options


@click.command("report")
@click.argument("paths", type=options.PATH, nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--out", type=options.PATH, default="report.html", show_default=True, help="HTML file to write."
)
@click.option("--title", default="", help="Title of the page.  [default: name of the first PATH]")
@click.option(
    "--hear", is_flag=True, help="Add the ten variants of a training clip as sounds (1 MB)."
)
@click.option(
    "--figures", "formats", multiple=True, callback=options.split_names, metavar="png|pdf|svg",
    help="Also write each figure in these formats, with its data as TSV, beside the page.",
)  # fmt: skip
@click.option(
    "--width-mm", type=float,
    help="Width of the figures, 80 to 400.  [default: 88 (one panel) or 180 (several)]",
)  # fmt: skip
@options.overwrite
@options.dry_run
@click.pass_context
def command(
    context: click.Context, paths: tuple[Path, ...], out: Path, title: str, hear: bool,
    formats: tuple[str, ...], width_mm: float | None, overwrite: bool,
) -> None:  # fmt: skip
    """Make one page of results, to look at and to send.

    PATH is what train, ensemble, crossval, compare, encode, benchmark, export or lists wrote, or a
    directory that contains such directories; each is a part of the page: what was done (a
    paragraph for a methods section), how good it is, and what it was made from. The page is one
    HTML file that loads nothing. Exits with 1 if a part of it could not be made; a sentence in its
    place says why.

    \b
    Examples:
      neuromusic report demo --out report.html
      neuromusic report runs/a runs/b compared --figures pdf,svg --width-mm 85
    """
    from neuromusic.core.figures import FigureStyle
    from neuromusic.pipeline.report import report

    style = FigureStyle(formats, width_mm) if formats else None
    if width_mm is not None and style is None:
        raise click.UsageError("--width-mm needs --figures")
    made = report(list(paths), out=out, title=title, hear=hear, figures=style, overwrite=overwrite)
    context.exit(1 if made.problems else 0)
