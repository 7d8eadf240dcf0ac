"""What a network makes of the runs as a BIDS derivative, events and continuous signals."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import __version__
from neuromusic.design import grid
from neuromusic.fmri.export.conventions import DUMMY_POLICY, LEVEL, NO_RESPONSE, ONSETS
from neuromusic.fmri.export.scanner_run import DUMMY, PROBABILITY, Context, ScannerRun

BIDS_VERSION = "1.10.0"
README = """# {name}

Events and continuous signals of the network `{model}`, for every run of the experiment. All
subjects heard the same clips in the same order, so the files lie at the top level and hold for
every subject, as BIDS has it for one film that all subjects saw (`task-movie_stim.tsv.gz`).

Written by neuromusic {version} (`neuromusic export --format bids`).
"""


def dataset_description(model: str, missing: Sequence[str]) -> dict[str, Any]:
    """Return ``dataset_description.json`` of what a network makes of the experiment."""
    return {
        "Name": f"neuromusic {model} on the scanner's time grid",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "neuromusic", "Version": __version__}],
        "MissingClips": list(missing),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a sidecar."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def write_stim(path: Path, values: NDArray[np.floating]) -> None:
    """Write continuous signals (n_vol, columns) as .tsv.gz without a header; n/a for NaN."""
    text = pd.DataFrame(values).to_csv(
        sep="\t", index=False, header=False, na_rep="n/a", float_format="%.6f"
    )
    # mtime=0: the same signals give the same bytes.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.write(text.encode())


def write_bids(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write a BIDS derivative that passes the validator by itself.

    ``STEM_events.tsv``: onset, duration, trial_type (the genre, or dummy), genre, predicted,
    probability, genre_probability, trial, repeat, clip. ``STEM_stim.tsv.gz``: the probability of
    each genre and the chosen stages' components, a row a volume. Missing clips are n/a.
    """
    missing = sorted({clip for run in runs for clip in run.missing})
    model = str(context.about["Network"])
    description = dataset_description(model, missing)
    write_json(directory / "dataset_description.json", description)
    readme = README.format(name=description["Name"], model=model, version=__version__)
    (directory / "README.md").write_text(readme, "utf-8")
    for run in runs:
        _write_events(directory, run, context)
        stages = {name: frame for name, frame in run.regressors.items() if name != PROBABILITY}
        columns = context.classes + [name for frame in stages.values() for name in frame]
        values = [run.grid[PROBABILITY], *(frame.to_numpy() for frame in stages.values())]
        write_stim(directory / f"{run.stem}_stim.tsv.gz", np.column_stack(values))
        sidecar = {
            **context.about,
            "Description": "What the network makes of each volume.",
            "DelayPolicy": NO_RESPONSE,
            "TaskName": run.stem.split("_")[0].removeprefix("task-"),
            "SamplingFrequency": 1 / grid.TR_S,
            "StartTime": 0.0,
            "Columns": columns,
            **{
                name: {"Description": f"probability of {name}", "Units": "1"}
                for name in context.classes
            },
            **{
                name: {
                    "Description": f"stage {stage}; deviation 1 over the training runs",
                    "Units": "arbitrary",
                }
                for stage, frame in stages.items()
                for name in frame
            },
            "Regressors": LEVEL,
            "Dummy": DUMMY_POLICY,
            "DummyVolumes": run.volumes.loc[run.volumes["dummy"] == 1, "volume"].tolist(),
            "MissingVolumes": np.flatnonzero(np.isnan(run.grid[PROBABILITY][:, 0])).tolist(),
        }
        write_json(directory / f"{run.stem}_stim.json", sidecar)
    return []


def _write_events(directory: Path, run: ScannerRun, context: Context) -> None:
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
    genres = {name: f"a clip of {name}" for name in run.conditions if name != DUMMY}
    classes = {name: name for name in context.classes}
    sidecar = {
        "Description": "What was played in each trial, and what the network says it is.",
        "TaskName": run.stem.split("_")[0].removeprefix("task-"),
        "TimeAndDummy": f"{ONSETS} {DUMMY_POLICY}",
        "MissingClips": run.missing,
        "trial_type": {
            "Description": "the true genre; dummy for the presentation that opens the run",
            "Levels": {**genres, DUMMY: "the lead-in, of any genre"},
        },
        "genre": {"Description": "the true genre, of the dummy too"},
        "predicted": {
            "Description": "the genre to which the network gives the highest probability; n/a "
            "where the clip is missing",
            "Levels": classes,
        },
        "probability": {"Description": "probability of the predicted genre", "Units": "1"},
        "genre_probability": {
            "Description": "probability that the network gives to the true genre",
            "Units": "1",
        },
        "trial": {"Description": "from 1; 0 is the dummy"},
        "repeat": {"Description": "which playing of the clip in the run, from 1; 0 for the dummy"},
        "clip": {"Description": "file name of the clip"},
    }
    write_json(path.with_suffix(".json"), sidecar)
