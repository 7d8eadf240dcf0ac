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
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from neuromusic import rundir
from neuromusic.config import Config, Dimension, make_config
from neuromusic.errors import InputError
from neuromusic.progress import Say, epoch_text
from neuromusic.provenance import (
    is_alive,
    kept,
    read_record,
    record,
    record_hash,
    sha256,
    write_record,
    write_text,
)
from neuromusic.report import figures
from neuromusic.selection import select
from neuromusic.store import PreparedSet, open_prepared
from neuromusic.tracking import fit_tracked
from neuromusic.training import Advance
from neuromusic.trials import (
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
from neuromusic.untrusted import read_json
from neuromusic.wiring import check_one_device, wire

POLL_S = 1.0
BEGUN = "sweep.json"
OWN = ("trial-*", "best.toml", "trials.tsv", "history.png", BEGUN, "provenance.json", "*.db*", ".*")


def begun_with(config: Config, data: PreparedSet) -> dict[str, Any]:
    """Return all that the trials of one study have in common, as JSON has it."""
    common = {
        "settings": config.of_training(),
        "sweep": config.sweep.model_dump(exclude_none=True),
        "prepared": record_hash(data.directory),
    }
    loaded: dict[str, Any] = json.loads(json.dumps(common))
    return loaded


def open_study(
    storage: RDBStorage, name: str, config: Config, common: dict[str, Any]
) -> optuna.Study:
    """Open a study, or begin it; raise InputError if it was begun with something else."""
    settings = config.sweep
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if settings.pruner == "median":
        pruner = optuna.pruners.MedianPruner(n_warmup_steps=settings.warmup_epochs)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        pruner=pruner,
        direction="minimize" if settings.metric == "valid_loss" else "maximize",
        load_if_exists=True,
    )
    old = study.user_attrs.get("begun_with")
    if old is None:
        study.set_user_attr("begun_with", common)
    elif old != common:
        differ = " and ".join(key for key in common if old.get(key) != common[key])
        raise InputError(
            f"--study {name}: was begun with other {differ}; take the same, or another --study"
        )
    return study


def check(config: Config, data: PreparedSet) -> None:
    """Raise InputError where no trial could be trained or judged: every end of every range."""
    if not config.sweep.space:
        raise InputError(
            'sweep.space: is empty; name settings, as "train.lr" = {low = 1e-4, high = 1e-2, '
            "log = true}"
        )
    check_one_device(config, "sweep")
    if len(select(data, config.data).valid) == 0:
        raise InputError(
            "data.validation_runs: leaves no validation clips to judge trials by; add "
            "--set data.validation_runs=1 (in a set without runs: prepare some valid clips)"
        )
    for key, dimension in config.sweep.space.items():
        for value in dimension.choices or (dimension.low, dimension.high):
            tried = with_values(config, {key: value})
            try:
                wire(tried, data)
            except (InputError, TypeError, ValueError, RuntimeError) as error:
                raise InputError(f"sweep.space.{key} = {value!r}: {error}") from None


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """Return the settings of one trial: setting -> value, and no sweep.

    Raises InputError for a value that is none for its setting.
    """
    tree = config.model_dump(exclude_none=True, exclude={"sweep"})
    for key, value in values.items():
        *sections, last = key.split(".")
        part = tree
        for section in sections:
            part = part.setdefault(section, {})
        part[last] = value
    return make_config(tree, "sweep.space")


def suggest(trial: optuna.Trial, space: dict[str, Dimension]) -> dict[str, Any]:
    """Return a value for every dimension; a trial that has values already gives those."""
    return {key: _suggest(trial, key, dimension) for key, dimension in space.items()}


def _suggest(trial: optuna.Trial, key: str, dimension: Dimension) -> Any:
    if dimension.choices is not None:
        # A database holds no lists: the choice is known by its text.
        texts = [c if isinstance(c, str) else json.dumps(c) for c in dimension.choices]
        return dimension.choices[texts.index(trial.suggest_categorical(key, texts))]
    low, high, step = dimension.low, dimension.high, dimension.step
    assert low is not None and high is not None
    if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
        return trial.suggest_int(key, low, high, step=step or 1, log=dimension.log)
    return trial.suggest_float(key, low, high, step=step, log=dimension.log)


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
            if (out / rundir.LAST).is_file():
                for row in pd.read_csv(out / rundir.METRICS).to_dict("records"):
                    heed(row)
            fit_tracked(config, search.data, out, True, heed)
            value = rundir.kept_row(pd.read_csv(out / rundir.METRICS))[metric]
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
        if again and (search.directory(place) / rundir.LAST).is_file():
            say(f"trial {place}: goes on where a stopped process left it")
        run(search, place, trial, begin(place, finished))


def trial_table(search: Search) -> pd.DataFrame:
    """Return one row a trial, best first: place, state, metric, epochs, a column a setting."""
    metric = search.config.sweep.metric
    rows = []
    for place, trial in sorted(places(search.study).items()):
        told = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        value = trial.value if trial.state == TrialState.COMPLETE else None
        rows.append(
            {
                "trial": place,
                "state": trial.state.name.lower(),
                metric: value if value is not None else (told[-1] if told else math.nan),
                "epochs": len(told),
                **trial.params,
                "run": search.directory(place).name,
            }
        )
    table = pd.DataFrame(rows)
    complete = (table["state"] != "complete").astype(int)
    by = table.assign(_complete=complete).sort_values(
        ["_complete", metric], ascending=[True, metric == "valid_loss"], kind="stable"
    )
    return by.drop(columns="_complete").reset_index(drop=True)


def best_config(search: Search) -> Config | None:
    """Return the settings of the best trial that was trained to its end, if there is one."""
    table = trial_table(search)
    if table.empty or table["state"][0] != "complete":
        return None
    best = optuna.trial.FixedTrial(places(search.study)[int(table["trial"][0])].params)
    return with_values(search.config, suggest(best, search.config.sweep.space))  # type: ignore[arg-type]


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
        figure = figures.history(table, metric, metric == "valid_loss")
        os.replace(figures.save(figure, Path(part) / "history.png"), search.out / "history.png")
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
