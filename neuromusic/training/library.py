"""What is installed with the package: settings by name, and the table of its networks.

It is read without importing torch, which takes seconds.
"""

import csv
import tomllib
from pathlib import Path

FOLDER = Path(__file__).with_name("settings")
NETWORKS = Path(__file__).parents[1] / "models/networks.tsv"


def settings_names() -> list[str]:
    """Return the names of all settings in the package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def settings_text(name: str) -> str:
    """Return the TOML text of settings in the package."""
    return settings_file(name).read_text("utf-8")


def settings_file(name: str) -> Path:
    """Return the file of settings in the package; it does not exist if the name is unknown."""
    return FOLDER / f"{name}.toml"


def summary(text: str) -> str:
    """Return the first sentence of the comment at the top of a TOML text."""
    words: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words += line.removeprefix("#").split()
    return " ".join(words).partition(". ")[0].removesuffix(".")


def settings_rows() -> list[dict[str, str]]:
    """Return the group, the name and the summary of all settings, in the order of their groups."""
    family = {row["name"]: row["family"] for row in network_rows()}
    rows = []
    for name in settings_names():
        text = settings_text(name)
        tree = tomllib.loads(text)
        group = "searches" if "sweep" in tree else family[tree["model"]["name"]]
        rows.append({"group": group, "name": name, "settings": summary(text)})
    order = [*family.values(), "searches"]
    # The settings to start with come first.
    return sorted(rows, key=lambda row: (order.index(row["group"]), row["name"] != "cortex"))


def network_rows() -> list[dict[str, str]]:
    """Return a row per network in the package, by family: the table that `models.summary` wrote."""
    text = NETWORKS.read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))
