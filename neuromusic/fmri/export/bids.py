"""The BIDS part of an export: continuous signals, the network's answers, and events.

Metadata that applies to all files is at the root, once, as BIDS's inheritance principle has it.
"""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.export.bids_dataset import bids_label, write_dataset_files
from neuromusic.fmri.export.conventions import (
    NO_RESPONSE,
    dummy_text,
    level_text,
    of_runs,
    onsets_text,
)
from neuromusic.fmri.export.scanner_run import (
    DUMMY,
    Context,
    ScannerRun,
    fitted_runs,
    folder_of,
)

README = """
Responses of the network `{network}` in every run of the experiment.

* `{signals}*_stim.tsv.gz`: continuous signals, one row per volume; `stim.json` names the columns.
  {order}
* {answers}
* `{signals}*_events.tsv`, if they were exported: the trials of each run.

The directories in `.bidsignore` hold what BIDS has no place for: activations, and the files of
other programs.
"""
SHARED = {
    "signals": "task-*_run-",
    "order": "All subjects heard the same clips in the same order, so these files are at the top "
    "level, without\n  a subject, and apply to the runs of every subject.",
    "answers": "`sub-{0}/beh/`: what the network answers to each clip, as if it were a participant "
    "who heard\n  the runs. It is not a person.",
}
OF_SUBJECTS = {
    "signals": "sub-*/func/sub-",
    "order": "Subjects heard different runs, or the same in another order, so each has files of "
    "its own.",
    "answers": "`sub-*/beh/sub-*_desc-{0}_beh.tsv`: what the network answers to each clip of the "
    "subject's runs.\n  They are not the answers of the subject.",
}


def write_bids(
    directory: Path,
    runs: Sequence[ScannerRun],
    context: Context,
    *,
    with_events: bool,
    ignored: Sequence[str],
) -> None:
    """Write a BIDS derivative that passes the validator.

    ``STEM_stim.tsv.gz``: one row per volume with the probability of each genre and, if the runs
    have regressors, the components of their stages. ``sub-NETWORK/beh/``, or ``desc-NETWORK`` in
    the ``beh/`` of the subjects: one row per trial with what the network answers.
    ``STEM_events.tsv``, on request: onset, duration, trial_type (the genre, or dummy) and the same
    columns. n/a for missing clips. ``ignored`` are the directories that BIDS has no place for.
    """
    network = str(context.about["Network"])
    missing = sorted({clip for run in runs for clip in run.missing})
    write_dataset_files(
        directory,
        f"neuromusic {network} on the scanner's time grid",
        network,
        _readme(network, runs),
        ignored=ignored,
        extra={"MissingClips": missing},
    )
    _write_signals(directory, runs, context)
    _write_answers(directory, runs, context)
    if with_events:
        _write_events(directory, runs, context)


def _readme(network: str, runs: Sequence[ScannerRun]) -> str:
    texts = OF_SUBJECTS if runs[0].id.subject else SHARED
    if runs[0].id.subject and runs[0].id.session:
        texts = {key: text.replace("sub-*/", "sub-*/ses-*/") for key, text in texts.items()}
    return README.format(
        network=network, signals=texts["signals"], order=texts["order"],
        answers=texts["answers"].format(bids_label(network)),
    )  # fmt: skip


# --- Continuous signals ---------------------------------------------------------------------------

SAMPLE_TIMES = (
    "Row v, counted from 0, stands for the middle of volume v: StartTime + v / SamplingFrequency "
    "after the first volume began. Interpolate between these times. A program that holds each "
    "value until the next one should begin {:g} s earlier, at the volume's onset."
)


def _write_signals(directory: Path, runs: Sequence[ScannerRun], context: Context) -> None:
    for run in runs:
        blocks = [run.grid[PROBABILITY], *(frame.to_numpy() for frame in _stages(run).values())]
        folder = directory / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        _write_stim(folder / f"{run.stem}_stim.tsv.gz", np.column_stack(blocks))
    if len({run.tr_s for run in runs}) == 1:
        write_json(directory / "stim.json", _signal_sidecar(runs, runs, context))
        return
    for run in runs:  # a file at the root could not be overridden without a warning
        sidecar = {**_signal_sidecar([run], runs, context), "RepetitionTime": run.tr_s}
        write_json(directory / run.folder / f"{run.stem}_stim.json", sidecar)


def _signal_sidecar(
    runs: Sequence[ScannerRun], all_runs: Sequence[ScannerRun], context: Context
) -> dict[str, Any]:
    """Return the description of the signals of runs with the same TR."""
    stages, tr_s = _stages(runs[0]), runs[0].tr_s
    return {
        "Description": "Output of the network in each volume.",
        **context.about,
        "DelayPolicy": f"{NO_RESPONSE}.",
        "SamplingFrequency": 1 / tr_s,
        "StartTime": tr_s / 2,
        "SampleTimes": SAMPLE_TIMES.format(tr_s / 2),
        "Columns": context.classes + [name for frame in stages.values() for name in frame],
        **{c: {"Description": f"probability of {c}", "Units": "1"} for c in context.classes},
        **{
            name: {
                "Description": f"stage {stage}; standard deviation 1 over {fitted_runs(all_runs)}",
                "Units": "arbitrary",
            }
            for stage, frame in stages.items()
            for name in frame
        },
        **({"Regressors": level_text(all_runs)} if stages else {}),
        "Dummy": dummy_text(all_runs),
        "DummyVolumes": of_runs(runs, lambda run: run.dummy_volumes),
        "MissingVolumes": missing_volumes(runs),
    }


def _stages(run: ScannerRun) -> dict[str, pd.DataFrame]:
    return {name: frame for name, frame in run.regressors.items() if name != PROBABILITY}


def _write_stim(path: Path, values: NDArray[np.floating]) -> None:
    """Write continuous signals (n_volumes, columns) as .tsv.gz without a header; n/a for NaN."""
    row = "\t".join(["%.6f"] * values.shape[1]) + "\n"
    text = "".join([row % tuple(each) for each in values.tolist()]).replace("nan", "n/a")
    # mtime=0: the same signals give the same bytes.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write(text.encode())


def missing_volumes(runs: Sequence[ScannerRun]) -> dict[str, list[int]]:
    """Return stem -> numbers of the volumes without a response, for runs that have such volumes."""
    return {run.stem: run.missing_volumes.tolist() for run in runs if len(run.missing_volumes)}


# --- One row per trial ----------------------------------------------------------------------------

SCORES = ("predicted", "probability", "genre_probability")


def _write_answers(directory: Path, runs: Sequence[ScannerRun], context: Context) -> None:
    for run in runs:
        path = directory / _answer_path(run, bids_label(str(context.about["Network"])))
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_trials(path, run.trials[["trial", "repeat", "genre", "clip", *SCORES]])
    sidecar = {
        "Description": "The genre that the network predicts for the clip of each trial.",
        "MissingClips": context.about["MissingClips"],
        **_answer_columns(context.classes),
    }
    write_json(directory / "beh.json", sidecar)


def _answer_path(run: ScannerRun, label: str) -> str:
    """Return the path of the answers of the network ``label`` to a run.

    It is a subject itself if the run is that of all subjects.
    """
    if run.id.subject:
        folder = folder_of(run.id.subject, run.id.session)
        return f"{folder}/beh/{run.stem}_desc-{label}_beh.tsv"
    return f"{folder_of(label, run.id.session)}/beh/sub-{label}_{run.stem}_beh.tsv"


def _write_events(directory: Path, runs: Sequence[ScannerRun], context: Context) -> None:
    for run in runs:
        trials = run.trials
        timing = pd.DataFrame(
            {
                "onset": trials["onset_s"].astype(float),
                "duration": trials["duration_s"],
                "trial_type": trials["condition"],
            }
        )
        answers = trials[["genre", *SCORES, "trial", "repeat", "clip"]]
        table = pd.concat([timing, answers], axis=1)
        _write_trials(directory / run.folder / f"{run.stem}_events.tsv", table)
    names = {name for run in runs for name in run.conditions}
    levels = {name: f"a clip of {name}" for name in sorted(names - {DUMMY})}
    trial_type = "the true genre, or dummy for the presentation that opens the run"
    if DUMMY in names:
        levels[DUMMY] = "the presentation that opens the run, of any genre"
    else:
        trial_type = "the true genre"
    sidecar = {
        "Description": "The clip of each trial, and the genre that the network predicts.",
        "TimeAndDummy": f"{onsets_text(runs)} {dummy_text(runs)}",
        "MissingClips": context.about["MissingClips"],
        "trial_type": {"Description": trial_type, "Levels": levels},
        **_answer_columns(context.classes),
    }
    write_json(directory / "events.json", sidecar)


def _write_trials(path: Path, table: pd.DataFrame) -> None:
    table.round(6).to_csv(path, sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def _answer_columns(classes: Sequence[str]) -> dict[str, Any]:
    return {
        "genre": {"Description": "the true genre, also of the dummy"},
        "predicted": {
            "Description": "the genre with the highest probability; n/a if the clip is missing",
            "Levels": {name: name for name in classes},
        },
        "probability": {"Description": "probability of the predicted genre", "Units": "1"},
        "genre_probability": {"Description": "probability of the true genre", "Units": "1"},
        "trial": {"Description": "number of the trial, from 1; 0 is the dummy"},
        "repeat": {
            "Description": "number of this presentation of the clip in the run, from 1; 0 for the "
            "dummy"
        },
        "clip": {"Description": "file name of the clip"},
    }
