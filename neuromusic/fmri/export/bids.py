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
from neuromusic.design import grid
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.export.bids_dataset import bids_label, write_dataset_files
from neuromusic.fmri.export.conventions import DUMMY_POLICY, LEVEL, NO_RESPONSE, ONSETS
from neuromusic.fmri.export.scanner_run import DUMMY, Context, ScannerRun

README = """
Responses of the network `{network}` in every run of the experiment.

* `task-*_run-*_stim.tsv.gz`: continuous signals, one row per volume; `stim.json` names the columns.
  All subjects heard the same clips in the same order, so these files are at the top level, without
  a subject, and apply to the runs of every subject.
* `sub-{label}/beh/`: what the network answers to each clip, as if it were a participant who heard
  the runs. It is not a person.
* `task-*_run-*_events.tsv`, if they were exported: the trials of each run.

The directories in `.bidsignore` hold what BIDS has no place for: activations, and the files of
other programs.
"""


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
    have regressors, the components of their stages. ``sub-NETWORK/beh/``: one row per trial with
    what the network answers. ``STEM_events.tsv``, on request: onset, duration, trial_type (the
    genre, or dummy) and the same columns. n/a for missing clips. ``ignored`` are the directories
    that BIDS has no place for.
    """
    network = str(context.about["Network"])
    missing = sorted({clip for run in runs for clip in run.missing})
    write_dataset_files(
        directory,
        f"neuromusic {network} on the scanner's time grid",
        network,
        README.format(network=network, label=bids_label(network)),
        ignored=ignored,
        extra={"MissingClips": missing},
    )
    _write_signals(directory, runs, context)
    _write_answers(directory, f"sub-{bids_label(network)}", runs, context)
    if with_events:
        _write_events(directory, runs, context)


# --- Continuous signals ---------------------------------------------------------------------------

SAMPLE_TIMES = (
    "Row v, counted from 0, stands for the middle of volume v: StartTime + v / SamplingFrequency "
    "after the first volume began. Interpolate between these times. A program that holds each "
    f"value until the next one should begin {grid.TR_S / 2:g} s earlier, at the volume's onset."
)


def _write_signals(directory: Path, runs: Sequence[ScannerRun], context: Context) -> None:
    for run in runs:
        blocks = [run.grid[PROBABILITY], *(frame.to_numpy() for frame in _stages(run).values())]
        _write_stim(directory / f"{run.stem}_stim.tsv.gz", np.column_stack(blocks))
    stages = _stages(runs[0])
    sidecar = {
        "Description": "Output of the network in each volume.",
        **context.about,
        "DelayPolicy": f"{NO_RESPONSE}.",
        "SamplingFrequency": 1 / grid.TR_S,
        "StartTime": grid.TR_S / 2,
        "SampleTimes": SAMPLE_TIMES,
        "Columns": context.classes + [name for frame in stages.values() for name in frame],
        **{c: {"Description": f"probability of {c}", "Units": "1"} for c in context.classes},
        **{
            name: {
                "Description": f"stage {stage}; standard deviation 1 over the training runs",
                "Units": "arbitrary",
            }
            for stage, frame in stages.items()
            for name in frame
        },
        **({"Regressors": LEVEL} if stages else {}),
        "Dummy": DUMMY_POLICY,
        "DummyVolumes": runs[0].dummy_volumes,
        "MissingVolumes": missing_volumes(runs),
    }
    write_json(directory / "stim.json", sidecar)


def _stages(run: ScannerRun) -> dict[str, pd.DataFrame]:
    return {name: frame for name, frame in run.regressors.items() if name != PROBABILITY}


def _write_stim(path: Path, values: NDArray[np.floating]) -> None:
    """Write continuous signals (n_volumes, columns) as .tsv.gz without a header; n/a for NaN."""
    text = pd.DataFrame(values).to_csv(
        sep="\t", index=False, header=False, na_rep="n/a", float_format="%.6f"
    )
    # mtime=0: the same signals give the same bytes.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write(text.encode())


def missing_volumes(runs: Sequence[ScannerRun]) -> dict[str, list[int]]:
    """Return stem -> numbers of the volumes without a response, for runs that have such volumes."""
    return {run.stem: run.missing_volumes.tolist() for run in runs if len(run.missing_volumes)}


# --- One row per trial ----------------------------------------------------------------------------

SCORES = ("predicted", "probability", "genre_probability")


def _write_answers(
    directory: Path, subject: str, runs: Sequence[ScannerRun], context: Context
) -> None:
    folder = directory / subject / "beh"
    folder.mkdir(parents=True)
    for run in runs:
        table = run.trials[["trial", "repeat", "genre", "clip", *SCORES]]
        _write_trials(folder / f"{subject}_{run.stem}_beh.tsv", table)
    sidecar = {
        "Description": "The genre that the network predicts for the clip of each trial.",
        "MissingClips": context.about["MissingClips"],
        **_answer_columns(context.classes),
    }
    write_json(directory / "beh.json", sidecar)


def _write_events(directory: Path, runs: Sequence[ScannerRun], context: Context) -> None:
    for run in runs:
        trials = run.trials
        timing = pd.DataFrame(
            {
                "onset": trials["onset_s"].astype(float),
                "duration": grid.CLIP_S,
                "trial_type": trials["condition"],
            }
        )
        answers = trials[["genre", *SCORES, "trial", "repeat", "clip"]]
        table = pd.concat([timing, answers], axis=1)
        _write_trials(directory / f"{run.stem}_events.tsv", table)
    genres = sorted({name for run in runs for name in run.conditions} - {DUMMY})
    sidecar = {
        "Description": "The clip of each trial, and the genre that the network predicts.",
        "TimeAndDummy": f"{ONSETS} {DUMMY_POLICY}",
        "MissingClips": context.about["MissingClips"],
        "trial_type": {
            "Description": "the true genre, or dummy for the presentation that opens the run",
            "Levels": {
                **{name: f"a clip of {name}" for name in genres},
                DUMMY: "the presentation that opens the run, of any genre",
            },
        },
        **_answer_columns(context.classes),
    }
    write_json(directory / "events.json", sidecar)


def _write_trials(path: Path, table: pd.DataFrame) -> None:
    table.round(6).to_csv(path, sep="\t", index=False, na_rep="n/a")


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
