"""The runs of stimulus lists: what a network is given, and what is laid on volumes.

Lists from order files follow the experiment of the orders. Lists of other experiments contain its
description and a table of runs.
"""

from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.tables import read_table
from neuromusic.design.bids import RunId
from neuromusic.design.dataset import DESCRIPTION
from neuromusic.design.experiment import Experiment, Split, load_experiment
from neuromusic.design.lists import RUN_COLUMNS
from neuromusic.design.orders import EXPERIMENT
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.design.timing import whole_run_volumes

RUN_TABLE = "runs.tsv"
RUN_TABLE_COLUMNS = (*RUN_COLUMNS, "tr_s", "n_volumes")


def experiment_of(lists: Path) -> Experiment:
    """Return the experiment that lists in a directory were made from."""
    path = lists / DESCRIPTION
    return load_experiment(path) if path.is_file() else EXPERIMENT


def scanner_runs(table: pd.DataFrame, lists: Path) -> Design:
    """Return the runs of stimulus lists, which were read from the directory ``lists``.

    Raises InputError if the lists have no runs.
    """
    if table["trial"].isna().all():
        raise InputError(f"{lists}: was made from a folder of sound files and has no scanner runs")
    experiment = experiment_of(lists)
    timing = _timing(lists)
    runs = {}
    columns = [*RUN_COLUMNS, "split"]
    for key, rows in table.groupby(columns, sort=False, dropna=False):
        subject, session, task, number = ("" if pd.isna(part) else part for part in key[:-1])
        split: Split = key[-1]
        task = task or experiment.task_of(split)
        run = RunId(subject, session, task, int(number))
        trials = _trials(rows, experiment)
        tr_s, n_volumes = timing.get(run, (experiment.time.tr_s, None))
        if tr_s is None:
            raise InputError(f"{lists / RUN_TABLE}: has no TR of {run.label}; make the lists again")
        n_volumes = n_volumes or whole_run_volumes(trials, tr_s)
        runs[run] = RunDesign(run, experiment.split_of(task), None, tr_s, n_volumes, trials)
    return Design(experiment, runs)


def _trials(rows: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Return `RunDesign.trials` from the rows of a run."""
    rows = rows.sort_values("trial").reset_index(drop=True)
    duration_s = rows["duration_s"]
    if experiment.time.duration_s is not None:
        duration_s = duration_s.fillna(experiment.time.duration_s)
    return pd.DataFrame(
        {
            "trial": rows["trial"].astype(int),
            "repeat": rows["repeat"].astype(int),
            "onset_s": rows["onset_s"].astype(float),
            "duration_s": duration_s.astype(float),
            "clip": rows["clip"],
            "class": rows["genre"].astype(object).where(rows["genre"].notna(), ""),
            "group": rows["track"],
            "is_dummy": rows["trial"] <= 0,
        }
    )


def _timing(lists: Path) -> dict[RunId, tuple[float, int | None]]:
    """Return the TR and the number of volumes of the runs in RUN_TABLE; empty without one."""
    path = lists / RUN_TABLE
    if not path.is_file():
        return {}
    table = read_table(
        path, columns=RUN_TABLE_COLUMNS, remedy="make the lists again", na_values="n/a",
        keep_default_na=False, dtype=dict.fromkeys(("subject", "session", "task"), str),
    )  # fmt: skip
    text = table[["subject", "session", "task"]].fillna("")
    return {
        RunId(subject, session, task, int(number)): (float(tr_s), int(n_volumes))
        for (subject, session, task), number, tr_s, n_volumes in zip(
            text.itertuples(index=False, name=None), table["run"], table["tr_s"],
            table["n_volumes"], strict=True,
        )
    }  # fmt: skip
