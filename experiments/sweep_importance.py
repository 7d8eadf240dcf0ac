"""How much each setting of a sweep matters: functional ANOVA (Hutter et al. 2014, ICML).

    python experiments/sweep_importance.py sqlite:///sweep.db sweep-cortex

Trials that were stopped early have no final value, so all trials are compared at the last epoch
that each of them reached; those that were trained to the end also by their final value. Prints one
table: the share of the variance between trials that each setting explains.
"""

import sys

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def main(storage: str, name: str) -> None:
    """Print the importance of each setting of a study."""
    study = optuna.load_study(study_name=name, storage=storage)
    ended = study.get_trials(states=ENDED)
    step = min(max(trial.intermediate_values) for trial in ended)
    columns = {
        f"epoch {step + 1}, n = {len(ended)}": _importance(
            ended, study, [trial.intermediate_values[step] for trial in ended]
        )
    }
    whole = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    values = [float(trial.value or 0) for trial in whole]
    columns[f"last epoch, n = {len(whole)}"] = _importance(whole, study, values)
    print(f"| setting | {' | '.join(columns)} |")
    print(f"| --- |{' --- |' * len(columns)}")
    first = next(iter(columns.values()))
    for setting in sorted(first, key=first.__getitem__, reverse=True):
        shares = " | ".join(f"{column[setting]:.2f}" for column in columns.values())
        print(f"| `{setting}` | {shares} |")


def _importance(
    trials: list[optuna.trial.FrozenTrial], study: optuna.Study, values: list[float]
) -> dict[str, float]:
    copy = optuna.create_study(direction=study.direction)
    for trial, value in zip(trials, values, strict=True):
        copy.add_trial(
            optuna.create_trial(params=trial.params, distributions=trial.distributions, value=value)
        )
    return get_param_importances(copy, evaluator=FanovaImportanceEvaluator(seed=0))


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main(*sys.argv[1:3])
