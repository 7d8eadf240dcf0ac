"""A directive that lists the settings of a section: ``{settings} Train``.

Keys, types, limits and defaults come from the pydantic class in ``neuromusic/training/config.py``,
the meaning from the comment beside or above each key in its source.
"""

import inspect
import re
import textwrap
import typing
from typing import Any, Literal

from docutils import nodes
from docutils.parsers.rst import Directive, Parser
from docutils.utils import new_document
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx

from neuromusic.training import config

LIMITS = {"Gt": ("gt", ">"), "Ge": ("ge", ">="), "Lt": ("lt", "<"), "Le": ("le", "<=")}


class Settings(Directive):
    """A table with one row per key of a section."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        section = getattr(config, self.arguments[0])
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 24 16 40", ""]
        for row in [("key", "value", "default", "meaning"), *rows(section)]:
            marks = ["* -", *["  -"] * (len(row) - 1)]
            lines += [f"   {mark} {cell}" for mark, cell in zip(marks, row, strict=True)]
        node = nodes.container()
        document = new_document("settings", self.state.document.settings)
        Parser().parse("\n".join(lines), document)
        node += document.children
        return [node]


def rows(section: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """Return key, value, default and meaning of each key of a section, as reStructuredText."""
    meanings = comments(section)
    return [
        (f"``{name}``", values(field), default(field), meanings[name])
        for name, field in section.model_fields.items()
    ]


def comments(section: type[BaseModel]) -> dict[str, str]:
    """Return the comment on each key, from its line or from the lines above it."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in textwrap.dedent(inspect.getsource(section)).splitlines():
        comment = re.fullmatch(r"    # (.*)", line)
        key = re.match(r"    (\w+): [^#\"]*(?:\"[^\"]*\"[^#\"]*)*(?:# (.*))?$", line)
        if key and key[1] in section.model_fields:
            text = key[2] or " ".join(above)
            found[key[1]] = text.replace("`", "``").replace("*", r"\*")
        above = [*above, comment[1]] if comment else []
    return found


def values(field: FieldInfo) -> str:
    """Return the type of a key and its limits, in words."""
    kind = _type(field.annotation)
    limits = []
    for each in field.metadata:
        if type(each).__name__ in LIMITS:
            attribute, sign = LIMITS[type(each).__name__]
            limits.append(f"{sign} {getattr(each, attribute):g}")
    return f"{kind}, {' and '.join(limits)}" if limits else kind


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f'``"{value}"``' for value in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}s"
    if origin is dict:
        return "table"
    if arguments:
        kinds = [_type(each) for each in arguments if each is not type(None)]
        return " or ".join(kinds)
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def default(field: FieldInfo) -> str:
    """Return the default as it is written in TOML."""
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, str):
        return f'``"{value}"``'
    if isinstance(value, dict):
        return "empty"
    return f"``{value}``"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
