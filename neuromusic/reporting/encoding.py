"""The part of an encoding of brain images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.files import read_json
from neuromusic.core.tables import read_table
from neuromusic.encoding import plots, unique_plots
from neuromusic.encoding.clip_sets import ALL
from neuromusic.encoding.model_names import TRAINED
from neuromusic.reporting import methods
from neuromusic.reporting.blocks import Block, Drawing, Paragraph, Part, Picture, Section, Table
from neuromusic.reporting.numbers import count, joined, p_value, value, with_interval
from neuromusic.reporting.origin import Origin, origin

REMEDY = "encode again"
P_LEVEL = 0.05
MOST_BRAINS = 10  # subjects whose maps are shown
SHORT = (
    "subject", "area", "network", "seed", "stage", "voxels", "reliable", "significant", "r",
    "r_low", "r_high", "p_holm", "ceiling_r", "rc", "rc_low", "rc_high", "top1", "mean_rank",
)  # fmt: skip


def encoding_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of an encoding of images."""
    summary = read_json(directory / "encoding.json", REMEDY)
    files = [directory / name for name in ("areas.tsv", "unique.tsv", "group.tsv")]
    from_where = Origin(directory, record, record.get("settings", {}), files)
    sections = [
        Section("What was done", lambda: [methods.encoding(record, summary, _left_out(directory))]),
        Section("Which stage predicts which area", lambda: _areas(directory, summary["Stages"])),
        Section("What a stage adds", lambda: _unique(directory)),
        Section("Maps", lambda: _maps(directory)),
        Section("Differences between stages", lambda: _contrasts(directory)),
        Section("Over subjects", lambda: _group(directory)),
        Section("Similarity of clips", lambda: _similarity(directory, summary["Stages"])),
        Section("Where it comes from", lambda: origin(from_where)),
    ]
    title = f"Encoding of brain images: {summary['Model']}"
    return Part(title, directory, sections, _notices(directory, summary))


def _notices(directory: Path, summary: Mapping[str, Any]) -> list[str]:
    """Return what was left out, of the whole and of each subject."""
    notices = list(summary.get("AcousticBaseline", {}).get("LeftOut", []))
    for path in _of_subjects(directory, "_encoding.json"):
        left_out = read_json(path, REMEDY).get("LeftOut", {})
        texts = left_out.values() if isinstance(left_out, dict) else left_out
        notices += [f"{_subject(path)}: {text}" for text in texts if text]
    return notices


def _of_subjects(directory: Path, ending: str) -> list[Path]:
    """Return the files of subjects: in a folder for each, or those of one beside its tables."""
    return sorted(directory.glob(f"sub-*/*{ending}")) or sorted(directory.glob(f"sub-*{ending}"))


def _subject(path: Path) -> str:
    return path.name.partition("_")[0]


def _left_out(directory: Path) -> str:
    """Return what each fold left out, as the subjects' summaries say; see `methods.FITTED`."""
    for path in sorted(directory.glob("**/sub-*_encoding.json")):
        left_out = str(read_json(path, REMEDY).get("LeftOutInEachFold", ""))
        return left_out if left_out in methods.FITTED else "unknown"
    return "unknown"


def _table(path: Path) -> pd.DataFrame:
    texts = ("subject", "area", "network", "stage", "clips", "minus_network", "minus_stage")
    return read_table(
        path, remedy=REMEDY, na_values="n/a", keep_default_na=False, dtype=dict.fromkeys(texts, str)
    )


def _areas(directory: Path, stages: list[str]) -> list[Block]:
    areas = _table(directory / "areas.tsv")
    intervals = _table(directory / "figures" / "stage_by_area.tsv")
    intervals = intervals.assign(best=intervals["best"].astype(str).isin(("True", "1")))
    of_all = areas[
        (areas["clips"] == ALL) & (areas["network"] == TRAINED) & areas["stage"].isin(stages)
    ]
    texts = [_best_text(str(area), rows) for area, rows in of_all.groupby("area", sort=False)]
    return [
        *(Paragraph(text) for text in texts[:8]),
        Drawing(
            "stage_by_area",
            "r of each stage in each area; a frame marks a stage that is better than all others "
            "beyond chance. Below: the same with 95 % intervals.",
            " ".join(texts) or "r of each stage in each area",
            lambda style: plots.stage_by_area(areas, intervals, stages, style),
            intervals,
        ),
        Table("areas", "All areas, networks and stages", areas[[c for c in SHORT if c in areas]]),
    ]


def _best_text(area: str, rows: pd.DataFrame) -> str:
    """Return which stage predicts an area best, with its ceiling."""
    means = rows.groupby("stage", sort=False)["r"].mean()
    if means.isna().all():
        return f"{area}: no responses to predict."
    stage = str(means.idxmax())
    best = rows[rows["stage"] == stage]
    n_significant, n = int((best["p_holm"] < P_LEVEL).sum()), best["subject"].nunique()
    if n > 1:
        ceiling = best["ceiling_r"].mean()
        above = "" if np.isnan(ceiling) else f" (noise ceiling {value(ceiling)})"
        return (
            f"{area}: stage {stage} predicts best, mean r = {value(means[stage])} over {n} "
            f"subjects{above}; significant in {n_significant} of them."
        )
    row = best.iloc[0]
    if not n_significant:
        return f"{area}: no stage predicts it significantly (highest r = {with_interval(row)})."
    ceiling_text = "no noise ceiling, because no voxel is reliable"
    if not np.isnan(row["ceiling_r"]):
        ceiling_text = f"noise ceiling {with_interval(row, 'ceiling_r')}"
    return (
        f"{area}: stage {stage} predicts best, r = {with_interval(row)}, "
        f"{p_value(float(row['p_holm']))} (corrected); {ceiling_text}; "
        f"{count(int(row['voxels']), 'voxel')}."
    )


def _unique(directory: Path) -> list[Block]:
    unique = _table(directory / "unique.tsv")
    if unique.empty:
        return [Paragraph("There was no acoustic baseline, so nothing could be compared with it.")]
    areas = _table(directory / "areas.tsv")
    return [
        Drawing(
            "unique_variance",
            "What each stage adds in R² to the acoustic baseline, and to the baseline with the "
            "stage below.",
            "; ".join(
                f"{row.area}, {row.stage} beyond {row.beyond}: {value(row.r2, 3)}"
                for row in unique.head(30).itertuples()
            ),
            lambda style: unique_plots.unique_variance(unique, areas, style),
            unique,
        ),
        Table("unique", "All areas and stages", unique),
    ]


def _maps(directory: Path) -> list[Block]:
    """Return the figures of the subjects' brains; `encode` drew them."""
    if not list(directory.glob("sub-*")):
        return [Paragraph("The maps are on the pages of the participants.")]
    brains = [*_of_subjects(directory, "_brain.svg"), *_of_subjects(directory, "_brain.png")]
    by_subject = {_subject(path): path for path in reversed(brains)}
    if not by_subject:
        return [
            Paragraph(
                "No maps were drawn: no voxel is significant, or the images have no places that "
                "can be drawn (arrays, CIFTI, surfaces that are not fsaverage)."
            )
        ]
    shown = sorted(by_subject.items())[:MOST_BRAINS]
    blocks: list[Block] = [
        Picture(
            f"{name}_brain",
            f"{name}: r of each stage on three slices and on the cortical surface, as far as "
            "voxels are significant.",
            f"Maps of the brain of {name}; the values are in {name}_voxels.tsv",
            path,
        )
        for name, path in shown
    ]
    if len(by_subject) > MOST_BRAINS:
        blocks.append(Paragraph(f"The first {MOST_BRAINS} of {len(by_subject)} subjects."))
    return blocks


def _contrasts(directory: Path) -> list[Block]:
    table = _table(directory / "contrasts.tsv")
    differ = table[table["p_holm"] < P_LEVEL]
    text = f"{len(differ)} of {count(len(table), 'difference')} are significant after correction."
    return [Paragraph(text), Table("contrasts", "All differences", table)]


def _group(directory: Path) -> list[Block]:
    table = _table(directory / "group.tsv")
    n = int(table["n_subjects"].max()) if len(table) else 0
    if n < 2:
        return [Paragraph("There is one subject, so nothing is known about others.")]
    return [Table("group", f"Tests over {n} subjects", table)]


def _similarity(directory: Path, stages: list[str]) -> list[Block]:
    table = _table(directory / "similarity.tsv")
    if table.empty or table["rho"].isna().all():
        return [Paragraph("Dissimilarities of clips could not be compared.")]
    return [
        Drawing(
            "similarity", "Correlation of the dissimilarities of clips in stages and areas.",
            f"Similarity in {joined(sorted(table['area'].unique()))}",
            lambda style: plots.similarities(table, stages, style), table,
        )
    ]  # fmt: skip
