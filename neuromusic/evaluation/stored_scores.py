"""Read the stored scores of networks and cross-validations, and group repeats with other seeds."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import read_json, readable
from neuromusic.core.records import read_record
from neuromusic.core.tables import read_table
from neuromusic.models.summary import multiply_adds
from neuromusic.training.trained import SCORES, SECONDS, TrainedNetwork, load_network

REMEDY = "evaluate it again"


@dataclass(frozen=True)
class StoredScores:
    """The scores of a network or a cross-validation, read from its directory."""

    directory: Path
    row: dict[str, Any]  # of the table that `comparison.compare_networks` returns
    clips: pd.DataFrame  # indexed by clip, sorted: genre, track, hit
    setting: str  # everything that the scores depend on except the seed
    seed: int


def scored_directory(network: TrainedNetwork | Path | str) -> Path:
    """Return the directory of a network or a cross-validation, given as a path or as a network."""
    return network.directory if isinstance(network, TrainedNetwork) else Path(network)


def check_evaluated(directory: Path) -> None:
    """Raise InputError if a network or a cross-validation has no scores."""
    if not directory.is_dir():
        raise InputError(
            f"{directory}: is no directory of a trained network or a cross-validation; networks of "
            "others have none of our classes, so they have no scores"
        )
    missing = [directory / name for name in SCORES if not (directory / name).is_file()]
    if missing:
        raise InputError(f"{missing[0]}: does not exist; type 'neuromusic evaluate {directory}'")


def read_scores(directory: Path) -> StoredScores:
    """Read the scores of a network or a cross-validation.

    Multiply-adds are those of one window; the seconds per epoch are the median over the epochs of
    all folds (NaN if the training did not record them). Raises InputError if there are no scores.
    """
    directory = Path(directory)
    check_evaluated(directory)
    files = [directory / name for name in SCORES]
    scores = read_json(files[0], REMEDY)
    as_text = dict.fromkeys(("clip", "genre", "track"), str)
    table = read_table(
        files[1], remedy=REMEDY, dtype=as_text, na_values="n/a", keep_default_na=False
    )
    folds = sorted(directory.glob("fold-*"))
    directories = folds or [directory]
    with readable(directory, "set of scores", REMEDY):
        clips = _clip_hits(files[1], table)
        row = _row(directory, scores)
    trained = load_network(directories[0])
    row |= _cost(trained, directories)
    setting = _setting(trained, n_folds=len(folds))
    return StoredScores(directory, row, clips, setting, trained.config.train.seed)


def _clip_hits(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return genre, track and hit (whether the prediction is right) of every clip, sorted by it."""
    hit = table["predicted"].astype(str) == table["genre"]
    clips = table[["clip", "genre"]].assign(hit=hit)
    if "track" in table:
        clips["track"] = table["track"]
    else:  # older tables have no tracks; the name of a clip is track_15s.wav
        clips["track"] = clips["clip"].str.rsplit("_", n=1).str[0]
    duplicates = clips["clip"][clips["clip"].duplicated()]
    if len(duplicates):
        raise InputError(f"{path}: has the clip {duplicates.iat[0]} twice; {REMEDY}")
    return clips.set_index("clip").sort_index()


def _row(directory: Path, scores: dict[str, Any]) -> dict[str, Any]:
    clip, clean = scores["clip"], scores.get("clean", {})
    return {
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
        "chance": scores["chance"],
    }


def _cost(trained: TrainedNetwork, directories: Sequence[Path]) -> dict[str, Any]:
    """Return what a network costs to compute and train, and the published accuracy."""
    timed = [pd.read_csv(path / SECONDS) for path in directories if (path / SECONDS).is_file()]
    published = trained.config.published
    return {
        "multiply_adds": sum(multiply_adds(part.network) for part in trained.parts.values()),
        "seconds_an_epoch": float(pd.concat(timed)["seconds"].median()) if timed else np.nan,
        "published": np.nan if published.accuracy is None else published.accuracy,
        "published_what": published.what or np.nan,
    }


# --- Repeats with other seeds ---------------------------------------------------------------------


def _setting(trained: TrainedNetwork, n_folds: int) -> str:
    """Return, as text, everything that a network's scores depend on except its seed."""
    settings = trained.config.of_training()
    settings["train"].pop("seed")
    if n_folds:
        settings["data"].pop("test_runs", None)
        settings["data"].pop("test_tracks", None)
    # Prepared sets that differ only in the seed of their variants count as equal, others do not.
    record = read_record(trained.prepared)
    prepared: Any = trained.prepared_hash
    if record is not None:
        of_set = {key: value for key, value in record["settings"].items() if key != "seed"}
        prepared = [of_set, sorted(record["inputs"].values())]
    return json.dumps([settings, n_folds, prepared], sort_keys=True)


def group_by_setting(
    scored: Sequence[StoredScores],
) -> tuple[list[list[StoredScores]], list[str]]:
    """Return (the repeats of each setting, sorted by seed; warnings).

    Networks with the same settings and the same seed are not repeats of each other, so each stays
    a setting of its own.
    """
    groups: dict[tuple[str, frozenset[str]], list[StoredScores]] = {}
    for scores in scored:
        groups.setdefault((scores.setting, frozenset(scores.clips.index)), []).append(scores)
    settings, warnings = [], []
    for group in groups.values():
        seeds = [scores.seed for scores in group]
        if len(set(seeds)) == len(seeds):
            settings.append(sorted(group, key=lambda scores: scores.seed))
            continue
        settings += [[scores] for scores in group]
        names = listed(f"{scores.directory} (seed {scores.seed})" for scores in group)
        warnings.append(
            f"the same settings with the same seed occur more than once: {names}; they do not "
            "count as repeats"
        )
    return settings, warnings


def setting_name(directories: Sequence[Path]) -> str:
    """Return one name for several directories, such as runs/cv-{1,2,3}."""
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
