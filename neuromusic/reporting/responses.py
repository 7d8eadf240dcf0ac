"""Parts about responses to sounds: single values, responses in time, benchmarks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.files import read_json
from neuromusic.core.tables import read_table
from neuromusic.encoding import benchmark_plot, sound_plots, timed_plots
from neuromusic.reporting import methods
from neuromusic.reporting.blocks import Block, Drawing, Paragraph, Part, Section, Table
from neuromusic.reporting.numbers import value
from neuromusic.reporting.origin import Origin, origin

REMEDY = "run the command again"


def sounds_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of an encoding of single responses to sounds."""
    summary = read_json(directory / "encoding.json", REMEDY)
    targets = _table(directory / "targets.tsv")
    place = directory / "reconstructed_voxels.tsv"
    voxels = _table(place) if place.is_file() else None
    sections = [
        Section("What was done", lambda: [methods.sounds(record, summary)]),
        Section("How well the stages predict", lambda: _stages(targets, voxels, summary)),
        _origin(directory, record, ["targets.tsv", "encoding.json"]),
    ]
    notices = [f"left out: {name}" for name in summary["targets_left_out"]]
    notices += [text for text in [summary.get("reconstructed_voxels_note")] if text]
    return Part(f"Responses to sounds: {summary['model']}", directory, sections, notices)


def _stages(
    targets: pd.DataFrame, voxels: pd.DataFrame | None, summary: Mapping[str, Any]
) -> list[Block]:
    features = list(dict.fromkeys(targets["features"]))
    names = [*summary["stages"], *(name for name in ("all", "best stage") if name in features)]
    trained = targets[targets["network"] == "trained"]
    best = trained[trained["features"].isin(summary["stages"])]
    texts = []
    for target, rows in list(best.groupby("target", sort=False))[:8]:
        row = rows.loc[rows["r2"].idxmax()]
        texts.append(f"{target}: {row['features']} has the highest r², {value(row['r2'])}.")
    return [
        *(Paragraph(text) for text in texts),
        Drawing(
            "stages", "Squared correlation on sounds held out.", " ".join(texts) or "r² of stages",
            lambda style: sound_plots.stages(targets, voxels, names, summary["splits"], style),
            targets,
        ),
        Table("targets", "All features and targets", targets.drop(columns=["protocol"])),
    ]  # fmt: skip


def timed_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of an encoding of responses in time."""
    summary = read_json(directory / "encoding.json", REMEDY)
    table = _table(directory / "targets.tsv")
    sections = [
        Section("What was done", lambda: [methods.timed(record, summary)]),
        Section("How well the stages predict", lambda: _timed_scores(table)),
        Section("When they predict", lambda: _curves(directory)),
        _origin(directory, record, ["targets.tsv", "encoding.json"]),
    ]
    return Part(
        f"Responses in time: {summary['model']}", directory, sections, summary.get("notes", [])
    )


def _timed_scores(table: pd.DataFrame) -> list[Block]:
    trained = table[table["network"] == "trained"]
    medians = trained.groupby("stage", sort=False)["r"].median()
    text = "; ".join(f"{stage} {value(r)}" for stage, r in medians.items())
    return [
        Paragraph(f"Median r over the targets: {text}."),
        Drawing(
            "scores", "Correlation of predicted and measured responses to sounds held out.",
            f"Median r: {text}", lambda style: timed_plots.stages(table, style), table,
        ),
        Table("targets", "All stages and targets", table),
    ]  # fmt: skip


def _curves(directory: Path) -> list[Block]:
    blocks: list[Block] = []
    if (directory / "samples.tsv").is_file():
        samples = _table(directory / "samples.tsv")
        if len(samples):
            blocks.append(Drawing(
                "samples", "Correlation over sounds at each time after the onset.",
                "r over time, a panel per stage", lambda style: timed_plots.samples(samples, style),
                samples,
            ))  # fmt: skip
    responses = _table(directory / "response_functions.tsv")
    blocks.append(Drawing(
        "response_functions", "Temporal response functions.",
        "Contribution of the features at each lag, a panel per stage",
        lambda style: timed_plots.response_functions(responses, style), responses,
    ))  # fmt: skip
    return blocks


def benchmark_part(directory: Path, record: Mapping[str, Any]) -> Part:
    """Return the part of a benchmark."""
    table = _table(directory / "benchmark.tsv")
    failures = record["settings"].get("failures", {})
    sections = [
        Section("What was done", lambda: [methods.benchmark(record)]),
        Section("Which network predicts best", lambda: _benchmark(table)),
        _origin(directory, record, ["benchmark.tsv"]),
    ]
    notices = [f"{name}: {text}" for name, text in failures.items()]
    return Part("Benchmark", directory, sections, notices)


def _benchmark(table: pd.DataFrame) -> list[Block]:
    best = table[(table["weights"] == "trained")].sort_values("score", ascending=False)
    lines = [
        f"{dataset}, {target}: {rows['network'].iat[0]} ({rows['stage'].iat[0]}) "
        f"{value(rows['score'].iat[0])}"
        for (dataset, target), rows in best.groupby(["dataset", "target"], sort=False)
    ]
    shown = table.drop(columns=["versions", "network_sha256", "data_sha256"], errors="ignore")
    return [
        Drawing(
            "benchmark", "The best stage of each network, with 95 % intervals.",
            "Highest scores: " + "; ".join(sorted(lines)[:20]),
            lambda style: benchmark_plot.benchmark(table, style), table,
        ),
        Table("benchmark", "All networks, stages and targets", shown),
    ]  # fmt: skip


def _table(path: Path) -> pd.DataFrame:
    names = ("network", "features", "target", "stage", "weights", "dataset", "note", "protocol")
    return read_table(
        path, remedy=REMEDY, na_values="n/a", keep_default_na=False, dtype=dict.fromkeys(names, str)
    )


def _origin(directory: Path, record: Mapping[str, Any], names: list[str]) -> Section:
    files = [directory / name for name in names]
    of = Origin(directory, record, record.get("settings", {}), files)
    return Section("Where it comes from", lambda: origin(of))
