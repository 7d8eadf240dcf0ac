"""Run the BIDS validator on a dataset, if it is installed."""

import json
import logging
import os
import shutil
import subprocess  # nosec B404  # the command is a list of arguments, without a shell
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError, listed
from neuromusic.core.progress import working

log = logging.getLogger(__name__)

PROGRAMS = ("bids-validator-deno", "bids-validator")
MOST_FILES = 3  # named for each error


def check_valid(bids: Path) -> None:
    """Run the BIDS validator (version 2 or later) on a dataset; warn if it is not installed.

    Raises InputError that names the errors.
    """
    program = _program()
    if program is None:
        log.info(
            "the BIDS validator is not installed (pip install bids-validator-deno), so %s was not "
            "validated", bids,
        )  # fmt: skip
        return
    with working("BIDS validator"):
        done = subprocess.run(  # nosec B603
            [program, "--format", "json", "--max-rows", "-1", str(bids)],
            capture_output=True, text=True, encoding="utf-8", check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
    issues = _issues(done.stdout)
    if issues is None:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        log.warning("%s cannot be run (%s), so %s was not validated", program, reason[0], bids)
        return
    errors = [each for each in issues if each.get("severity") == "error"]
    if errors:
        raise InputError(
            f"{bids}: the BIDS validator found {len(errors)} error{'s' * (len(errors) > 1)}: "
            f"{_described(errors)}; correct them, or continue with skip_bids_validation=True "
            "(--skip-bids-validation)"
        )
    log.info("%s is a valid BIDS dataset (%d warnings)", bids, len(issues))


def _program() -> str | None:
    """Return the validator beside this Python, or on the PATH."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = (shutil.which(name, path=folders) for name in PROGRAMS)
    return next((path for path in found if path is not None), None)


def _issues(text: str) -> list[dict[str, Any]] | None:
    """Return the issues in the output of the validator, or None if it is something else."""
    try:
        issues = json.loads(text)["issues"]["issues"]
    except (ValueError, KeyError, TypeError):
        return None
    return [each for each in issues if each.get("severity") in ("error", "warning")]


def _described(errors: list[dict[str, Any]]) -> str:
    """Return each code once, with how often it occurs and some of the files."""
    codes = Counter(str(each.get("code")) for each in errors)
    texts = []
    for code, n in codes.items():
        places = [
            str(each["location"]).lstrip("/")
            for each in errors
            if str(each.get("code")) == code and each.get("location")
        ]
        where = f" ({listed(places, MOST_FILES)})" if places else ""
        texts.append(f"{code}{f' x {n}' if n > 1 else ''}{where}")
    return listed(texts)
