"""Draw the design of an experiment: every run on a time axis, and count what it contains."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuromusic.core.figures import (
    GREY,
    PAGE_MM,
    add_legend,
    fitting_size,
    new_figure,
    styled,
)
from neuromusic.design.bids import RunId
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.design.timing import whole_run_volumes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct for people with a colour-vision deficiency (Wong 2011), then lighter ones.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#7F7F7F",
    "#5D3A9B", "#994F00", "#1A5E2F", "#B2DF8A",
)  # fmt: skip
ROW_MM, FIXED_MM = 6.0, 30.0
BAR = 0.62  # height of a run's bars, in rows
MOST_LINES = 1_200  # more lines between repeats hide each other and the bars
SHORT_MM = 3.0  # the name of a sound is not written into a bar that is shorter


@styled
def draw_design(design: Design, subject: str) -> "Figure":
    """Return a figure of all runs of one subject: bars are sounds.

    Bars have the colours of classes, and the second and further presentations of a sound in a run
    have numbers. Without classes, each sound has a colour and a number. Lines connect the
    presentations of a sound in different runs. The lead-in is hatched, and silence is white.
    """
    runs = list(design.of_subject(subject).runs.values())
    height_mm = FIXED_MM + ROW_MM * len(runs)
    figure = new_figure(PAGE_MM, height_mm)
    axis = figure.add_subplot()
    clips = list(dict.fromkeys(clip for run in runs for clip in run.trials["clip"]))
    classes = list(dict.fromkeys(name for run in runs for name in run.trials["class"] if name))
    colours = _colours(sorted(classes) or clips)
    length_s = max(_end_s(run) for run in runs)
    first_s = min(0.0, *(run.trials["onset_s"].min() for run in runs))
    places: dict[str, list[tuple[float, int]]] = {}
    for row, run in enumerate(runs):
        _draw_run(axis, row, run, colours, bool(classes))
        numbers = run.trials["repeat"] if classes else run.trials["clip"].map(clips.index) + 1
        is_shown = run.trials["repeat"] > 1 if classes else numbers > 0
        _write_numbers(axis, row, run, numbers[is_shown], PAGE_MM * 0.8 / (length_s - first_s))
        for trial in run.trials[~run.trials["is_dummy"]].itertuples():
            duration_s = np.nan_to_num(trial.duration_s)
            places.setdefault(trial.clip, []).append((trial.onset_s + duration_s / 2, row))
    n_lines = _connect(axis, places)
    axis.set_xlim(first_s, length_s)
    axis.set_ylim(len(runs) - 0.4, -0.6)
    labels = [_label(run, design) for run in runs]
    size = fitting_size(45, max(map(len, labels)))
    axis.set_yticks(range(len(runs)), labels, fontsize=size)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("Seconds after the first image")
    figure.suptitle(_title(design, subject, runs) + _legend(runs, bool(classes), n_lines))
    if classes:
        add_legend(figure, axis, PAGE_MM - 10)
    return figure


def _colours(names: list[str]) -> dict[str, str]:
    """Return a colour for each name; those of Wong first, then of a map with many hues."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if len(names) <= len(COLOURS):
        return dict(zip(names, COLOURS, strict=False))
    hues = colormaps["turbo"](np.linspace(0.04, 0.96, len(names)))
    order = np.argsort(np.arange(len(names)) * 7919 % len(names), kind="stable")
    return {name: to_hex(hues[place]) for name, place in zip(names, order, strict=True)}


def _draw_run(
    axis: "Axes", row: int, run: RunDesign, colours: dict[str, str], has_classes: bool
) -> None:
    names = run.trials["class"] if has_classes else run.trials["clip"]
    durations_s = np.nan_to_num(run.trials["duration_s"].to_numpy(float))
    known = set(axis.get_legend_handles_labels()[1])
    for name in dict.fromkeys(sorted(names)):
        for is_dummy in (False, True):
            chosen = ((names == name) & (run.trials["is_dummy"] == is_dummy)).to_numpy()
            if not chosen.any():
                continue
            spans = list(zip(run.trials["onset_s"][chosen], durations_s[chosen], strict=True))
            axis.broken_barh(
                spans, (row - BAR / 2, BAR), facecolors=colours.get(name, GREY),
                edgecolors="white", linewidth=0.3, hatch="//////" if is_dummy else None,
                label=name if has_classes and not is_dummy and name not in known else None,
            )  # fmt: skip
    end_s = _end_s(run)
    axis.broken_barh(
        [(0, end_s)], (row - BAR / 2, BAR), facecolors="none", edgecolors=GREY, linewidth=0.4
    )


def _write_numbers(
    axis: "Axes", row: int, run: RunDesign, numbers: pd.Series, mm_per_s: float
) -> None:
    """Write a number into the bar of each trial that has one, if it fits."""
    for trial in run.trials.loc[numbers.index].itertuples():
        duration_s = np.nan_to_num(trial.duration_s)
        if duration_s * mm_per_s < SHORT_MM:
            continue
        axis.text(
            trial.onset_s + duration_s / 2, row, str(numbers[trial.Index]), fontsize=5.5,
            ha="center", va="center", zorder=4,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none",
                  "alpha": 0.8},
        )  # fmt: skip


def _connect(axis: "Axes", places: dict[str, list[tuple[float, int]]]) -> int:
    """Connect the repeats of each sound between runs, and return how many lines were drawn."""
    from matplotlib.collections import LineCollection

    lines = [
        [(first_s, first + BAR / 2), (second_s, second - BAR / 2)]
        for repeats in places.values()
        for (first_s, first), (second_s, second) in pairwise(repeats)
        if first != second
    ]
    if len(lines) > MOST_LINES:
        return 0
    # Only between the bars, so that the colours stay visible.
    axis.add_collection(LineCollection(lines, colors="0.35", linewidths=0.35, zorder=0.5))
    return len(lines)


def _end_s(run: RunDesign) -> float:
    """Return when a run ends: its last volume, or its last sound."""
    if run.n_volumes and run.tr_s:
        return run.n_volumes * run.tr_s
    return float((run.trials["onset_s"] + np.nan_to_num(run.trials["duration_s"])).max())


def _label(run: RunDesign, design: Design) -> str:
    parts = []
    if len({each.session for each in design.runs}) > 1:
        parts.append(f"ses-{run.id.session}")
    if len({each.task for each in design.runs}) > 1:
        parts.append(run.id.task)
    parts += [f"{key}-{value}" for key, value in run.id.others]
    parts.append(f"run {run.id.run}" if run.id.run else "run")
    return " ".join(parts)


def _title(design: Design, subject: str, runs: list[RunDesign]) -> str:
    clips = {clip for run in runs for clip in run.trials["clip"]}
    classes = {name for run in runs for name in run.trials["class"] if name}
    of = f", sub-{subject}" if subject else ""
    text = f"{design.experiment.name}{of}: {len(runs)} runs, {len(clips)} sounds"
    return text + (f", {len(classes)} classes" if classes else ", no classes")


def _legend(runs: list[RunDesign], has_classes: bool, n_lines: int) -> str:
    """Return what lines and numbers mean, if there are any."""
    text = ""
    if has_classes and any((run.trials["repeat"] > 1).any() for run in runs):
        text += "; numbers count the presentations of a sound"
    return text + ("; lines connect repeats" if n_lines else "")


# --- Counts ---------------------------------------------------------------------------------------


def count_table(design: Design) -> pd.DataFrame:
    """Return the counts of a design: a table with the columns what and n."""
    runs = design.runs.values()
    trials = design.table()
    heard = trials[~trials["is_dummy"]]
    repeats = heard.groupby(["subject", "clip"]).size()
    per_subject = (
        heard.groupby("subject")["run"]
        .size()
        .index.map(lambda subject: sum(run.subject == subject for run in design.runs))
    )
    silences = [silence for run in runs for silence in _silences(run)]
    rows: list[tuple[str, object]] = [
        ("subjects", len(design.subjects)),
        ("runs", len(design.runs)),
        ("runs per subject", _span(per_subject)),
        ("different orders", _n_orders(design)),
        ("sounds", heard["clip"].nunique()),
        ("classes", len({name for name in heard["class"] if name})),
        ("presentations per run", _span([len(run.trials) for run in runs])),
        ("repeats of a sound per subject", _span(repeats)),
        ("lead-in sounds per run", _span([run.trials["is_dummy"].sum() for run in runs])),
        ("TR (s)", _span([run.tr_s for run in runs if run.tr_s])),
        ("volumes per run", _span([n for run in runs if (n := _n_volumes(run))])),
        ("duration of a sound (s)", _span(trials["duration_s"].dropna())),
        ("silence after a sound (s)", _span(silences)),
    ]
    return pd.DataFrame(rows, columns=["what", "n"])


def _n_orders(design: Design) -> int:
    """Return how many different sequences of runs the subjects heard."""
    orders: dict[str, list[tuple[RunId, tuple[str, ...]]]] = {}
    for run, each in design.runs.items():
        key = (run._replace(subject=""), tuple(each.trials["clip"]))
        orders.setdefault(run.subject, []).append(key)
    return len({tuple(order) for order in orders.values()})


def _n_volumes(run: RunDesign) -> int | None:
    """Return the number of volumes; without images, a run ends with its last sound."""
    if run.n_volumes or not run.tr_s or run.trials["duration_s"].isna().any():
        return run.n_volumes
    return whole_run_volumes(run.trials, run.tr_s)


def _silences(run: RunDesign) -> list[float]:
    ends_s = (run.trials["onset_s"] + run.trials["duration_s"]).to_numpy(float)
    onsets_s = run.trials["onset_s"].to_numpy(float)
    gaps = [float(round(gap, 3)) for gap in onsets_s[1:] - ends_s[:-1] if not np.isnan(gap)]
    return gaps


def _span(values: object) -> object:
    """Return a number, or the least and the greatest: "4 to 8"."""
    found = sorted(float(each) for each in values)  # type: ignore[attr-defined]
    if not found:
        return "n/a"
    low, high = found[0], found[-1]
    number = int(low) if low.is_integer() else low
    return number if low == high else f"{low:g} to {high:g}"
