"""Every code block of the documentation is run, checked, or marked as output or as not run."""

import configparser
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from pages import ROOT, Block, blocks, indented_code, pages

from neuromusic.cli.bids_app import command as bids_app
from neuromusic.cli.main import cli
from neuromusic.core.settings import validated
from neuromusic.design.experiment import Experiment
from neuromusic.pipeline.benchmark_settings import Description, Settings
from neuromusic.training.config import Config

ALL = [block for page in pages() for block in blocks(page)]
# "text" is what a command prints, or a picture in characters. Commands and settings are checked
# below.
LANGUAGES = {"text", "bash", "python", "matlab", "toml", "tcl"}
# Where code is run. The blocks of tutorials are all run, commands as well, by the slow tests.
RUN_BY = {
    "README.md": "tests/test_api.py",
    "docs/how-to/export.md": "tests/fmri/test_export_formats.py",
    "docs/how-to/matlab_and_spm.md": "tests/fmri/test_export_formats.py",
    "docs/how-to/networks.md": "tests/docs/test_pages.py",
    "docs/reference/api.md": "tests/docs/test_pages.py",
    "docs/tutorials/bids_to_map.md": "tests/docs/test_tutorials.py",
    "docs/tutorials/first_hour.md": "tests/docs/test_tutorials.py",
    "docs/tutorials/orders_to_spm.md": "tests/docs/test_tutorials.py",
    "docs/tutorials/your_network.md": "tests/docs/test_tutorials.py",
}
# Programs in shell blocks besides ours; those of other laboratories' software need a mark.
SHELL = {
    "basename", "cat", "cp", "cut", "do", "done", "for", "gunzip", "head", "lint-imports", "ls",
    "mkdir", "mypy", "pre-commit", "pytest", "ruff", "source", "sphinx-build", "wait",
}  # fmt: skip
# Those of a release and of containers, on pages that say which of them were run.
OF_RELEASES = {
    ".", ".ci/wheel", "apptainer", "cd", "cffconvert", "cyclonedx-py", "git", "hadolint",
    "lowest/bin/pytest", "pip-licenses", "podman", "shellcheck", "twine", "uv",
}  # fmt: skip
RELEASES = ("licences.md", "platforms.md", "releasing.md", "bids_app.md")


def test_every_block_is_fenced_and_has_a_language():
    indented = [f"{page}:{line}" for page in pages() for line in indented_code(page)]
    assert not indented
    assert len(ALL) > 100
    assert not [str(block) for block in ALL if block.language not in LANGUAGES]


def test_a_block_that_is_not_run_says_why():
    marked = [block for block in ALL if block.not_run]
    assert not [str(block) for block in marked if block.language in ("text", "toml")]
    assert not [str(block) for block in marked if len(block.not_run.split()) < 3]


def test_code_of_every_page_is_run():
    code = [block for block in ALL if block.language in ("python", "matlab", "tcl")]
    assert {block.page for block in code if not block.not_run} == set(RUN_BY)
    for page, test in RUN_BY.items():
        assert Path(page).name in (ROOT / test).read_text("utf-8"), page


def commands_of(code: str) -> list[list[str]]:
    """Return the commands of a shell block, each as its words, without redirections."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", code).replace("$(", "; ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>()")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("&|;<()"):
                found += [words] if words else []
                words = []
            elif words[-1:] != [">"]:
                words.append(word)
            else:
                words.pop()
    return [words for words in found if not words[0].endswith("=")]


def parse(words: list[str]) -> None:
    """Parse a command of ours with all its options, as the command line does."""
    if words == ["--system"]:  # prints and ends as soon as it is parsed
        return
    context = cli.make_context("neuromusic", list(words))
    command, rest = cli, [*context._protected_args, *context.args]
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        command = found
        context = command.make_context(name, rest, parent=context)
        rest = [*context._protected_args, *context.args]


def check_shell(block: Block) -> None:
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg")
    for words in commands_of(block.code):
        while re.fullmatch(r"[A-Z]+=\S*", words[0]):  # a variable of the environment
            words = words[1:]
        program, *rest = words
        if program == "neuromusic":
            parse(rest)
        elif program == "neuromusic-bids":
            bids_app.make_context("neuromusic-bids", rest)
        elif program == "pip":
            for name in re.findall(r"\[([\w,]+)\]", " ".join(rest)):
                assert set(name.split(",")) <= set(extras["options.extras_require"]), words
        elif program in ("python", "sbatch", "bash"):
            scripts = [word for word in rest if word.endswith((".py", ".sbatch", "/run"))]
            assert "-m" in rest or (scripts and (ROOT / scripts[0]).is_file()), words
        else:
            is_release = Path(block.page).name in RELEASES and program in OF_RELEASES
            assert block.not_run or is_release or program in SHELL, words


SHELL_BLOCKS = [block for block in ALL if block.language == "bash"]


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_the_commands_exist_with_their_options(block):
    check_shell(block)


def test_a_command_with_a_wrong_option_is_found():
    wrong = Block("x.md", 1, "bash", "neuromusic lists --form-folder x --out y\n", "", "")
    with pytest.raises(click.UsageError, match="--form-folder"):
        check_shell(wrong)


TABLES = re.compile(r"`(neuromusic [^`]+)`")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_in_the_text_exist(page):
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text("utf-8"))
    for command in TABLES.findall(text):
        words = [word for word in shlex.split(command) if word != "..."][1:]
        command, context = cli, click.Context(cli)
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name = words.pop(0)
            if not name.islower():  # NAME, COMMAND
                break
            command = command.get_command(context, name)
            assert command, f"no such command: {name}"
        flags = {word for word in words if word.startswith("--")}
        known = {flag for each in command.params for flag in each.opts} | {"--help", "--version"}
        assert flags <= known, flags - known


def kinds_of_settings(tree: dict) -> list[type]:
    if {"networks", "datasets", "combinations"} & set(tree):
        return [Settings]
    if "responses" in tree:
        return [Description]
    return [Experiment] if {"name", "files", "sounds"} & set(tree) else [Config]


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "toml"], ids=str)
def test_settings_are_valid(block):
    tree = tomllib.loads(block.code)
    if tree == {"kind": "timed"}:
        return
    for kind in kinds_of_settings(tree):
        validated(kind, tree, str(block))


NAMED = re.compile(r"(?<![\w/])docs/[\w/-]+\.\w+")


def test_pages_that_messages_and_comments_name_are_there():
    files = [
        path
        for folder in ("neuromusic", "tests", "experiments", "docs/_ext", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".toml", ".cfg") and path.is_file()
    ]
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in [*files, ROOT / "setup.cfg", ROOT / "README.md"]
        for name in NAMED.findall(path.read_text("utf-8"))
    }
    assert len(named) > 15
    assert not [each for each in sorted(named) if not (ROOT / each[1]).is_file()]
