"""The built site: no warning, no dead link, nothing from the network; and the gallery runs."""

import os
import shutil
import subprocess
import sys

import pytest
from pages import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from check_site import problems


def write_site(root, body, sheet=""):
    (root / "searchindex.js").write_text("")
    (root / "site.css").write_text(sheet)
    (root / "other.html").write_text("<h1 id='here'>Here</h1>")
    (root / "index.html").write_text(f"<html>{body}</html>")
    return sorted(problems(root))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<a href='gone.html'>x</a>", "gone.html is not there"),
        ("<a href='other.html#there'>x</a>", "has no such anchor"),
        ("<a href='#nowhere'>x</a>", "has no such anchor"),
        ("<img src='gone.png'>", "gone.png is not there"),
        ("<script src='https://cdn.example/x.js'></script>", "from the network"),
        ("<link rel='stylesheet' href='//fonts.example/x.css'>", "from the network"),
    ],
)
def test_a_broken_page_is_found(tmp_path, body, problem):
    (found,) = write_site(tmp_path, body)
    assert found.startswith("index.html: ")
    assert problem in found


def test_a_style_sheet_that_loads_a_font_is_found(tmp_path):
    (found,) = write_site(tmp_path, "", "@font-face {src: url('https://fonts.example/x.woff')}")
    assert found == "site.css: loads https://fonts.example/x.woff from the network"


def test_a_good_page_has_no_problem(tmp_path):
    body = "<a href='other.html#here'>x</a><a href='https://example.org'>y</a><a href='#'>z</a>"
    assert write_site(tmp_path, f"<p id=''>{body}</p>") == []


@pytest.mark.slow
def test_the_site_is_built_and_every_script_of_the_gallery_runs(tmp_path):
    for name in ("docs", "experiments", "orders"):
        ignored = shutil.ignore_patterns("auto_gallery", "generated", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["-m", "sphinx", "-W", "--keep-going", "-b", "html", "docs", "build/site"]
    result = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=3600,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    site = tmp_path / "build/site"
    assert list(problems(site)) == []
    for script in (ROOT / "docs/gallery").glob("plot_*.py"):
        figures = list((site / "_images").glob(f"sphx_glr_{script.stem}_0*.png"))
        assert len(figures) == 1, script.name
        assert figures[0].stat().st_size > 10_000
