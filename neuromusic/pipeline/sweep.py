"""Search settings: train one trial after the other until as many as were asked for are finished."""

import contextlib
import glob
import json
import math
import os
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from neuromusic.core import plotting
from neuromusic.core.errors import InputError
from neuromusic.core.files import read_json, sha256, write_text
from neuromusic.core.outputs import is_alive, kept
from neuromusic.core.progress import Say, epoch_text
from neuromusic.core.records import read_record, record, write_record
from neuromusic.evaluation import plots
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.train import fit_tracked
from neuromusic.training import trained
from neuromusic.training.config import Config
from neuromusic.training.fit import Advance
from neuromusic.training.search import (
    begun_with,
    best_config,
    check,
    open_study,
    suggest,
    trial_table,
    with_values,
)
from neuromusic.training.trials import (
    FINISHED,
    Search,
    beating,
    fail,
    fail_dead,
    fill,
    open_storage,
    places,
    take,
)

POLL_S = 1.0
BEGUN = "sweep.json"
OWN = ("trial-*", "best.toml", "trials.tsv", "history.png", BEGUN, "provenance.json", "*.db*", ".*")


def run(search: Search, place: int, trial: optuna.Trial, advance: Advance) -> None:
    """Train one trial in its directory, or go on with it, and enter its result.

    A trial that another process took over, because this one was away too long, is left to it.
    """
    metric = search.config.sweep.metric
    out = search.directory(place)

    def heed(row: dict[str, float]) -> None:
        # A loss that is no number ends a training; here it ends the trial, not the sweep.
        if not math.isfinite(row[metric]) or not math.isfinite(row["train_loss"]):
            raise optuna.TrialPruned
        trial.report(row[metric], step=int(row["epoch"]) - 1)
        advance(row)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        with beating(search, trial), warnings.catch_warnings():
            # Optuna's word for an epoch that was told before; it is the same again.
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            config = with_values(search.config, suggest(trial, search.config.sweep.space))
            if (out / trained.LAST).is_file():
                for row in pd.read_csv(out / trained.METRICS).to_dict("records"):
                    heed(row)
            fit_tracked(config, search.data, out, True, heed)
            value = trained.kept_row(pd.read_csv(out / trained.METRICS))[metric]
        trial_id = search.trial_id(trial.number)
        search.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [value])
    except optuna.TrialPruned:
        with contextlib.suppress(UpdateFinishedTrialError):
            search.storage.set_trial_state_values(search.trial_id(trial.number), TrialState.PRUNED)
    except UpdateFinishedTrialError:
        pass
    except BaseException:
        fail(search, trial.number)
        raise


def work(
    search: Search,
    begin: Callable[[int, int], Advance],
    say: Say,
) -> None:
    """Take trials until all are finished, here or elsewhere.

    ``begin(place, finished)`` is called before each trial and returns what hears of its epochs.
    """
    told = False
    while True:
        fail_dead(search)
        fill(search)
        states = {p: t.state for p, t in places(search.study).items() if p < search.trials}
        finished = sum(state in FINISHED for state in states.values())
        if finished == search.trials:
            return
        taken = take(search)
        if taken is None:
            if not told:
                running = search.trials - finished
                say(f"nothing waits; {running} trials run in other processes: waiting for them")
            told = True
            time.sleep(POLL_S)
            continue
        place, trial = taken
        again = trial.user_attrs.get("again")
        if again and (search.directory(place) / trained.LAST).is_file():
            say(f"trial {place}: goes on where a stopped process left it")
        run(search, place, trial, begin(place, finished))


def begin_directory(out: Path, study: str, common: dict[str, Any]) -> None:
    """Make the directory of a sweep; raise InputError where it holds anything else."""
    mark = {"study": study, **common}
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out must name a directory")
    if out.is_dir():
        strange = [p.name for p in out.iterdir() if not any(fnmatch(p.name, own) for own in OWN)]
        made = (read_record(out) or {}).get("command", "sweep")
        try:
            old = read_json(out / BEGUN, "choose another --out")
        except FileNotFoundError:
            old = mark
        if strange or made != "sweep" or old != mark:
            raise InputError(f"{out}: holds something else; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    _write(out, {BEGUN: json.dumps(mark, indent=2) + "\n"})


def _own_place(out: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a directory in ``out`` for this process alone: several may write the same at once.

    Those of processes of this machine that were killed are removed.
    """
    own = f".{platform.node()}-"
    for left in out.glob(f"{glob.escape(own)}*-*"):
        pid = left.name.removeprefix(own).split("-")[0]
        if pid.isdigit() and int(pid) != os.getpid() and not is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{own}{os.getpid()}-", dir=out)


def _write(out: Path, texts: dict[str, str]) -> None:
    with _own_place(out) as part:
        for name, text in texts.items():
            write_text(Path(part) / name, text)
            os.replace(Path(part) / name, out / name)


def write_results(search: Search, say: Say) -> None:
    """Write trials.tsv, best.toml and history.png into the directory of a sweep."""
    table = trial_table(search)
    metric = search.config.sweep.metric
    best = best_config(search)
    texts = {"trials.tsv": table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6g")}
    if best is not None:
        texts["best.toml"] = best.to_toml()
    _write(search.out, texts)
    with _own_place(search.out) as part:
        figure = plots.history(table, metric, metric == "valid_loss")
        os.replace(plotting.save(figure, Path(part) / "history.png"), search.out / "history.png")
    pruned = int((table["state"] == "pruned").sum())
    say(f"{len(table) - pruned} trials trained to their end, {pruned} stopped early")
    if best is None:
        say("no trial was trained to its end; widen sweep.warmup_epochs or narrow sweep.space")
        return
    first = table.iloc[0]
    say(f"best: trial {first['trial']} with {metric} {first[metric]:.4f} in {first['run']}")
    say(f"wrote {search.out / 'best.toml'}, trials.tsv and history.png")


def run_sweep(
    config: Config, prepared: Path, trials: int, url: str, name: str, out: Path, say: Say
) -> Path:
    """Do trials until so many are finished by all processes together; return the best settings.

    Raises InputError where the settings make no sweep or the database is gone.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    data = open_prepared(prepared)
    check(config, data)
    common = begun_with(config, data)
    storage = open_storage(url)
    try:
        study = open_study(storage, name, config, common)
        begin_directory(out, name, common)
        search = Search(config, data, out, trials, storage, study)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            whole = progress.add_task("sweep", total=trials)
            one = progress.add_task("trial", total=config.train.epochs)

            def begin(place: int, finished: int) -> Advance:
                progress.update(whole, completed=finished)

                def advance(row: dict[str, float]) -> None:
                    text = f"trial {place} {epoch_text(row)}"
                    progress.update(one, completed=row["epoch"], description=text)

                return advance

            text = f"what is done is kept in {out}; the same command goes on"
            with kept(out, out, text):
                work(search, begin, say)
            progress.update(whole, completed=trials)
        write_results(search, say)
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise InputError(
            f"--storage {url}: failed ({reason}); start again, nothing is lost"
        ) from None
    settings = {"study": name, "trials": trials, **common}
    inputs, places = {"prepared": common["prepared"]}, {"prepared": prepared}
    names = ("trials.tsv", "history.png", BEGUN, "best.toml")
    outputs = {name: sha256(out / name) for name in names if (out / name).is_file()}
    write_record(out, record("sweep", settings, inputs, places=places) | {"outputs": outputs})
    return out / "best.toml"
