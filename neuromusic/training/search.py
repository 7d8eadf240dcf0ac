"""The search space of a sweep: check it, draw the settings of a trial, tabulate the results."""

import json
import math
from typing import Any

import optuna
import pandas as pd
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from neuromusic.core.errors import InputError, listed
from neuromusic.core.records import MOST_NAMED, changed_settings, record_hash
from neuromusic.features.prepared import PreparedSet
from neuromusic.models.network import Network
from neuromusic.training.build import build_network, check_one_device
from neuromusic.training.config import Config, Dimension, make_config
from neuromusic.training.selection import select
from neuromusic.training.trials import Search, trials_by_slot

STARTED_WITH = "begun_with"  # attribute of studies; the name is part of the databases


def common_settings(config: Config, data: PreparedSet) -> dict[str, Any]:
    """Return everything that the trials of one study have in common, as from JSON."""
    common = {
        "settings": config.of_training(),
        "sweep": config.sweep.model_dump(exclude_none=True),
        "prepared": record_hash(data.directory),
    }
    as_json: dict[str, Any] = json.loads(json.dumps(common))
    return as_json


def open_study(
    storage: RDBStorage, name: str, config: Config, common: dict[str, Any], overwrite: bool = False
) -> optuna.Study:
    """Open a study, or create it.

    If it was started with other settings, it is created anew with ``overwrite``; otherwise that is
    an InputError.
    """
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
    old = study.user_attrs.get(STARTED_WITH)
    if old is None:
        study.set_user_attr(STARTED_WITH, common)
    elif old != common:
        if overwrite:
            optuna.delete_study(study_name=name, storage=storage)
            return open_study(storage, name, config, common)
        raise InputError(
            f"study={name!r}: made with other settings "
            f"({listed(changed_settings(old, common), MOST_NAMED)}): choose another study, or "
            "replace it with overwrite=True (--overwrite)"
        )
    return study


def check_sweep(config: Config, data: PreparedSet) -> Network:
    """Raise InputError if some trials could not be trained or compared; return a network of one.

    A network is built for both ends of each range and for each choice.
    """
    if not config.sweep.space:
        raise InputError(
            'sweep.space: is empty; add settings such as "train.lr" = {low = 1e-4, high = 1e-2, '
            "log = true}"
        )
    check_one_device(config, "sweep")
    if len(select(data, config.data).valid) == 0:
        raise InputError(
            "data.validation_runs: leaves no validation clips to compare trials by; set "
            "data.validation_runs=1 (for a set without runs, prepare some valid clips)"
        )
    for key, dimension in config.sweep.space.items():
        for value in dimension.choices or (dimension.low, dimension.high):
            try:
                _, network = build_network(with_values(config, {key: value}), data)
            except (InputError, TypeError, ValueError, RuntimeError) as error:
                raise InputError(f"sweep.space.{key} = {value!r}: {error}") from None
    return network


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """Return the settings of one trial, from setting -> value; they contain no sweep.

    Raises InputError if a value is wrong for its setting.
    """
    tree = config.model_dump(exclude_none=True, exclude={"sweep"})
    for key, value in values.items():
        *sections, name = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return make_config(tree, "sweep.space")


def suggest(trial: optuna.trial.BaseTrial, space: dict[str, Dimension]) -> dict[str, Any]:
    """Return a value for each dimension; a trial that has values already returns them again."""
    return {key: _suggest(trial, key, dimension) for key, dimension in space.items()}


def _suggest(trial: optuna.trial.BaseTrial, key: str, dimension: Dimension) -> Any:
    if dimension.choices is not None:
        # A database cannot store lists: choices are identified by their text.
        texts = [c if isinstance(c, str) else json.dumps(c) for c in dimension.choices]
        return dimension.choices[texts.index(trial.suggest_categorical(key, texts))]
    low, high, step = dimension.low, dimension.high, dimension.step
    assert low is not None and high is not None
    if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
        return trial.suggest_int(key, low, high, step=step or 1, log=dimension.log)
    return trial.suggest_float(key, low, high, step=step, log=dimension.log)


def trial_table(search: Search) -> pd.DataFrame:
    """Return the trials, best first: one row per slot.

    Columns: trial (the slot), state, the metric, epochs, one per setting, and run (the name of the
    network's directory). The metric of an unfinished trial is that of its last epoch.
    """
    metric = search.config.sweep.metric
    rows = [
        _table_row(search, slot, trial)
        for slot, trial in sorted(trials_by_slot(search.study).items())
    ]
    table = pd.DataFrame(rows)
    is_unfinished = (table["state"] != "complete").astype(int)
    ordered = table.assign(_is_unfinished=is_unfinished).sort_values(
        ["_is_unfinished", metric], ascending=[True, metric == "valid_loss"], kind="stable"
    )
    return ordered.drop(columns="_is_unfinished").reset_index(drop=True)


def _table_row(search: Search, slot: int, trial: FrozenTrial) -> dict[str, Any]:
    reported = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if value is None:
        value = reported[-1] if reported else math.nan
    return {
        "trial": slot,
        "state": trial.state.name.lower(),
        search.config.sweep.metric: value,
        "epochs": len(reported),
        **trial.params,
        "run": search.directory(slot).name,
    }


def best_config(search: Search) -> Config | None:
    """Return the settings of the best trial that was trained to the end, if there is one."""
    table = trial_table(search)
    if table.empty or table["state"][0] != "complete":
        return None
    trial = trials_by_slot(search.study)[int(table["trial"][0])]
    values = suggest(optuna.trial.FixedTrial(trial.params), search.config.sweep.space)
    return with_values(search.config, values)
