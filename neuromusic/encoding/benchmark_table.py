"""The tables of a benchmark: all scores, and the best stage of each network as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_npz
from neuromusic.core.records import read_record
from neuromusic.core.tables import read_table
from neuromusic.encoding.sound_encoding import ALL_AND_BASELINE, BASELINE, BEST, NO_NETWORK
from neuromusic.encoding.sound_tables import PUBLISHED
from neuromusic.stats.resampled_t import corrected_resampled_interval

MOST_TARGETS = 8  # of a data set in the Markdown table and the figure; of more, the median
NAMED_PACKAGES = ("numpy", "scipy", "torch")
COLUMNS = (
    "network", "weights", "stage", "dataset", "target", "measure", "score", "low", "high",
    "ceiling", "over_baseline", "p", "unique", "p_unique", "protocol", "splits", "seed", "note",
    "versions", "network_sha256", "data_sha256",
)  # fmt: skip
NONE = "none"  # weights of the baseline


def table_of(
    cells: Iterable[tuple[str, str, Path]], ceilings: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """Return one row per network, weights, stage, data set and target.

    Parameters
    ----------
    cells : iterable of (network, dataset, directory)
        Names, and the output of `encode_sounds`.
    ceilings : mapping
        Data set -> target -> highest score that its noise permits, if known.

    Returns
    -------
    pandas.DataFrame
        Columns: network (also "baseline", and the names of published networks); weights (trained,
        random, published, none); stage; dataset; target; measure ("r2", or "r" of responses in
        time); score (squared r, by the protocol the mean or median over the splits; or r over held
        out sounds and samples); low and high (95 % interval of the mean over the splits, of
        `corrected_resampled_interval`; or of r); ceiling; over_baseline and p (mean difference from
        the baseline, corrected resampled t test, two-sided, not corrected over rows; not for
        responses in time); unique and p_unique (what the stage adds to the baseline; with the
        protocol "ours", and for responses in time); note (how a best stage was chosen); protocol,
        splits, seed, versions and SHA-256. The baseline and published values of a data set come
        once.

    Raises
    ------
    InputError
        If a file of a cell is missing or damaged.
    """
    parts = []
    seen: set[str] = set()
    for network, dataset, directory in cells:
        record = read_record(directory)
        if record is None:
            raise InputError(f"{directory}: has no readable record; remove it and start again")
        is_timed = record.get("function") == "encode_timed"
        rows = (_timed_rows if is_timed else _cell_rows)(network, directory)
        is_own = rows["weights"].isin(["trained", "random"])
        rows = rows.assign(**_provenance(record))
        rows.loc[~is_own, "network_sha256"] = None
        is_published = rows["weights"] == PUBLISHED
        rows.loc[is_published, ["splits", "seed", "versions", "data_sha256"]] = None
        rows = rows.astype({"splits": "Int64", "seed": "Int64"})
        if dataset in seen:
            rows = rows[is_own]
        seen.add(dataset)
        known = rows["target"].map(ceilings.get(dataset, {})).astype(float)
        parts.append(rows.assign(dataset=dataset, ceiling=known.fillna(rows["ceiling"])))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _cell_rows(network: str, directory: Path) -> pd.DataFrame:
    table = _targets(directory, ("r2", "over_baseline", "over_baseline_p"))
    intervals = _intervals(directory / "scores.npz")
    keys = list(zip(table["network"], table["features"], table["target"], strict=True))
    limits = np.array([intervals.get(key, (np.nan, np.nan)) for key in keys])
    is_published = table["network"] == PUBLISHED
    is_baseline = table["network"] == NO_NETWORK
    named = np.select([is_published, is_baseline], [table["features"], BASELINE], network)
    weights = table["network"].where(~is_baseline, NONE)
    joint = table.set_index(["network", "features", "target"])
    unique = [
        (key[0], f"{key[1]}+{BASELINE}", key[2]) if key[0] in ("trained", "random") else None
        for key in keys
    ]
    rows = pd.DataFrame(
        {
            "network": named, "weights": weights,
            "stage": table["features"].where(~is_published, BEST), "target": table["target"],
            "measure": "r2", "score": table["r2"], "low": limits[:, 0], "high": limits[:, 1],
            "ceiling": np.nan,
            "over_baseline": table["over_baseline"], "p": table["over_baseline_p"],
            "unique": [_value(joint, key, "over_baseline") for key in unique],
            "p_unique": [_value(joint, key, "over_baseline_p") for key in unique],
            "note": table["note"],
        }
    )  # fmt: skip
    rows.loc[is_baseline, ["over_baseline", "p"]] = np.nan
    return rows


def _timed_rows(network: str, directory: Path) -> pd.DataFrame:
    """Return the rows of an encoding of responses in time."""
    names = {
        "score": "r", "low": "r_low", "high": "r_high", "ceiling": "ceiling_r",
        "unique": "unique_r2", "p_unique": "unique_p",
    }  # fmt: skip
    table = _targets(directory, tuple(names.values()))
    is_baseline = table["network"] == NO_NETWORK
    numbers_of = {name: table[column] for name, column in names.items()}
    return pd.DataFrame(
        {
            "network": np.where(is_baseline, BASELINE, network),
            "weights": table["network"].where(~is_baseline, NONE),
            "stage": table["stage"], "target": table["target"], "measure": "r", **numbers_of,
            "over_baseline": np.nan, "p": np.nan, "note": table["note"],
        }
    )  # fmt: skip


def _targets(directory: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = read_table(directory / "targets.tsv")
    for column in columns:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def _value(joint: pd.DataFrame, key: tuple[str, str, str] | None, column: str) -> float:
    return float(joint.at[key, column]) if key in joint.index else np.nan


def _intervals(path: Path) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return (network, features, target) -> interval of the mean r2 over the splits."""
    scores = read_npz(path, "remove its directory and start again")
    n_train = int(scores["training"][0].sum())
    n_test = scores["training"].shape[1] - n_train
    r2 = np.moveaxis(scores["r2"], 1, 0)  # (splits, sets, targets)
    low, high = corrected_resampled_interval(r2, n_train, n_test)
    return {
        (str(network), str(features), str(target)): (low[row, column], high[row, column])
        for row, (network, features) in enumerate(
            zip(scores["network"], scores["features"], strict=True)
        )
        for column, target in enumerate(scores["targets"])
    }


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that say how a cell was made."""
    settings, inputs = record["settings"], dict(record["inputs"])
    network = inputs.pop("network")
    packages = [f"{name} {record['packages'][name]}" for name in NAMED_PACKAGES]
    options = settings["options"]
    return {
        "protocol": options.get("protocol", "timed"),
        "splits": settings.get("splits"),
        "seed": settings.get("seed", options.get("seed")),
        "versions": ", ".join([f"neuromusic {record['code_version']}", *packages]),
        "network_sha256": network,
        # Of the hashes alone: the data may be elsewhere on another computer.
        "data_sha256": sha256("".join(sorted(inputs.values())).encode()).hexdigest(),
    }


# --- Markdown -------------------------------------------------------------------------------------


def best_scores(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the best stages of all networks, and the baseline, of one data set.

    Columns as in `table_of`. Of more than MOST_TARGETS targets, their median is returned.
    """
    rows = table[table["dataset"] == dataset]
    # A combination of networks has no best stage: all stages and the baseline predict together. Of
    # responses in time, neither has a network with a single stage.
    has_best = rows["network"].isin(rows.loc[rows["stage"] == BEST, "network"])
    is_only = rows["weights"].isin(["trained", "random"]) & (rows["measure"] == "r")
    is_best = (rows["stage"] == BEST) | (
        ~has_best & ((rows["stage"] == ALL_AND_BASELINE) | is_only)
    )
    is_baseline = (rows["weights"] == NONE) & (rows["stage"] == BASELINE)
    rows = rows[is_best | is_baseline]
    n_targets = rows["target"].nunique()
    if n_targets <= MOST_TARGETS:
        return rows
    numbers = ["score", "low", "high", "ceiling"]
    keys = ["network", "weights", "stage", "measure"]
    median = rows.groupby(keys, sort=False)[numbers].median()
    return median.reset_index().assign(target=f"median of {n_targets} targets", note=None)


def as_markdown(table: pd.DataFrame, failures: Mapping[str, str]) -> str:
    """Return a Markdown table per data set: the score of the best stage, and which it was mostly.

    ``failures`` are named below.
    """
    blocks = []
    for dataset in dict.fromkeys(table["dataset"]):
        rows = best_scores(table, dataset)
        targets = list(dict.fromkeys(rows["target"]))
        lines = [["network", "weights", *targets], ["---"] * (2 + len(targets))]
        is_published = rows["weights"] == PUBLISHED
        rows = pd.concat([rows[~is_published], rows[is_published]])
        for (network, weights), part in rows.groupby(["network", "weights"], sort=False):
            scores = part.set_index("target")
            cells = [_cell(scores, target) for target in targets]
            lines.append([str(network), "" if weights == NONE else str(weights), *cells])
        ceilings = rows.groupby("target", sort=False)["ceiling"].first()
        if ceilings.notna().any():
            lines.append(["ceiling", "", *(_number(ceilings[target]) for target in targets)])
        blocks.append(f"## {dataset}\n\n{_about(table, dataset)}\n\n{_aligned(lines)}\n")
    if failures:
        reasons = "".join(f"* {name}: {reason}\n" for name, reason in failures.items())
        blocks.append(f"## Failed\n\n{reasons}")
    return "\n".join(blocks)


def _about(table: pd.DataFrame, dataset: str) -> str:
    first = table[table["dataset"] == dataset].iloc[0]
    if first["measure"] == "r":
        score = "Correlation over held-out sounds and time"
    else:
        score = (
            f"Squared correlation on held-out sounds, protocol {first['protocol']}, "
            f"{first['splits']} splits"
        )
    return (
        f"{score}; best stage, chosen within the training sounds, with the stage that was chosen "
        "most often. Networks that are combined predict by all stages and the baseline together."
    )


def _cell(scores: pd.DataFrame, target: str) -> str:
    if target not in scores.index:
        return "n/a"
    row = scores.loc[target]
    note = str(row["note"] or "")
    chosen = note.split(": ", 1)[1].rsplit(" ", 1)[0] if note.startswith("chosen") else ""
    stage = chosen.split(", ")[0].rsplit(" ", 1)[0] if "," in chosen else chosen
    return f"{_number(row['score'])} {stage}".strip()


def _number(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.2f}".replace("0.", ".", 1)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns are also aligned as plain text."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    filled = [
        [cell * (width // 3) + "-" * (width % 3) if cell == "---" else cell.ljust(width)
         for cell, width in zip(line, widths, strict=True)]
        for line in lines
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in filled)
