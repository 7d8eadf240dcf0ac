"""What a release consists of: one version, containers that do what the README says, a recipe."""

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import neuromusic as nm

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "containers").glob("*.sh"))
# Names on conda-forge, if they are not those of the Python package index.
CONDA = {
    "torch": "pytorch", "soundfile": "pysoundfile", "soxr": "soxr-python",
    "matplotlib": "matplotlib-base",
}  # fmt: skip


def read(name):
    return (ROOT / name).read_text("utf-8")


def requirements():
    """Return name -> versions of what setup.cfg requires."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    lines = setup["options"]["install_requires"].split()
    pairs = (re.fullmatch(r"([\w-]+)([<>=].*)", line).groups() for line in lines)
    return dict(pairs)


# --- One version ----------------------------------------------------------------------------------


def test_every_file_has_the_version_of_the_package():
    citation = dict(re.findall(r"^([\w-]+): (\S+)$", read("CITATION.cff"), re.M))
    about = json.loads(read("codemeta.json"))
    assert citation["version"] == nm.__version__
    assert about["version"] == nm.__version__
    assert f'version: "{nm.__version__}"' in read("recipe/recipe.yaml")
    [released] = re.findall(
        rf"^## \[{re.escape(nm.__version__)}\] - (\S+)$", read("CHANGELOG.md"), re.M
    )
    assert citation["date-released"].strip('"') == about["dateModified"] == released


def test_the_changelog_has_the_standard_form():
    text = read("CHANGELOG.md")
    versions = re.findall(r"^## (.*)$", text, re.M)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", each) for each in versions[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


# --- Types ----------------------------------------------------------------------------------------


def test_type_checkers_find_every_public_name():
    """By ``import x as x``: otherwise strict checkers take a name for one of another module."""
    names = set(
        re.findall(r"^    from \S+ import (\w+) as \1$", read("neuromusic/__init__.py"), re.M)
    )
    assert names == {*nm.__all__, "__version__"}
    assert (ROOT / "neuromusic/py.typed").is_file()


# --- Containers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "command"),
    [("install.sh", "pip install . && neuromusic demo"),
     ("test.sh", 'pip install ".[test]" && pytest')],
)  # fmt: skip
def test_containers_run_the_commands_of_the_readme(name, command):
    assert command in read(f"containers/{name}").splitlines()
    assert command in [line.strip() for line in read("README.md").splitlines()]
    assert f"sh containers/{name}" in read("Containerfile")


@pytest.fixture
def tree(tmp_path):
    """A copy of the files that install.sh reads; pip and neuromusic only print how they are run."""
    shutil.copytree(ROOT / "containers", tmp_path / "tree/containers")
    shutil.copy(ROOT / "setup.cfg", tmp_path / "tree")
    (tmp_path / "bin").mkdir()
    for name in ("pip", "neuromusic"):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nprintf "{name}"\nprintf " %s" "$@"\necho\n')
        script.chmod(0o755)
    python = tmp_path / "bin/python"
    python.write_text("#!/bin/sh\nexit 1\n")  # has no torch
    python.chmod(0o755)
    return tmp_path / "tree"


def install(tree, **environment):
    path = f"{tree.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", tree / "containers/install.sh"], capture_output=True, text=True, check=False,
        env={"PATH": path, **environment},
    )  # fmt: skip


@pytest.mark.posix
def test_a_cpu_gets_torch_from_the_given_index_in_the_allowed_versions(tree):
    done = install(tree, TORCH_INDEX="file:///wheels")
    assert done.returncode == 0, done.stderr
    needed = [f"{name}{requirements()[name]}" for name in ("torch", "torchvision")]
    assert done.stdout.splitlines() == [
        f"pip install --index-url file:///wheels {' '.join(needed)}",
        "pip install .",
        "neuromusic demo",
    ]


@pytest.mark.posix
def test_a_gpu_gets_torch_with_the_rest(tree):
    done = install(tree, DEVICE="gpu")
    assert done.stdout.splitlines() == ["pip install .", "neuromusic demo"]


@pytest.mark.posix
@pytest.mark.parametrize(
    ("environment", "message"),
    [({"DEVICE": "tpu"}, "DEVICE is 'tpu'; expected cpu or gpu"),
     ({}, "set TORCH_INDEX to the address of PyTorch's index of CPU wheels, or DEVICE=gpu")],
)  # fmt: skip
def test_wrong_arguments_end_before_anything_is_installed(tree, environment, message):
    done = install(tree, **environment)
    assert done.returncode == 2
    assert done.stderr == f"install.sh: {message}\n"
    assert done.stdout == ""


@pytest.mark.posix
@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci/wheel"], ids=lambda path: path.name)
def test_scripts_are_valid_shell(script):
    if not script.exists():
        pytest.skip("not part of the source distribution")
    subprocess.run(["bash", "-n", script], check=True)


def test_both_images_take_the_same_arguments():
    defaults = {"PYTHON": "3.13", "DEVICE": "cpu", "TORCH_INDEX": ""}
    assert dict(re.findall(r"^ARG (\w+)=(.*)$", read("Containerfile"), re.M)) == defaults
    arguments = read("neuromusic.def").partition("%arguments\n")[2].partition("%files")[0]
    assert dict(re.findall(r"^    (\w+)=(.*)$", arguments, re.M)) == defaults


# --- Conda ----------------------------------------------------------------------------------------


def test_the_recipe_needs_what_setup_cfg_needs():
    section = read("recipe/recipe.yaml").partition("  run:\n")[2].partition("\ntests:")[0]
    found = dict(re.findall(r"^    - ([\w-]+) (\S+)$", section, re.M))
    assert "\n    - python >=${{ python_min }},<3.15\n" in f"\n{section}"
    assert 'python_min: "3.11"' in read("recipe/recipe.yaml")
    assert "python_requires = >=3.11,<3.15" in read("setup.cfg")
    expected = {
        CONDA.get(name, name): versions.removeprefix("==")
        for name, versions in requirements().items()
    }
    assert found == expected


# --- Issues ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bug", "dataset", "network"])
def test_issue_forms_can_be_read(name):
    yaml = pytest.importorskip("yaml")
    path = ROOT / f".github/ISSUE_TEMPLATE/{name}.yml"
    if not path.exists():
        pytest.skip("not part of the source distribution")
    form = yaml.safe_load(path.read_text("utf-8"))
    assert form["name"] and form["description"]
    fields = [each for each in form["body"] if each["type"] != "markdown"]
    ids = [each["id"] for each in fields]
    assert len(set(ids)) == len(ids) > 2
    assert {each["type"] for each in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    labels = [each["attributes"]["label"] for each in fields if each["type"] != "checkboxes"]
    assert all(labels)
    assert ("The output of `neuromusic --system`" in labels) is (name == "bug")
