"""Write a page: draw its figures, fill the template, and put everything into one file."""

import base64
import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, ResourceError
from neuromusic.core.figures import FigureStyle, as_svg, save
from neuromusic.core.outputs import naming_a_full_disk
from neuromusic.core.plan import size_text
from neuromusic.core.progress import track
from neuromusic.core.version import __version__
from neuromusic.reporting.blocks import (
    Block,
    Confusions,
    Drawing,
    Part,
    Picture,
    Problem,
    Section,
    Sounds,
    Table,
    Timelines,
)

log = logging.getLogger(__name__)

MOST_BYTES = 25_000_000  # of a page: what most mail servers let through
FIRST_ROWS = 20  # of a table that are in the page itself; the others follow if they are asked for
MOST_PIXELS = 1_600  # width of a picture in the page
DARK = 0.78  # share of a true class from which numbers are white: both have a contrast of 4.5


@dataclass
class Made:
    """The page, what was written beside it, and what could not be made."""

    text: str = ""
    figures: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def make_page(
    parts: Sequence[Part], out: Path, title: str, style: FigureStyle, folder: Path | None
) -> Made:
    """Make one HTML page of parts.

    Parameters
    ----------
    parts : sequence of Part
        What the page is made of.
    out : Path
        The file that the page is for; the caller writes it.
    title : str
        Title of the page.
    style : FigureStyle
        Formats of the figures in ``folder``, and the width of all figures.
    folder : Path or None
        Existing directory for the figures as files of their own, each with its data as TSV.

    Returns
    -------
    Made
        The page, the files in ``folder``, and why sections or figures are missing.

    Raises
    ------
    InputError
        If the page would be larger than MOST_BYTES.
    """
    made = Made()
    maker = _Maker(style, folder, made)
    sections = [(part, section) for part in parts for section in part.sections]
    written: dict[int, list[dict[str, Any]]] = {}
    for number, (part, section) in track(enumerate(sections), "report", len(sections)):
        written[number] = maker.section(part, section)
    views = [
        {
            "title": part.title,
            "source": str(part.source),
            "notices": list(part.notices),
            "id": f"part-{index}",
            "sections": [
                {"title": section.title, "id": f"section-{number}", "blocks": written[number]}
                for number, (of, section) in enumerate(sections)
                if of is part
            ],
        }
        for index, part in enumerate(parts, 1)
    ]
    made.text = _filled(title, views, made.problems)
    if len(made.text.encode()) > MOST_BYTES:
        raise InputError(
            f"{out}: the page would have {size_text(len(made.text.encode()))}, more than the "
            f"{size_text(MOST_BYTES)} that can be sent by mail; report fewer directories at once"
            ", or without sounds"
        )
    return made


def _filled(title: str, parts: list[dict[str, Any]], problems: Sequence[str]) -> str:
    """Return the page. A policy in it forbids to load anything, and to run any other script."""
    import jinja2

    files = resources.files("neuromusic.reporting") / "templates"
    sources = {name: (files / name).read_text("utf-8") for name in ("page.html", "page.css")}
    script = (files / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        title=title, parts=parts, problems=problems, style=sources["page.css"], script=script,
        script_hash=f"sha256-{digest}", version=__version__,
    )  # fmt: skip


class _Maker:
    """Makes the views of blocks: what the template shows of them."""

    def __init__(self, style: FigureStyle, folder: Path | None, made: Made) -> None:
        self.style, self.folder, self.made = style, folder, made
        self.names: set[str] = set()
        self.n_blocks = 0

    def section(self, part: Part, section: Section) -> list[dict[str, Any]]:
        """Return the views of a section's blocks, or of a problem in their place."""
        try:
            blocks = list(section.blocks())
        except Exception as error:  # a page shows what there is, whatever is damaged
            blocks = [self._problem(part, section.title, error)]
        return [self._view(part, block) for block in blocks]

    def _view(self, part: Part, block: Block) -> dict[str, Any]:
        try:
            return self._shown(block)
        except ResourceError:  # the disk for the figures is full
            raise
        except Exception as error:
            what = getattr(block, "name", type(block).__name__.lower())
            return self._shown(self._problem(part, what, error))

    def _problem(self, part: Part, what: str, error: Exception) -> Problem:
        log.debug("%s, %s", part.source, what, exc_info=error)
        text = str(error) or type(error).__name__
        text = text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
        self.made.problems.append(f"{part.source}: {what}: {text}")
        return Problem(f"This could not be made ({what}): {text}")

    def _shown(self, block: Block) -> dict[str, Any]:
        self.n_blocks += 1
        kind = type(block).__name__.lower()
        view: dict[str, Any] = {"kind": kind, "id": f"block-{self.n_blocks}"}
        if isinstance(block, Drawing):
            if self.folder is None and not block.is_on_page:
                return view | {"kind": "nothing"}
            shown = self._drawing(block)
            return view | (shown if block.is_on_page else {"kind": "nothing"})
        if isinstance(block, Picture):
            return view | self._picture(block)
        if isinstance(block, Table):
            return view | _table_view(block)
        if isinstance(block, Confusions):
            return view | _confusions_view(block)
        if isinstance(block, Timelines):
            return view | _timelines_view(block)
        if isinstance(block, Sounds):
            rows = [(name, text, _data_uri(ogg, "audio/ogg")) for name, text, ogg in block.rows]
            return view | {"rows": rows}
        return view | vars(block)

    def _drawing(self, block: Drawing) -> dict[str, Any]:
        figure = block.draw(self.style)
        image = as_svg(figure)
        if self.folder is not None:
            stem = self.folder / self._unique(block.name)
            table = stem.with_suffix(".tsv")
            with naming_a_full_disk(self.folder):
                self.made.figures += save(figure, stem, self.style)
                block.data.to_csv(
                    table, sep="\t", index=False, na_rep="n/a", float_format="%.6g",
                    lineterminator="\n",
                )  # fmt: skip
            self.made.figures.append(table)
        width_mm = figure.get_size_inches()[0] * 25.4
        return {
            "kind": "figure", "caption": block.caption, "alt": block.alt,
            "image": _data_uri(image, "image/svg+xml"), "width_mm": round(float(width_mm)),
        }  # fmt: skip

    def _picture(self, block: Picture) -> dict[str, Any]:
        content = block.path.read_bytes()
        if self.folder is not None:
            copy = self.folder / f"{self._unique(block.name)}{block.path.suffix}"
            copy.write_bytes(content)
            self.made.figures.append(copy)
        is_svg = block.path.suffix == ".svg"
        image = _data_uri(content, "image/svg+xml") if is_svg else _small_png(content)
        return {
            "kind": "figure", "caption": block.caption, "alt": block.alt, "image": image,
            "width_mm": 180,
        }  # fmt: skip

    def _unique(self, name: str) -> str:
        """Return a name that no other figure has."""
        found, number = name, 1
        while found in self.names:
            number += 1
            found = f"{name}_{number}"
        self.names.add(found)
        return found


def _data_uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _small_png(content: bytes) -> str:
    """Return a PNG with at most MOST_PIXELS across, as a data URI."""
    from PIL import Image

    image: Image.Image = Image.open(io.BytesIO(content))
    if image.width > MOST_PIXELS:
        height = round(image.height * MOST_PIXELS / image.width)
        image = image.convert("RGB").resize((MOST_PIXELS, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        content = buffer.getvalue()
    return _data_uri(content, "image/png")


# --- Views ----------------------------------------------------------------------------------------


def _table_view(block: Table) -> dict[str, Any]:
    columns = [str(name) for name in block.data.columns]
    is_number = [
        pd.api.types.is_numeric_dtype(block.data[name])
        and not pd.api.types.is_bool_dtype(block.data[name])
        for name in block.data.columns
    ]
    cells = [
        [_cell(value) for value in row] for row in block.data.astype(object).itertuples(index=False)
    ]
    return {
        "caption": block.caption,
        "columns": list(zip(columns, is_number, strict=True)),
        "rows": cells[:FIRST_ROWS],
        "more": cells[FIRST_ROWS:],
        "n": len(cells),
    }


def _cell(value: Any) -> str:
    """Return the text of a cell; numbers have four digits that count."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "n/a"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        text = f"{number:.4g}" if abs(number) < 1e6 else f"{number:.0f}"
        return text.replace("-", "\N{MINUS SIGN}")
    return str(value)


def _confusions_view(block: Confusions) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    shares: NDArray[np.float64] = block.counts / np.maximum(block.counts.sum(1, keepdims=True), 1)
    for i, name in enumerate(block.classes):
        cells: list[dict[str, Any]] = []
        for j, other in enumerate(block.classes):
            share = float(shares[i, j])
            label = f"{name}, answered {other}: {block.counts[i, j]}"
            cells.append({
                "n": int(block.counts[i, j]), "label": label, "key": f"{i},{j}",
                "shade": round(100 * share), "is_dark": share > DARK,
            })  # fmt: skip
        rows.append({"name": name, "cells": cells})
    clips = {f"{i},{j}": list(names) for (i, j), names in sorted(block.clips.items())}
    head_rem = min(9.0, 1 + 0.6 * max(map(len, block.classes)))  # height of the upright names
    return {"classes": list(block.classes), "rows": rows, "clips": clips, "head_rem": head_rem}


def _timelines_view(block: Timelines) -> dict[str, Any]:
    runs = [
        {
            "name": run.name,
            "tr_s": run.tr_s,
            # Per cent, so that a run of 410 volumes and ten classes takes 12 kB.
            "p": np.where(np.isnan(run.probability), -1, np.round(100 * run.probability))
            .astype(int)
            .tolist(),
            "played": json.loads(run.played.to_json(orient="values")),
        }
        for run in block.runs
    ]
    return {"classes": list(block.classes), "runs": runs}
