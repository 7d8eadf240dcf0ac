"""The steps from stimulus lists to exports; commands, demo and `run` all call these.

Every step here and in `staging` returns its output directory, does nothing if that is there already
and unchanged, and tells what it did through ``say``.
"""

from pathlib import Path
from typing import Any

from neuromusic.core.errors import InputError
from neuromusic.core.files import read_json, sha256
from neuromusic.core.progress import Say
from neuromusic.core.records import read_record, record_hash
from neuromusic.pipeline.evaluate import make_evaluation
from neuromusic.pipeline.export import make_export
from neuromusic.pipeline.lists import file_table, make_file_lists, make_lists
from neuromusic.pipeline.prepare import make_prepared, make_prepared_features
from neuromusic.pipeline.train import make_run
from neuromusic.training.config import Config


def run_all(config: Config, workers: int, say: Say) -> dict[str, Any]:
    """Do every step of an experiment; return the scores."""
    from neuromusic.models.registry import model_entry
    from neuromusic.training.build import check_one_device

    check_one_device(config, "run")
    paths = config.paths
    out = Path(paths.out)
    lists, prepared, run = out / "run_dataset", out / "prepared", out / "run"
    given = [name for name in ("clips", "folder", "features") if getattr(paths, name)]
    if len(given) != 1:
        raise InputError(
            "paths: set one of clips (with train_order and test_order), folder or features; "
            f"set are {', '.join(given) or 'none'}"
        )
    if paths.features:
        test = Path(paths.test_features) if paths.test_features else None
        make_prepared_features(Path(paths.features), test, prepared, say, config.data.front_end)
    elif paths.folder:
        origin = {"folder": Path(paths.folder)}
        seed = config.train.seed
        files = file_table(origin)
        make_file_lists(files, paths.split, seed, paths.clip_s, lists, "hard", say, origin)
    else:
        make_lists(
            Path(paths.train_order),
            Path(paths.test_order),
            Path(paths.clips),
            lists,
            False,
            "hard",
            say,
        )
    if not paths.features:
        with_waves = model_entry(config.model.name).input == "wave"
        make_prepared(
            lists, prepared, config.train.seed, workers, say, config.data.front_end, with_waves
        )
    make_run(config, prepared, run, True, say)
    scores_file = run / "evaluation.json"
    if _is_scored(run, prepared):
        say(f"{scores_file} is there already and unchanged")
        scores: dict[str, Any] = read_json(scores_file, "remove it")
    else:
        scores = make_evaluation(run, None, say)
    if not paths.features and not paths.folder:
        make_export(run, lists, out / "export", say)
    return scores


def _is_scored(run: Path, prepared: Path) -> bool:
    """Say whether the scores of a run are those of its weights on this set."""
    from neuromusic.training.trained import SCORES_RECORD, WEIGHTS

    made = read_record(run, SCORES_RECORD)
    inputs = {"run": sha256(run / WEIGHTS), "prepared": record_hash(prepared)}
    return made is not None and made["inputs"] == inputs
