"""What runs and cross-validations scored on each clip, and which differ in the seed alone."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.records import read_record
from neuromusic.models.summary import multiply_adds
from neuromusic.training.trained import SCORES, SECONDS, TrainedNetwork, load_network


@dataclass(frozen=True)
class Scored:
    """A run or a cross-validation and what it made of each clip."""

    directory: Path
    row: dict[str, Any]  # of the table
    clips: pd.DataFrame  # indexed by clip, sorted: genre, track, hit
    setting: str  # all that it depends on but the seed
    seed: int


def read_scores(directory: Path) -> Scored:
    """Read the scores of a run or a cross-validation.

    Multiply-adds are those of one window; seconds an epoch the median over the epochs of all folds
    (NaN for what was trained before they were told). Raises InputError where there are no scores.
    """
    files = [directory / name for name in SCORES]
    absent = [path for path in files if not path.is_file()]
    if absent:
        raise InputError(f"{absent[0]}: is not there; type 'neuromusic evaluate {directory}'")
    try:
        scores = json.loads(files[0].read_text("utf-8"))
        table = pd.read_csv(files[1], sep="\t", dtype={"clip": str, "genre": str, "track": str})
        clip, predicted = scores["clip"], table["predicted"].astype(str)
        clips = table[["clip", "genre"]].assign(hit=predicted == table["genre"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{directory}: has damaged scores ({error}); evaluate it again") from None
    if "track" in table:
        clips["track"] = table["track"]
    else:  # written before the track was: the name of a clip is track_15s.wav
        clips["track"] = clips["clip"].str.rsplit("_", n=1).str[0]
    twice = clips["clip"][clips["clip"].duplicated()]
    if len(twice):
        raise InputError(f"{files[1]}: {twice.iat[0]} is there twice; evaluate it again")
    folds = sorted(directory.glob("fold-*"))
    runs = folds or [directory]
    run = load_network(runs[0])
    timed = [pd.read_csv(path / SECONDS) for path in runs if (path / SECONDS).is_file()]
    published, clean = run.config.published, scores.get("clean", {})
    row = {
        "run": str(directory),
        "model": scores["model"],
        "n_seeds": 1,
        "accuracy": clip["accuracy"],
        "accuracy_low": clip["accuracy_ci95"][0],
        "accuracy_high": clip["accuracy_ci95"][1],
        "interval_over": clip.get("interval_over", "clips"),
        "accuracy_sd": np.nan,
        "accuracy_min": np.nan,
        "accuracy_max": np.nan,
        "cross_entropy": clip["cross_entropy"],
        "brier": clip.get("brier", np.nan),
        "calibration_error": scores.get("calibration", {}).get("error", np.nan),
        "macro_f1": clip["macro_f1"],
        "n": clip["n"],
        "accuracy_clean": clean.get("accuracy", np.nan),
        "n_clean": clean.get("n", np.nan),
        "random_weights": scores["random_weights"]["accuracy"],
        "parameters": scores["parameters"],
        "multiply_adds": multiply_adds(run.network),
        "seconds_an_epoch": float(pd.concat(timed)["seconds"].median()) if timed else np.nan,
        "published": np.nan if published.accuracy is None else published.accuracy,
        "published_what": published.what or np.nan,
        "chance": scores["chance"],
    }
    setting = _setting(run, len(folds))
    return Scored(
        directory, row, clips.set_index("clip").sort_index(), setting, run.config.train.seed
    )


def _setting(run: TrainedNetwork, folds: int) -> str:
    """Return as text all that a run's scores depend on, but its seed."""
    settings = run.config.of_training()
    settings["train"].pop("seed")
    if folds:
        settings["data"].pop("test_runs", None)
    # Sets that differ in the seed of their variants alone are alike; others are not.
    made = read_record(run.prepared)
    prepared: Any = run.prepared_hash
    if made is not None:
        of_set = {key: value for key, value in made["settings"].items() if key != "seed"}
        prepared = [of_set, sorted(made["inputs"].values())]
    return json.dumps([settings, folds, prepared], sort_keys=True)


def by_setting(scored: Sequence[Scored]) -> tuple[list[list[Scored]], list[str]]:
    """Return (the runs of each setting, sorted by their seed; warnings).

    Runs of one setting and of the same seed are no repeats of each other: they are left apart.
    """
    groups: dict[tuple[str, frozenset[str]], list[Scored]] = {}
    for one in scored:
        groups.setdefault((one.setting, frozenset(one.clips.index)), []).append(one)
    settings, warnings = [], []
    for group in groups.values():
        seeds = [one.seed for one in group]
        if len(set(seeds)) == len(seeds):
            settings.append(sorted(group, key=lambda one: one.seed))
            continue
        settings += [[one] for one in group]
        names = ", ".join(f"{one.directory} (seed {one.seed})" for one in group)
        warnings.append(
            f"the same settings, and a seed more than once: {names}; not taken for repeats"
        )
    return settings, warnings


def setting_name(directories: Sequence[Path]) -> str:
    """Return one name for several directories: runs/cv-{1,2,3}."""
    names = [str(path) for path in directories]
    if len(names) == 1:
        return names[0]
    start = _shared_start(names)
    end = _shared_start([name[len(start) :][::-1] for name in names])[::-1]
    middle = [name[len(start) : len(name) - len(end)] for name in names]
    return f"{start}{{{','.join(middle)}}}{end}"


def _shared_start(names: Sequence[str]) -> str:
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)
