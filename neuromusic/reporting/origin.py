"""The last section of each part: settings, versions, hashes and hardware."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.files import sha256
from neuromusic.reporting.blocks import Block, Facts, Table

MOST_INPUTS = 200  # hashes in the table


@dataclass(frozen=True)
class Origin:
    """What a directory was made from.

    ``files`` are the results whose hashes are shown, as far as they exist.
    """

    directory: Path
    record: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    files: Iterable[Path]


def origin(of: Origin) -> list[Block]:
    """Return the settings, versions and hashes."""
    record = of.record or {}
    packages = record.get("packages", {})
    facts = [
        ("command", f"neuromusic {record['command']}" if "command" in record else "not recorded"),
        ("neuromusic", str(record.get("code_version", "not recorded"))),
        ("Python", str(record.get("python", "not recorded"))),
        ("packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ("device", str(record.get("device", "not recorded"))),
    ]
    seed = _seed(of.settings)
    if seed is not None:
        facts.insert(1, ("seed", str(seed)))
    settings = pd.DataFrame(list(_flat(of.settings)), columns=["setting", "value"])
    blocks: list[Block] = [Facts([(name, text) for name, text in facts if text])]
    if len(settings):
        blocks.append(Table("settings", "Settings", settings))
    inputs = record.get("inputs", {})
    hashes = [
        {"file": path.name, "what": "result", "SHA-256": sha256(path)}
        for path in of.files
        if path.is_file()
    ]
    shown = list(inputs.items())[:MOST_INPUTS]
    hashes += [{"file": Path(name).name, "what": "input", "SHA-256": each} for name, each in shown]
    if hashes:
        left = len(inputs) - len(shown)
        caption = "Hashes" + (f" ({left} more inputs are in provenance.json)" if left else "")
        blocks.append(Table("hashes", caption, pd.DataFrame(hashes)))
    return blocks


def _seed(settings: Mapping[str, Any]) -> object:
    for part in (settings, settings.get("train"), settings.get("options")):
        if isinstance(part, Mapping) and "seed" in part:
            return part["seed"]
    return None


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{prefix}{key}", text
