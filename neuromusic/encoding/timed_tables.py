"""Files of an encoding of responses in time: tables, response functions, settings and figures."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.figures import FigureStyle, save
from neuromusic.core.files import write_json, write_text
from neuromusic.encoding import timed_plots
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.timed_encoding import BASELINE, BEST, TimedResult
from neuromusic.encoding.timed_scores import SEGMENT_S
from neuromusic.stats.multiple import false_discovery, holm

log = logging.getLogger(__name__)

MOST_TARGETS_LOGGED = 12


def target_table(result: TimedResult, network: str = "trained") -> pd.DataFrame:
    """Return one row per stage and target.

    Parameters
    ----------
    result : TimedResult
        As `encode_timed` returns it.
    network : str
        Name of the network in the table.

    Returns
    -------
    pandas.DataFrame
        network ("none" for the baseline), stage, target; r with its 95 % interval (r_low, r_high),
        p (one-sided), p_holm and q (over all stages of the network, the baseline and all targets;
        the best stage has a family of its own); ceiling_r and rc, the ratio of r to it, with
        intervals; unique_r2 beyond the baseline with its interval, unique_p, unique_p_holm and
        unique_q; at_edge (share of the folds whose penalty is at an edge of the grid); note (how
        often a best stage was which).
    """
    rows: list[dict[str, Any]] = []
    for stage in result.stages:
        for k, target in enumerate(result.responses.targets):
            score, own = stage.scores[k], stage.unique
            rows.append(
                {
                    "network": "none" if stage.name == BASELINE else network,
                    "stage": stage.name, "target": target,
                    "r": score.r, "r_low": score.r_low, "r_high": score.r_high,
                    "p": stage.p[k],
                    "ceiling_r": score.ceiling, "ceiling_low": score.ceiling_low,
                    "ceiling_high": score.ceiling_high,
                    "rc": score.score, "rc_low": score.score_low, "rc_high": score.score_high,
                    "unique_r2": own.r2[k] if own else np.nan,
                    "unique_low": own.low[k] if own else np.nan,
                    "unique_high": own.high[k] if own else np.nan,
                    "unique_p": own.p[k] if own else np.nan,
                    "at_edge": stage.at_edge[k],
                    "note": _note(stage.chosen[k]) if stage.chosen else None,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    family = table["stage"] == BEST
    for p in ("p", "unique_p"):
        at = int(table.columns.get_loc(p)) + 1
        groups = table.groupby(family)[p]
        table.insert(at, "q" if p == "p" else "unique_q",
                     groups.transform(false_discovery))  # fmt: skip
        table.insert(at, f"{p}_holm", groups.transform(holm))
    return table


def _note(counts: Any) -> str:
    chosen = ", ".join(f"{name} {n}" for name, n in counts.most_common())
    return f"chosen in each fold by the error within the training sounds: {chosen}"


def sample_table(result: TimedResult) -> pd.DataFrame:
    """Return r over sounds at each sample: stage, target, time_s and r; of short sounds."""
    responses = result.responses
    tables = []
    for stage in result.stages:
        if stage.r_sample is None:
            continue
        n = len(stage.r_sample)
        times = responses.first_sample_s + np.arange(n) / responses.rate_hz
        for k, target in enumerate(responses.targets):
            tables.append(
                pd.DataFrame(
                    {"stage": stage.name, "target": target, "time_s": times,
                     "r": stage.r_sample[:, k]}
                )
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def response_table(result: TimedResult) -> pd.DataFrame:
    """Return the size of temporal response functions: stage, target, lag_s and sd.

    ``sd`` is the standard deviation of what the features at one lag alone contribute to the
    prediction, in standard deviations of the response.
    """
    tables = [
        pd.DataFrame(
            {"stage": stage.name, "target": target, "lag_s": result.lags.seconds,
             "sd": stage.lag_sd[:, k]}
        )
        for stage in result.stages
        if stage.lag_sd is not None
        for k, target in enumerate(result.responses.targets)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


# --- Writing --------------------------------------------------------------------------------------


def write(
    directory: Path, result: TimedResult, about: dict[str, Any], style: FigureStyle,
    control: TimedResult | None = None,
) -> None:  # fmt: skip
    """Write all files of an encoding in time.

    Parameters
    ----------
    directory : Path
        An existing directory: targets.tsv, samples.tsv (short sounds), response_functions.tsv and
        .npz, encoding.json, and the figures scores, samples (short sounds) and response_functions.
    result : TimedResult
        As `encode_timed` returns it.
    about : dict
        Settings that go into encoding.json besides those of the fit.
    style : FigureStyle
        Formats and width of the figures.
    control : TimedResult, optional
        The same with random weights, for targets.tsv and the figure of scores.
    """
    table, samples = target_table(result), sample_table(result)
    if control is not None:
        other = target_table(control, "random")
        table = pd.concat([table, other[other["network"] == "random"]], ignore_index=True)
    functions = response_table(result)
    _write_table(table, directory / "targets.tsv")
    save(timed_plots.stages(table, style), directory / "scores", style)
    if len(samples):
        _write_table(samples, directory / "samples.tsv")
        save(timed_plots.samples(samples, style), directory / "samples", style)
    if len(functions):
        _write_table(functions, directory / "response_functions.tsv")
        figure = timed_plots.response_functions(functions, style)
        save(figure, directory / "response_functions", style)
    stages: dict[str, Any] = {
        each.name: each.response for each in result.stages if each.response is not None
    }
    arrays: dict[str, Any] = {f"stage_{k}": array for k, array in enumerate(stages.values())}
    np.savez_compressed(
        directory / "response_functions.npz",
        lags_s=result.lags.seconds,
        targets=np.array(result.responses.targets),
        stages=np.array(list(stages)),
        **arrays,
    )
    write_json(directory / "encoding.json", {**about, **_summary(result)})


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_text(
        path,
        table.to_csv(sep="\t", index=False, float_format="%.5g", na_rep="n/a", lineterminator="\n"),
    )


def _summary(result: TimedResult) -> dict[str, Any]:
    options, responses = result.options, result.responses
    shifted = (
        "whole sounds within a fold" if result.is_short
        else f"segments of about {SEGMENT_S:g} s within a story"
    )  # fmt: skip
    return {
        "sounds": responses.sounds,
        "targets": responses.targets,
        "rate_hz": responses.rate_hz,
        "first_sample_s": responses.first_sample_s,
        "lags_s": result.lags.seconds.tolist(),
        "components": options.components,
        "seed": options.seed,
        "folds": [[responses.sounds[sound] for sound in fold] for fold in result.folds],
        "mean_time_course_removed": result.is_short,
        "penalties": ALPHAS.tolist(),
        "p": f"one-sided t, shifts of {shifted}",
        "notes": result.notes,
    }


def log_scores(result: TimedResult, control: TimedResult | None = None) -> None:
    """Log r of each stage and target, or the median if there are many, and warn of the notes.

    ``control`` is the same with random weights.
    """
    random = {} if control is None else {each.name: each.r for each in control.stages}
    targets = result.responses.targets
    are_few = len(targets) <= MOST_TARGETS_LOGGED
    head = ", ".join(targets) if are_few else f"median of {len(targets)} targets"
    log.info("r over %d sounds x time: %s", len(result.responses.sounds), head)
    for stage in result.stages:
        values = stage.r if are_few else [float(np.median(stage.r))]
        text = " ".join(f"{value:6.3f}" for value in values)
        beyond = ""
        if stage.unique is not None and stage.name != BASELINE:
            beyond = f"  unique r2 {float(np.median(stage.unique.r2)):.3f} (median)"
        if stage.name in random and stage.name != BASELINE:
            beyond += f"  random weights {float(np.median(random[stage.name])):.3f} (median)"
        log.info("  %-20s%s%s", stage.name, text, beyond)
    for note in result.notes:
        log.warning("%s", note)
