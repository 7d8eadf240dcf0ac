"""Search for settings: train trials until the requested number is finished."""

import contextlib
import glob
import json
import logging
import math
import os
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from neuromusic.core import plotting
from neuromusic.core.errors import InputError
from neuromusic.core.files import read_json, read_table, sha256, write_text
from neuromusic.core.outputs import add_resume_note, is_alive
from neuromusic.core.progress import epoch_bars, epoch_text
from neuromusic.core.records import RECORD, read_record, record, write_record
from neuromusic.evaluation import plots
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.pipeline.train import fit_tracked
from neuromusic.training.config import Config, as_config
from neuromusic.training.fit import Advance
from neuromusic.training.search import (
    best_config,
    check_sweep,
    common_settings,
    open_study,
    suggest,
    trial_table,
    with_values,
)
from neuromusic.training.trained import LAST, METRICS, kept_epoch
from neuromusic.training.trials import (
    ATTEMPT,
    FINISHED,
    Search,
    claim,
    fail,
    fail_dead_trials,
    fill_slots,
    heartbeat,
    open_storage,
    trials_by_slot,
)

log = logging.getLogger(__name__)

POLL_S = 1.0  # how often to check whether a trial is waiting
BEST = "best.toml"
TABLE = "trials.tsv"
FIGURE = "history.png"
STARTED_WITH = "sweep.json"
# What the directory of a sweep may contain; a database may be in it too.
FILE_PATTERNS = ("trial-*", BEST, TABLE, FIGURE, STARTED_WITH, RECORD, "*.db*", ".*")


def sweep(
    config: Config | Path | str | dict[str, Any],
    prepared: PreparedSet | Path | str,
    *,
    storage: str,
    trials: int,
    study: str,
    out: Path | str,
) -> Path:
    """Search for settings.

    Trials are drawn from ``sweep.space`` and trained until ``trials`` are finished. Several
    processes that call this function with the same arguments share the trials. If it is
    interrupted, the same call continues: a trial resumes from its checkpoint.

    Parameters
    ----------
    config : Config, str, Path or dict
        Settings, as in `train`, with the section ``sweep``.
    prepared : PreparedSet, str or Path
        The training set, or its directory.
    storage : str
        URL of the database that all processes share, such as "sqlite:///sweep.db".
    trials : int
        Number of trials of all processes together. A larger number than last time adds trials.
    study : str
        Name of the study in the database.
    out : str or Path
        Output directory: one network per trial ("trial-0000" and so on), the table of the trials
        ("trials.tsv"), a figure ("history.png") and the best settings ("best.toml").

    Returns
    -------
    Path
        The file of the best settings. It does not exist if all trials were stopped early.

    Raises
    ------
    InputError
        If the settings specify no valid search, the study was started with other settings, ``out``
        contains something else, or the database fails.

    Examples
    --------
    >>> import neuromusic as nm
    >>> settings = {"model": {"name": "cortex-z", "options": {"size": "tiny"}},
    ...             "data": {"window_s": 5.0, "hop_s": 2.5}, "train": {"epochs": 1},
    ...             "sweep": {"space": {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}}}
    >>> best = nm.sweep(settings, "prepared_npz", storage="sqlite:///sweep.db", trials=1,
    ...                 study="rate", out="sweep")
    >>> best.name
    'best.toml'
    """
    config, data, out = as_config(config), as_prepared(prepared), Path(out)
    check_sweep(config, data)
    common = common_settings(config, data)
    database = open_storage(storage)
    with _naming_a_failed_database(storage):
        opened = open_study(database, study, config, common)
        _begin_directory(out, study, common)
        search = Search(config, data, out, trials, database, opened)
        note = f"finished epochs and trials are kept in {out}; the same command continues"
        with add_resume_note(out, out, note):
            _work_with_bars(search)
        _write_results(search)
    _write_record(search, study, common)
    return out / BEST


@contextlib.contextmanager
def _naming_a_failed_database(url: str) -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise InputError(
            f"storage={url!r}: failed ({reason}); start the sweep again, nothing is lost"
        ) from None


# --- Training -------------------------------------------------------------------------------------


def _work_with_bars(search: Search) -> None:
    """Train trials, with one progress bar for the sweep and one for the current trial."""
    totals = {"sweep": search.n_trials, "trial": search.config.train.epochs}
    with epoch_bars(totals) as update:

        def begin(slot: int, n_finished: int) -> Advance:
            update("sweep", n_finished)

            def advance(row: dict[str, float]) -> None:
                update("trial", row["epoch"], f"trial {slot} {epoch_text(row)}")

            return advance

        work(search, begin)
        update("sweep", search.n_trials)


def work(search: Search, begin: Callable[[int, int], Advance]) -> None:
    """Train waiting trials until all trials are finished, by this process or others.

    ``begin(slot, n_finished)`` is called before each trial; what it returns is called after each of
    its epochs.
    """
    has_logged = False
    while True:
        fail_dead_trials(search)
        fill_slots(search)
        n_finished = _n_finished(search)
        if n_finished == search.n_trials:
            return
        claimed = claim(search)
        if claimed is None:
            if not has_logged:
                n_running = search.n_trials - n_finished
                log.info("waiting for %d trials that run in other processes", n_running)
            has_logged = True
            time.sleep(POLL_S)
            continue
        slot, trial = claimed
        if trial.user_attrs.get(ATTEMPT) and (search.directory(slot) / LAST).is_file():
            log.info("trial %d: continues where a stopped process left it", slot)
        train_trial(search, slot, trial, begin(slot, n_finished))


def _n_finished(search: Search) -> int:
    return sum(
        trial.state in FINISHED
        for slot, trial in trials_by_slot(search.study).items()
        if slot < search.n_trials
    )


def train_trial(search: Search, slot: int, trial: optuna.Trial, advance: Advance) -> None:
    """Train a claimed trial, or resume its training, and store its state in the database.

    If another process has taken the trial over, because this one seemed dead, nothing is stored.
    After an error the trial is marked as failed.
    """
    try:
        state, values = _result(search, slot, trial, advance)
        search.storage.set_trial_state_values(search.trial_id(trial.number), state, values)
    except UpdateFinishedTrialError:
        pass
    except BaseException:
        fail(search, trial.number)
        raise


def _result(
    search: Search, slot: int, trial: optuna.Trial, advance: Advance
) -> tuple[TrialState, list[float] | None]:
    """Train a trial and return its state and metric: (PRUNED, None) if it is stopped early."""
    metric = search.config.sweep.metric
    out = search.directory(slot)

    def report(row: dict[str, float]) -> None:
        # A loss that is not finite ends a training with an error; here it ends only the trial.
        if not math.isfinite(row[metric]) or not math.isfinite(row["train_loss"]):
            raise optuna.TrialPruned
        trial.report(row[metric], step=int(row["epoch"]) - 1)
        advance(row)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        with heartbeat(search, trial), warnings.catch_warnings():
            # After a resume, epochs are reported again, with the same values.
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            config = with_values(search.config, suggest(trial, search.config.sweep.space))
            if (out / LAST).is_file():
                for row in read_table(out / METRICS, sep=",").to_dict("records"):
                    report({str(key): value for key, value in row.items()})
            fit_tracked(config, search.data, out, True, report)
            value = kept_epoch(read_table(out / METRICS, sep=","))[metric]
    except optuna.TrialPruned:
        return TrialState.PRUNED, None
    return TrialState.COMPLETE, [value]


# --- The directory of a sweep ---------------------------------------------------------------------


def _begin_directory(out: Path, study: str, common: dict[str, Any]) -> None:
    """Make the directory of a sweep; raise InputError if it contains anything else."""
    content = {"study": study, **common}
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; out must name a directory")
    if out.is_dir():
        others = [
            path.name
            for path in out.iterdir()
            if not any(fnmatch(path.name, pattern) for pattern in FILE_PATTERNS)
        ]
        command = (read_record(out) or {}).get("command", "sweep")
        try:
            old = read_json(out / STARTED_WITH, "choose another directory for out")
        except FileNotFoundError:
            old = content
        if others or command != "sweep" or old != content:
            raise InputError(
                f"{out}: contains something else; choose another directory for out, or move that "
                "one away"
            )
    out.mkdir(parents=True, exist_ok=True)
    _write_texts(out, {STARTED_WITH: json.dumps(content, indent=2) + "\n"})


def _private_directory(out: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a directory in ``out`` for this process alone, as several may write the same file.

    Those left behind by killed processes of this machine are removed.
    """
    prefix = f".{platform.node()}-"
    for orphan in out.glob(f"{glob.escape(prefix)}*-*"):
        pid = orphan.name.removeprefix(prefix).split("-")[0]
        if pid.isdigit() and int(pid) != os.getpid() and not is_alive(int(pid)):
            shutil.rmtree(orphan, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", dir=out)


def _write_texts(out: Path, texts: dict[str, str]) -> None:
    with _private_directory(out) as private:
        for name, text in texts.items():
            write_text(Path(private, name), text)
            os.replace(Path(private, name), out / name)


def _write_results(search: Search) -> None:
    """Write the table, the best settings and the figure; log the best trial."""
    table = trial_table(search)
    metric = search.config.sweep.metric
    best = best_config(search)
    texts = {TABLE: table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6g")}
    if best is not None:
        texts[BEST] = best.to_toml()
    _write_texts(search.out, texts)
    with _private_directory(search.out) as private:
        figure = plots.history(table, metric, metric == "valid_loss")
        os.replace(plotting.save(figure, Path(private, FIGURE)), search.out / FIGURE)
    n_pruned = int((table["state"] == "pruned").sum())
    log.info("%d trials trained to the end, %d stopped early", len(table) - n_pruned, n_pruned)
    if best is None:
        log.warning(
            "no trial was trained to the end; increase sweep.warmup_epochs or narrow sweep.space"
        )
        return
    first = table.iloc[0]
    log.info(
        "best: trial %d with %s %.4f in %s", first["trial"], metric, first[metric], first["run"]
    )
    log.info("wrote %s, %s and %s", search.out / BEST, TABLE, FIGURE)


def _write_record(search: Search, study: str, common: dict[str, Any]) -> None:
    out = search.out
    settings = {"study": study, "trials": search.n_trials, **common}
    places = {"prepared": search.data.directory}
    content = record("sweep", settings, {"prepared": common["prepared"]}, places=places)
    names = (TABLE, FIGURE, STARTED_WITH, BEST)
    outputs = {name: sha256(out / name) for name in names if (out / name).is_file()}
    write_record(out, content | {"function": "sweep", "outputs": outputs})
