"""Parts about what was played: stimulus lists, and the runs of an export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.files import read_json
from neuromusic.core.tables import read_table
from neuromusic.design.design_plots import count_table, draw_design
from neuromusic.design.leaks import compare_sides
from neuromusic.design.list_runs import scanner_runs
from neuromusic.design.lists import DROPPED, LIST_COLUMNS, OF_EVENTS, read_lists
from neuromusic.design.splits import HeldOutRuns
from neuromusic.reporting.blocks import (
    Block,
    Drawing,
    Facts,
    Paragraph,
    Part,
    RunTimeline,
    Section,
    Table,
    Timelines,
)
from neuromusic.reporting.numbers import count, joined
from neuromusic.reporting.origin import Origin, origin

MOST_RUNS = 60  # of a timeline that can be selected
REMEDY = "export again"


# --- Stimulus lists -------------------------------------------------------------------------------


def lists_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of stimulus lists."""
    table = read_lists(directory)
    sections = [Section("What there is", lambda: _counts(table))]
    if table["trial"].notna().any():
        sections.append(Section("What was played when", lambda: _bars(table, directory)))
    sections.append(Section("What the sides of the split share", lambda: _leaks(table)))
    files = [directory / name for name in ("train.tsv", "test.tsv")]
    from_where = Origin(directory, record, record.get("settings", {}), files)
    sections.append(Section("Where it comes from", lambda: origin(from_where)))
    return Part("Stimulus lists", directory, sections)


def _counts(table: pd.DataFrame) -> list[Block]:
    played = table[table["trial"].isna() | (table["trial"] > 0)]
    rows = [
        {
            "split": split,
            "runs": rows["run"].nunique() or "n/a",
            "presentations": len(rows),
            "clips": rows["clip"].nunique(),
            "classes": rows["genre"].nunique(),
            "tracks": rows["track"].nunique(),
            "missing clips": rows.loc[rows["path"].isna(), "clip"].nunique(),
        }
        for split, rows in played.groupby("split", sort=False)
    ]
    blocks: list[Block] = [Table("lists", "Without the dummies of the runs", pd.DataFrame(rows))]
    classes = played.drop_duplicates("clip").groupby(["genre", "split"]).size().unstack()
    if len(classes):
        shown = classes.fillna(0).astype(int).reset_index().rename(columns={"genre": "class"})
        blocks.append(Table("clips_of_classes", "Clips of each class", shown))
    return blocks


def _leaks(table: pd.DataFrame) -> list[Block]:
    comparisons = compare_sides(table, HeldOutRuns(valid=0), None, None)
    if not comparisons:
        return [Paragraph("There is only one side, so nothing can be shared.")]
    texts: list[Block] = []
    for each in comparisons:
        left, right = each.names
        shared = each.pairs.drop_duplicates(["kind", "clip"]).groupby("kind").size()
        what = [f"{n} {kind}" for kind, n in shared.items()]
        found = joined(what) if what else "no clip and no track"
        texts.append(Paragraph(f"{left.capitalize()} and {right} share {found}."))
    texts.append(
        Paragraph(
            "Artists were not compared: 'neuromusic leaks LISTS --artists artists.tsv' does that."
        )
    )
    return texts


# --- Runs as bars ---------------------------------------------------------------------------------


def bars_of_runs(presentations: pd.DataFrame, directory: Path) -> list[Block]:
    """Return the figure of all runs of presentations from a prepared set without lists.

    ``directory`` is that of the set.
    """
    columns = [*LIST_COLUMNS, *OF_EVENTS, DROPPED]
    whole = ["run", "trial", "repeat", "volume"]
    table = presentations.reindex(columns=columns).astype(dict.fromkeys(whole, "Int64"))
    return _bars(table, directory)


def bars_of_lists(directory: Path) -> list[Block]:
    """Return the figure of all runs of stimulus lists."""
    return _bars(read_lists(directory), directory)


def _bars(table: pd.DataFrame, directory: Path) -> list[Block]:
    design = scanner_runs(table, directory)
    subject = design.subjects[0]
    played = design.of_subject(subject).table()
    n_runs = len(design.of_subject(subject).runs)
    other = len(design.subjects) - 1
    caption = "Every run on a time axis; hatched: the dummy."
    if other:
        caption += f" Subject {subject}; the runs of {count(other, 'other subject')} are not drawn."
    blocks: list[Block] = [
        Drawing(
            "design", caption, f"{count(n_runs, 'run')}, {count(len(played), 'presentation')}",
            lambda style: draw_design(design, subject), played,
        )
    ]  # fmt: skip
    return [*blocks, Table("runs", "The runs", count_table(design))]


# --- Exports --------------------------------------------------------------------------------------


def export_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of an export."""
    files = [directory / "stim.json", directory / "activations" / "activations.json"]
    about = read_json(files[1], REMEDY)
    sections = [Section("What was written", lambda: _written(directory, about))]
    if files[0].is_file():
        sections.append(
            Section("What the network answers, volume by volume", lambda: _timelines(directory))
        )
    from_where = Origin(directory, record, record.get("settings", {}), files)
    sections.append(Section("Where it comes from", lambda: origin(from_where)))
    return Part("Predictions and activations on the scanner's time grid", directory, sections)


def _written(directory: Path, about: Mapping[str, Any]) -> list[Block]:
    stages = pd.DataFrame(
        [
            {
                "stage": name,
                "area": each["Area"],
                "Brodmann areas": joined(each["BrodmannAreas"]) or "n/a",
                "units": each["NumberOfUnits"],
            }
            for name, each in about["Stages"].items()
        ]
    )
    missing = about.get("MissingVolumes") or {}
    facts = [
        ("runs", str(len(about["VolumeTables"]))),
        ("TR", _tr_text(about["RepetitionTime"])),
        ("delay", str(about["DelayPolicy"])),
        ("runs with missing clips", str(sum(bool(each) for each in missing.values()))),
    ]
    return [Facts(facts), Table("stages", "Stages", stages)]


def _tr_text(tr_s: object) -> str:
    values = sorted(set(tr_s.values())) if isinstance(tr_s, dict) else [tr_s]
    return f"{joined(values)} s"


def _timelines(directory: Path) -> list[Block]:
    """Return the class probabilities of the runs."""
    about = read_json(directory / "stim.json", REMEDY)
    classes = [name for name in about["Columns"] if _is_class(about.get(name))]
    if not classes:
        return [Paragraph("The network has no classes, so it gives no probabilities.")]
    files = sorted(directory.glob("*_stim.tsv.gz"))
    tr_s = about["RepetitionTime"]
    runs = [_timeline(path, about["Columns"], classes, tr_s) for path in files[:MOST_RUNS]]
    blocks: list[Block] = [Timelines(classes, runs)]
    if len(files) > MOST_RUNS:
        blocks.append(Paragraph(f"The first {MOST_RUNS} of {len(files)} runs."))
    return blocks


def _is_class(column: Any) -> bool:
    text = column.get("Description", "") if isinstance(column, dict) else ""
    return str(text).startswith("probability of ")


def _timeline(path: Path, columns: Sequence[str], classes: Sequence[str], tr_s: Any) -> RunTimeline:
    stem = path.name.removesuffix("_stim.tsv.gz")
    table = pd.read_csv(path, sep="\t", header=None, names=list(columns), na_values="n/a")
    place = path.parent / "activations" / f"{stem}_volumes.tsv"
    texts = {"clip": str, "genre": str}
    volumes = read_table(
        place, remedy=REMEDY, na_values="n/a", keep_default_na=False, dtype=texts
    )  # fmt: skip
    played = volumes.dropna(subset=["trial"])
    starts = (played["trial"].diff() != 0) | (played["volume"].diff() != 1)
    rows = [
        {
            "first": int(rows["volume"].iat[0]),
            "last": int(rows["volume"].iat[-1]),
            "trial": int(rows["trial"].iat[0]),
            "class": rows["genre"].iat[0],
            "clip": rows["clip"].iat[0],
        }
        for _, rows in played.groupby(np.cumsum(starts))
    ]
    of_run = tr_s[stem] if isinstance(tr_s, dict) else tr_s
    probability = table[list(classes)].to_numpy(float)
    return RunTimeline(stem, float(of_run), probability, pd.DataFrame(rows))
