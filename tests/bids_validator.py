"""The BIDS validator, from the package bids-validator-deno."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def validate(folder: Path) -> dict[str, set[str]]:
    """Return severity -> codes of the issues that the BIDS validator reports."""
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which("bids-validator-deno", path=folders)
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    result = subprocess.run(
        [program, "--format", "json", "--max-rows", "-1", str(folder)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if not result.stdout.lstrip().startswith("{"):
        pytest.skip(f"bids-validator-deno does not run here: {result.stderr[-200:]}")
    issues = json.loads(result.stdout)["issues"]["issues"]
    return {s: {i["code"] for i in issues if i["severity"] == s} for s in ("error", "warning")}
