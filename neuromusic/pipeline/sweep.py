"""Search for settings: train trials until the requested number is finished."""

import contextlib
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from neuromusic.core import plan
from neuromusic.core.errors import InputError
from neuromusic.core.figures import FORMATS, FigureStyle, save
from neuromusic.core.files import as_path, sha256
from neuromusic.core.outputs import add_resume_note
from neuromusic.core.progress import epoch_bars, epoch_text
from neuromusic.core.records import (
    record,
    write_record,
)
from neuromusic.core.tables import read_table
from neuromusic.evaluation import training_plots
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.models.network import Network
from neuromusic.pipeline.sweep_directory import (
    BEST,
    FIGURE,
    STARTED_WITH,
    TABLE,
    begin_directory,
    check_directory,
    private_directory,
    write_texts,
)
from neuromusic.pipeline.train import fit_tracked
from neuromusic.training.build import check_one_device
from neuromusic.training.config import Config, as_config
from neuromusic.training.devices import check_devices
from neuromusic.training.estimates import training_work
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
from neuromusic.training.trained import LAST, METRICS, WEIGHTS, kept_epoch
from neuromusic.training.trials import (
    ATTEMPT,
    FINISHED,
    Search,
    claim,
    expand_home,
    fail,
    fail_dead_trials,
    fill_slots,
    heartbeat,
    open_storage,
    trials_by_slot,
)

log = logging.getLogger(__name__)

POLL_S = 1.0  # how often to check whether a trial is waiting


def sweep(
    config: Config | Path | str | dict[str, Any],
    prepared: PreparedSet | Path | str,
    *,
    storage: str,
    trials: int,
    study: str,
    out: Path | str,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
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
    overwrite : bool
        If ``out`` or the study was started with other settings, remove both and start anew.
    figures : FigureStyle
        Formats and width of the figure.

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
    config, out, storage = as_config(config), as_path(out), expand_home(storage)
    check_one_device(config, "sweep")
    check_devices(config.train)
    data = as_prepared(prepared)
    network = check_sweep(config, data)
    common = common_settings(config, data)
    check_directory(out, study, common, overwrite)
    plan.begin(out, _work(config, network, trials), [data.directory], plan.size_of(out))
    database = open_storage(storage)
    with _naming_a_failed_database(storage):
        opened = open_study(database, study, config, common, overwrite)
        begin_directory(out, study, common, overwrite)
        search = Search(config, data, out, trials, database, opened, overwrite)
        note = f"finished epochs and trials are kept in {out}; the same command continues"
        with add_resume_note(out, out, note):
            _work_with_bars(search)
        _write_results(search, figures)
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


def _work(config: Config, network: Network, n_trials: int) -> plan.Work:
    one = training_work(config, network)
    assert one.seconds is not None
    return plan.Work(
        f"{n_trials} trainings such as {one.computes}", n_trials * one.seconds,
        n_trials * one.disk_bytes,
    )  # fmt: skip


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
                for row in read_table(out / METRICS).to_dict("records"):
                    report({str(key): value for key, value in row.items()})
            fit_tracked(config, search.data, out, True, search.overwrite, report)
            value = kept_epoch(read_table(out / METRICS))[metric]
    except optuna.TrialPruned:
        return TrialState.PRUNED, None
    return TrialState.COMPLETE, [value]


# --- Results --------------------------------------------------------------------------------------


def _write_results(search: Search, style: FigureStyle) -> None:
    """Write the table, the best settings and the figure; log the best trial."""
    table = trial_table(search)
    metric = search.config.sweep.metric
    best = best_config(search)
    texts = {
        TABLE: table.to_csv(
            sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n"
        )
    }
    if best is not None:
        texts[BEST] = best.to_toml()
    write_texts(search.out, texts)
    drawn = _draw_history(search, table, style)
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
    log.info("wrote %s, %s and %s", search.out / BEST, TABLE, ", ".join(drawn))


def _draw_history(search: Search, table: pd.DataFrame, style: FigureStyle) -> list[str]:
    """Draw the trials and return the names of the files; those in other formats are removed."""
    metric = search.config.sweep.metric
    names = style.names(FIGURE)
    with private_directory(search.out) as private:
        figure = training_plots.history(table, metric, metric == "valid_loss", style)
        for path in save(figure, Path(private, FIGURE), style):
            os.replace(path, search.out / path.name)
    for form in FORMATS:
        if f"{FIGURE}.{form}" not in names:
            (search.out / f"{FIGURE}.{form}").unlink(missing_ok=True)
    return names


def _write_record(search: Search, study: str, common: dict[str, Any]) -> None:
    out = search.out
    settings = {"study": study, "trials": search.n_trials, **common}
    places = {"prepared": search.data.directory}
    content = record("sweep", settings, {"prepared": common["prepared"]}, places=places)
    names = (TABLE, *(f"{FIGURE}.{form}" for form in FORMATS), STARTED_WITH, BEST)
    files = [out / name for name in names] + sorted(out.glob(f"trial-*/{WEIGHTS}"))
    outputs = {path.relative_to(out).as_posix(): sha256(path) for path in files if path.is_file()}
    write_record(out, content | {"function": "sweep", "outputs": outputs})
