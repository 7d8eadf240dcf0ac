"""TODO: docstring."""

import json
from pathlib import Path

from neuromusic.core import plotting
from neuromusic.core.files import sha256
from neuromusic.core.outputs import new_directory
from neuromusic.core.progress import Say
from neuromusic.core.records import hash_inputs, record
from neuromusic.evaluation import plots
from neuromusic.evaluation.comparison import (
    COLUMNS,
    PAIRS,
    as_markdown,
    as_text,
    pairs_text,
    tables,
)
from neuromusic.training.trained import SCORES


def compare(
    directories: list[Path], top: int | None, out: Path | None, say: Say,
    artists: Path | None = None,
) -> list[str]:  # fmt: skip
    """Say both tables of `tables` and, with ``out``, write them there; return the warnings.

    ``top``: show only so many settings, and the pairs among them; the correction is for all.
    """
    whole, every, warnings = tables(directories, artists)
    table = whole.head(top)
    names = set(table["run"])
    pairs = every[every["first"].isin(names) & every["second"].isin(names)]
    over = "artists" if artists else "clips"
    if (table["n_seeds"] > 1).any():
        over += " and seeds"
    say(as_text(table))
    say(f"from, to: 95 % interval over {over}")
    if len(pairs):
        say("\n" + pairs_text(pairs, str(table["run"][0]), over))
    if out is None:
        return warnings
    inputs = {
        str(Path(path) / name): sha256(Path(path) / name) for path in directories for name in SCORES
    }
    inputs |= hash_inputs([artists] if artists else [])
    with new_directory(out, record("compare", {"top": top}, inputs)) as part:
        form = {"sep": "\t", "index": False, "na_rep": "n/a", "float_format": "%.6g"}
        table[list(COLUMNS)].to_csv(part / "table.tsv", **form)
        pairs.to_csv(part / "pairs.tsv", **form)
        (part / "table.md").write_text(as_markdown(table), "utf-8")
        (part / "pairs.md").write_text(as_markdown(pairs, PAIRS), "utf-8")
        found = {
            "interval_over": over,
            "settings": json.loads(table[list(COLUMNS)].to_json(orient="records")),
            "pairs": json.loads(pairs.to_json(orient="records")),
            "pairs_corrected_for": len(every),
            "warnings": warnings,
        }
        (part / "compare.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        plotting.save(plots.comparison(table), part / "table.png")
    say(f"wrote {out}: table and pairs as .tsv and .md, compare.json and table.png")
    return warnings
