"""The steps from stimulus lists to exports; commands, demo and `run` all call these.

Every step here and in `staging` returns its output directory, does nothing if that is there already
and unchanged, and tells what it did through ``say``.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuromusic import stimuli, timing
from neuromusic.config import Config
from neuromusic.errors import InputError
from neuromusic.fmri.formats import Wanted
from neuromusic.parallel import Machine
from neuromusic.progress import Say, epoch_text
from neuromusic.provenance import (
    RECORD,
    check_target,
    checksum,
    hash_inputs,
    is_current,
    kept,
    locked,
    new_directory,
    read_record,
    record,
    record_hash,
    sha256,
)
from neuromusic.staging import file_table, make_file_lists, make_lists
from neuromusic.untrusted import read_json


def _files_of(lists: Path) -> list[Path]:
    """Return the lists that are there and the sounds that are listed."""
    table = stimuli.read_lists(lists)
    paths = {lists / path for path in table["path"].dropna()}
    absent = sorted(path for path in paths if not path.is_file())
    if absent:
        raise InputError(f"{absent[0]}: is listed but not there; make the lists again")
    tsv = [lists / name for name in stimuli.LIST_FILES.values() if (lists / name).is_file()]
    return [*tsv, *paths]


def _check_unchanged(lists: Path, inputs: Mapping[str, str]) -> None:
    """Raise InputError if what was hashed before the work is not what lies there after it."""
    for name, now in hash_inputs(_files_of(lists)).items():
        if inputs[name] != now:
            raise InputError(f"{name}: has changed while it was read; start again")


def make_prepared(
    lists: Path, out: Path, seed: int, workers: int, say: Say,
    name: str = "logmel", with_waves: bool = False, device: str = "cpu", dask: str | None = None,
) -> Path:  # fmt: skip
    """Prepare stimulus lists with a front end: every clip, the training clips in ten variants.

    What an interrupted preparation of the same has done is kept, and the next one goes on from it.
    """
    machine = Machine(workers, device, dask)
    check_target(out, "prepare")
    from neuromusic.features import describe, front_end
    from neuromusic.prepare import prepare_audio, same_threads

    spec = front_end(name)
    settings = {"seed": seed, "front_end": describe(spec), "waves": with_waves}
    if machine.device != "cpu":  # other bytes, within rounding
        settings["device"] = machine.device
    files = _files_of(lists)
    checksums = {path: checksum(path) for path in files}  # before the hashes, see `hear_clip`
    made = record("prepare", settings, hash_inputs(files), machine.device, places={"lists": lists})
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    threads = same_threads() if machine.is_this_process else contextlib.nullcontext()
    with new_directory(out, made, keep=True) as part, threads:
        silent, made["outputs"] = prepare_audio(
            lists, part, spec, with_waves, seed, checksums, machine
        )
    if silent:
        say(f"warning: silent and not trained on: {', '.join(silent)}")
    _say_prepared(out, say)
    return out


def make_prepared_features(
    train: Path, test: Path | None, out: Path, say: Say, name: str = "logmel"
) -> Path:
    """Prepare ready-made log-mel, as it is or as its modulation."""
    from neuromusic.ready_made import prepare_features

    check_target(out, "prepare")
    files = [path for path in (train, test) if path is not None]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected an .npz with log-mel features")
    places = {"features": train} | ({"test_features": test} if test else {})
    made = record("prepare", {"front_end": name}, hash_inputs(files), places=places)
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        prepare_features(train, test, part, name)
    _say_prepared(out, say)
    return out


def _say_prepared(out: Path, say: Say) -> None:
    from neuromusic.store import open_prepared

    data = open_prepared(out)
    clips = data.rows.drop_duplicates("clip")["split"].value_counts().to_dict()
    counts = ", ".join(f"{n} {split} clips" for split, n in clips.items())
    say(f"wrote {out}: {len(data.rows)} rows of {data.features.shape[1:]} from {counts}")


def make_run(config: Config, prepared: Path, out: Path, resume: bool, say: Say) -> Path:
    """Train a network on a prepared set; a process that only helps another ends here."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from neuromusic.rundir import LAST
    from neuromusic.store import open_prepared
    from neuromusic.tracking import fit_tracked
    from neuromusic.training import is_helper

    data = open_prepared(prepared)
    columns = (
        TextColumn("train {task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=is_helper(config)) as progress:
        task = progress.add_task(config.model.name, total=config.train.epochs)

        def advance(row: dict[str, float]) -> None:
            progress.update(task, completed=row["epoch"], description=epoch_text(row))

        remedy = "the same command goes on" if resume else "--resume goes on"
        text = f"the finished epochs are kept in {out}; {remedy}"
        # With several devices the other processes work in the same place.
        alone = contextlib.nullcontext() if is_helper(config) else locked(out)
        with alone, kept(out, out / LAST, text):
            done = fit_tracked(config, data, out, resume, advance)
    if is_helper(config):
        raise SystemExit(0)
    say(f"wrote {out}" if done else f"{out} is there already and unchanged")
    return out


def make_evaluation(
    directory: Path, prepared: Path | None, say: Say, artists: Path | None = None
) -> dict[str, Any]:
    """Score a run; write its evaluation.json, predictions.tsv and figures; return the scores.

    With an artist table also the clips of artists that the run never heard.
    """
    from neuromusic.evaluation import (
        clean_text,
        evaluate,
        evaluation_record,
        heard_by,
        own_set,
        score_text,
        write_evaluation,
    )
    from neuromusic.report.run_figures import draw_run
    from neuromusic.rundir import load_run
    from neuromusic.store import open_prepared

    run = load_run(directory)
    data = open_prepared(prepared) if prepared else own_set(run)
    scores, table, counts = evaluate(run, data, artists)
    written, skipped = draw_run(run, heard_by(run, data), counts, scores["clip"]["accuracy"], table)
    write_evaluation(directory, scores, table, evaluation_record(run, data, artists), written)
    say(score_text(scores))
    if artists:
        say(clean_text(scores["clean"]))
    say(f"wrote {directory / 'evaluation.json'} and {directory / 'predictions.tsv'}")
    for path in written:
        say(f"wrote {path}")
    for reason in skipped:
        say(f"not drawn: {reason}")
    return scores


def make_export(
    directory: Path, lists: Path, out: Path, say: Say, wanted: Wanted | None = None
) -> Path:
    """Export a run's responses to every run of the lists, and in the formats that are wanted."""
    from neuromusic.export import export
    from neuromusic.rundir import load_run

    run = load_run(directory)
    table = stimuli.read_lists(lists)
    check_target(out, "export")
    wanted = wanted or Wanted()
    wanted.check([stage.name for stage in run.network.stages])
    inputs = {"run": sha256(directory / "model.safetensors"), **hash_inputs(_files_of(lists))}
    places = {"run": directory, "lists": lists}
    made = record("export", wanted.settings(), inputs, places=places)
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        missing, notes = export(run, table, lists, part, wanted)
        _check_unchanged(lists, inputs)
    runs = table[["split", "run"]].drop_duplicates()
    say(
        f"wrote {out}: {len(runs)} runs of {timing.n_volumes(int(table['trial'].max()))} volumes, "
        f"stages {', '.join(stage.name for stage in run.network.stages)}"
    )
    if missing:
        say(f"{len(missing)} clips are missing; their volumes are NaN: {', '.join(missing)}")
    for name in dict.fromkeys(wanted.formats):
        say(f"wrote {out / name}")
    for line in notes:
        say(f"note: {line}")
    return out


def run_all(config: Config, workers: int, say: Say) -> dict[str, Any]:
    """Do every step of an experiment; return the scores."""
    from neuromusic.models import entry
    from neuromusic.wiring import check_one_device

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
        with_waves = entry(config.model.name).input == "wave"
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
    from neuromusic.rundir import SCORES_RECORD, WEIGHTS

    made = read_record(run, SCORES_RECORD)
    inputs = {"run": sha256(run / WEIGHTS), "prepared": record_hash(prepared)}
    return made is not None and made["inputs"] == inputs


def make_crossval(
    config: Config, prepared: Path, folds: int, out: Path, say: Say, artists: Path | None = None
) -> dict[str, Any]:
    """Cross-validate an experiment over the training runs; return the pooled scores."""
    from neuromusic.crossval import cross_validate, text
    from neuromusic.evaluation import read_predictions, write_evaluation
    from neuromusic.metrics import reliability
    from neuromusic.report import figures
    from neuromusic.store import open_prepared
    from neuromusic.wiring import check_one_device

    check_one_device(config, "crossval")
    data = open_prepared(prepared)
    scores, table, counts = cross_validate(
        config, data, folds, out, lambda fold, path: make_run(fold, prepared, path, True, say),
        artists,
    )  # fmt: skip
    s = scores["clip"]
    title = f"{config.model.name}, {folds} folds: {s['accuracy']:.1%} of {s['n']} clips"
    bins = reliability(*read_predictions(table, data.classes))
    written = [
        figures.save(figures.confusion(counts, data.classes, title), out / "confusion.png"),
        figures.save(figures.reliability(bins, scores["calibration"]), out / "reliability.png"),
    ]
    inputs = {"prepared": record_hash(prepared), **hash_inputs([artists] if artists else [])}
    settings = {"folds": folds, **config.of_training()}
    made = record("crossval", settings, inputs, places={"prepared": prepared})
    write_evaluation(out, scores, table, made, written, RECORD)
    say(text(scores))
    say(f"wrote {out / 'evaluation.json'}, predictions.tsv, confusion.png and reliability.png")
    return scores
