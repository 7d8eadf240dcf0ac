"""Settings of the documentation; build it with

    pip install ".[docs]"
    sphinx-build -W --keep-going -b html docs build/site

Nothing is downloaded. With ``-D plot_gallery=0`` the scripts of the gallery are shown, but not
executed.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]
# The scripts of the gallery train a small network; more threads would not be faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from neuromusic.core.version import __version__  # noqa: E402

project = "neuromusic"
author = "the authors of neuromusic"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "settings_tables",
]
exclude_patterns = ["_ext", "gallery"]
language = "en"
default_role = "py:obj"  # `evaluate` in a docstring is a link to that function
highlight_language = "none"
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]

smartquotes_action = "qe"  # -- is the beginning of an option, not a dash
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc has the types, with shapes and units
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = f"neuromusic {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "neuromusic"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
    "navigation_with_keys": False,
}
html_context = {"default_mode": "light"}
html_sidebars = {"index": []}
copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,  # that page loads scripts from the network
    "remove_config_comments": True,
    "min_reported_time": 0,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
}


def _link_pages(lines: list[str]) -> None:
    """Make links of the pages that a docstring names, such as docs/how-to/networks.md."""
    lines[:] = [re.sub(r"docs/([\w/-]+)\.md", r":doc:`/\1`", line) for line in lines]


def _docstring(_: Any, __: str, ___: str, ____: Any, _____: Any, lines: list[str]) -> None:
    _link_pages(lines)


def _as_code(text: str) -> str:
    """Show what is in backticks as code, and in other text the options."""
    if text.startswith("`") and text.endswith("`") and len(text) > 2:
        return f"`{text}`"
    return re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r"``\1``", text)


def _help(_: Any, __: Any, lines: list[str]) -> None:
    """Show the examples at the end of a command's help, and its options, as code."""
    shown: list[str] = []
    for line in lines:
        if re.match(r"\| Examples?:", line):
            shown += [f"{line[2:]}", "", ".. code-block:: bash", ""]
        elif line.startswith("| "):
            shown.append(f"   {line[2:]}")
        elif line.startswith("..") or "``" in line:
            shown.append(line)
        else:
            shown.append("".join(_as_code(part) for part in re.split(r"(`[^`]+`)", line)))
    _link_pages(shown)
    lines[:] = shown


def setup(app: Any) -> None:
    """Connect the functions above to autodoc and sphinx-click."""
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("sphinx-click-process-description", _help)
    app.connect("sphinx-click-process-options", _help)
