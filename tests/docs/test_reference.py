"""The reference: every public name, command and setting is there, and is documented."""

import inspect
import re
import sys

import click
import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from pages import ROOT
from pydantic import BaseModel

import neuromusic as nm
from neuromusic.cli.commands import SECTIONS
from neuromusic.cli.main import cli
from neuromusic.training import config

sys.path.insert(0, str(ROOT / "docs/_ext"))
import settings_tables

# What numpydoc reports and the docstrings do on purpose: no summary of several paragraphs (ES01),
# no section of links (SA01; links are in the text), a name such as fMRIPrep at the start (PR08).
# A context manager returns, for whoever reads it, what it yields (YD01).
LEFT_OUT = {"ES01", "SA01", "PR08", "YD01"}
# An error itself, and a function that only lists what is installed.
RAISES_NOTHING = {"InputError", "list_networks"}
# Made by a function, not by the user: they have attributes instead of parameters.
MADE_BY_FUNCTIONS = {"PreparedSet", "TrainedNetwork"}


@pytest.mark.parametrize("name", nm.__all__)
def test_numpydoc_finds_no_fault(name):
    found = validate(f"neuromusic.{name}")["errors"]
    left_out = LEFT_OUT | ({"PR01"} if name in MADE_BY_FUNCTIONS else set())
    faults = [f"{code}: {text}" for code, text in found if code not in left_out]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", nm.__all__)
def test_every_public_name_has_parameters_results_errors_and_an_example(name):
    value = getattr(nm, name)
    sections = NumpyDocString(inspect.getdoc(value))
    assert sections["Examples"]
    assert sections["Raises"] or name in RAISES_NOTHING
    assert sections["Attributes" if name in MADE_BY_FUNCTIONS else "Parameters"] or not (
        inspect.signature(value).parameters
    )
    assert inspect.isclass(value) or sections["Returns"] or sections["Yields"]


def test_every_public_name_is_on_the_page_of_the_api():
    text = (ROOT / "docs/reference/api.md").read_text("utf-8")
    listed = re.findall(r"^   (\w+)$", text, re.M)
    assert sorted(listed) == sorted(nm.__all__)


def test_every_command_is_on_a_page():
    named = [name for section in SECTIONS.values() for name in section]
    assert named == cli.list_commands(click.Context(cli))
    folder = ROOT / "docs/reference/commands"
    pages = "".join(path.read_text("utf-8") for path in folder.iterdir())
    wanted = sorted([*named, "bids_app"])  # the latter is a program of its own
    assert sorted(re.findall(r":: neuromusic\.cli\.(\w+):command", pages)) == wanted
    assert sorted(re.findall(r"\(#command-(\w+)\)", pages)) == wanted


def sections_of(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {name: field.annotation for name, field in kind.model_fields.items()}


def test_every_section_of_the_settings_is_on_their_page():
    text = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    shown = set(re.findall(r"{settings} (\w+)", text))
    assert shown == {kind.__name__ for kind in sections_of(nm.Config).values()} | {"Dimension"}
    assert set(sections_of(nm.Config)) <= set(re.findall(r"^## (\w+)$", text, re.M))


@pytest.mark.parametrize("section", [*sections_of(nm.Config).values(), config.Dimension])
def test_every_setting_has_a_meaning(section):
    rows = settings_tables.rows(section)
    assert [row[0].strip("`") for row in rows] == list(section.model_fields)
    assert not [row for row in rows if not row[3]]


def test_a_setting_is_described_as_the_class_defines_it():
    rows = {row[0]: row[1:] for row in settings_tables.rows(config.Train)}
    assert rows["``momentum``"] == ("number, >= 0 and < 1", "``0.9``", "of sgd")
    assert rows["``schedule``"][1] == '``"cosine"``'
    assert '``"one-cycle"``' in rows["``schedule``"][0]
