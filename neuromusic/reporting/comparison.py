"""The part of a comparison of networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.figures import percent
from neuromusic.core.files import read_json
from neuromusic.evaluation import plots
from neuromusic.evaluation.comparison_text import COLUMNS
from neuromusic.reporting import methods
from neuromusic.reporting.blocks import Block, Drawing, Paragraph, Part, Section, Table
from neuromusic.reporting.numbers import count, p_value
from neuromusic.reporting.origin import Origin, origin

REMEDY = "compare again"
P_LEVEL = 0.05


def comparison_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of a comparison."""
    content = read_json(directory / "compare.json", REMEDY)
    table = pd.DataFrame(content["settings"]).reindex(columns=[*COLUMNS, "chance"])
    pairs = pd.DataFrame(content["pairs"])
    over = content["interval_over"]
    version = methods.software(record)
    n_pairs = content["pairs_corrected_for"]
    files = [directory / "compare.json"]
    from_where = Origin(directory, record, record.get("settings", {}), files)
    sections = [
        Section("What was done", lambda: [methods.comparing(over, len(table), n_pairs, version)]),
        Section("Which network is better", lambda: _ranks(table, over)),
        Section("Which pairs differ", lambda: _pairs(pairs)),
        Section("Where it comes from", lambda: origin(from_where)),
    ]
    return Part("Comparison of networks", directory, sections, content["warnings"])


def _ranks(table: pd.DataFrame, over: str) -> list[Block]:
    best = table.iloc[0]
    lead = f"{best['run']} ({best['model']}) is right most often: {percent(best['accuracy'])} of "
    lead += f"{count(int(best['n']), 'clip')}."
    numbers = ("accuracy", "accuracy_low", "accuracy_high", "published", "random_weights", "chance")
    drawn = table.astype(dict.fromkeys(numbers, float))
    return [
        Paragraph(lead),
        Drawing(
            "comparison", f"Accuracy with its 95 % interval over {over}.",
            "; ".join(f"{row.run} {percent(row.accuracy)}" for row in table.itertuples()),
            lambda style: plots.comparison(drawn, over, style), table,
        ),
        Table("networks", "All networks", table),
    ]  # fmt: skip


def _pairs(pairs: pd.DataFrame) -> list[Block]:
    if pairs.empty:
        return [Paragraph("No two networks scored the same clips.")]
    has_flips = "p_flips_holm" in pairs and pairs["p_flips_holm"].notna().any()
    column = "p_flips_holm" if has_flips else "p_mcnemar_holm"
    differ = pairs[pairs[column].astype(float) < P_LEVEL]
    named = [
        f"{row['first']} is better than {row['second']} by {percent(row['difference'])} of the "
        f"clips ({p_value(row[column])}, corrected)."
        for _, row in differ.iterrows()
    ]
    texts: list[Block] = [Paragraph(text) for text in named[:10]]
    if not named:
        texts = [Paragraph("No difference is significant. That does not show that there is none.")]
    return [*texts, Table("pairs", "All pairs on the same clips", pairs)]
