"""TODO: docstring."""

import json
import math
from typing import Any

import optuna
import pandas as pd
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from neuromusic.core.errors import InputError
from neuromusic.core.records import record_hash
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.build import check_one_device, wire
from neuromusic.training.config import Config, Dimension, make_config
from neuromusic.training.selection import select
from neuromusic.training.trials import Search, places


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
