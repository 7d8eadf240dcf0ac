"""Writer of a BIDS derivative: events and continuous signals of a network."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.files import write_json
from neuromusic.core.version import __version__
from neuromusic.design import grid
from neuromusic.fmri.activations import PROBABILITY
from neuromusic.fmri.export.conventions import DUMMY_POLICY, LEVEL, NO_RESPONSE, ONSETS
from neuromusic.fmri.export.scanner_run import DUMMY, Context, ScannerRun

BIDS_VERSION = "1.10.0"
README = """# {name}

Events and continuous signals of the network `{model}` for every run of the experiment. All
subjects heard the same clips in the same order, so the files are at the top level and apply to
every subject, as BIDS does it for a film that all subjects watched (`task-movie_stim.tsv.gz`).

Written by neuromusic {version}.
"""


def dataset_description(model: str, missing: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``dataset_description.json`` for the responses of a network."""
    return {
        "Name": f"neuromusic {model} on the scanner's time grid",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "neuromusic", "Version": __version__}],
        "MissingClips": list(missing),
    }


def write_stim(path: Path, values: NDArray[np.floating]) -> None:
    """Write continuous signals (n_volumes, columns) as .tsv.gz without a header; n/a for NaN."""
    text = pd.DataFrame(values).to_csv(
        sep="\t", index=False, header=False, na_rep="n/a", float_format="%.6f"
    )
    # mtime=0: the same signals give the same bytes.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write(text.encode())


def probability_columns(classes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the descriptions of the columns with class probabilities."""
    return {name: {"Description": f"probability of {name}", "Units": "1"} for name in classes}


def write_bids(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write a BIDS derivative that passes the validator on its own.

    ``STEM_events.tsv``: onset, duration, trial_type (the genre, or dummy), genre, predicted,
    probability, genre_probability, trial, repeat, clip. ``STEM_stim.tsv.gz``: the probability of
    each genre and the components of the exported stages, one row per volume. n/a for missing clips.
    """
    missing = sorted({clip for run in runs for clip in run.missing})
    model = str(context.about["Network"])
    description = dataset_description(model, missing)
    write_json(directory / "dataset_description.json", description)
    readme = README.format(name=description["Name"], model=model, version=__version__)
    (directory / "README.md").write_text(readme, "utf-8")
    for run in runs:
        _write_events(directory, run, context.classes)
        _write_signals(directory, run, context)
    return []


def _write_signals(directory: Path, run: ScannerRun, context: Context) -> None:
    stages = {name: frame for name, frame in run.regressors.items() if name != PROBABILITY}
    values = [run.grid[PROBABILITY], *(frame.to_numpy() for frame in stages.values())]
    write_stim(directory / f"{run.stem}_stim.tsv.gz", np.column_stack(values))
    sidecar = {
        **context.about,
        "Description": "Output of the network in each volume.",
        "DelayPolicy": f"{NO_RESPONSE}.",
        "TaskName": run.task,
        "SamplingFrequency": 1 / grid.TR_S,
        "StartTime": 0.0,
        "Columns": context.classes + [name for frame in stages.values() for name in frame],
        **probability_columns(context.classes),
        **{
            name: {
                "Description": f"stage {stage}; standard deviation 1 over the training runs",
                "Units": "arbitrary",
            }
            for stage, frame in stages.items()
            for name in frame
        },
        "Regressors": LEVEL,
        "Dummy": DUMMY_POLICY,
        "DummyVolumes": run.dummy_volumes,
        "MissingVolumes": run.missing_volumes.tolist(),
    }
    write_json(directory / f"{run.stem}_stim.json", sidecar)


def _write_events(directory: Path, run: ScannerRun, classes: Sequence[str]) -> None:
    trials = run.trials
    table = pd.DataFrame(
        {
            "onset": trials["onset_s"].astype(float),
            "duration": grid.CLIP_S,
            "trial_type": trials["condition"],
            **{name: trials[name] for name in ("genre", "predicted")},
            **{name: trials[name].round(6) for name in ("probability", "genre_probability")},
            **{name: trials[name] for name in ("trial", "repeat", "clip")},
        }
    )
    path = directory / f"{run.stem}_events.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    write_json(path.with_suffix(".json"), _events_sidecar(run, classes))


def _events_sidecar(run: ScannerRun, classes: Sequence[str]) -> dict[str, Any]:
    genres = {name: f"a clip of {name}" for name in run.conditions if name != DUMMY}
    return {
        "Description": "The clip of each trial, and the genre that the network predicts.",
        "TaskName": run.task,
        "TimeAndDummy": f"{ONSETS} {DUMMY_POLICY}",
        "MissingClips": run.missing,
        "trial_type": {
            "Description": "the true genre, or dummy for the presentation that opens the run",
            "Levels": {**genres, DUMMY: "the presentation that opens the run, of any genre"},
        },
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
