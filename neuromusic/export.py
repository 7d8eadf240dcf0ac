"""Predictions and activations of a run on the scanner's time grid, as files for other programs."""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, timing
from neuromusic.errors import InputError
from neuromusic.fmri.bids import dataset_description, write_json, write_stim
from neuromusic.fmri.formats import WITH_REGRESSORS, Wanted, write_formats
from neuromusic.fmri.matlab import ReadLater, cell, save_mat, structs
from neuromusic.fmri.signals import (
    PROBABILITY,
    Context,
    ScannerRun,
    describe_components,
    score_trials,
    with_regressors,
)
from neuromusic.inference import clip_volumes, in_threads
from neuromusic.orders import TASK
from neuromusic.prepare import unique_clips
from neuromusic.progress import track
from neuromusic.rundir import Run, best_device
from neuromusic.store import open_prepared

Responses = dict[str, NDArray[np.floating]]  # "probability" and one a stage, (n_vol, units) each
FRAMES = {
    "mean": "A frame belongs to the volume in which its centre lies; a volume is the mean of its "
    "frames",
    "lanczos": "A volume is the value in its middle of the frames without what is faster than half "
    "the volumes' rate (Lanczos kernel of three lobes)",
}
NO_DELAY = "No delay and no haemodynamic response is applied"


def grid_text(binning: str) -> str:
    """Return how volumes are filled, for the sidecars."""
    return (
        f"volume v holds what sounds while v is acquired. {FRAMES[binning]}. Probabilities are the "
        "mean log-probability of the windows that overlap the volume, weighted by the overlap, "
        "normalised."
    )


def listen(run: Run, features: NDArray[np.float32], binning: str = "mean") -> Responses:
    """Return the responses to one clip, as the run hears it (rows, frames), on its volumes."""
    probability, stages = clip_volumes(run.network, features, run.hop_frames, binning)
    return {"probability": probability.astype(np.float32), **stages}


def hearer(run: Run, lists: Path) -> Callable[[Any], NDArray[np.float32] | None]:
    """Return what gives the run's input (rows, frames) for a row of unique clips, None if missing.

    From the sound in the lists; for a run trained on ready-made features, from its prepared set.
    """
    if run.meta["source"] == "audio":

        def of_sound(row: Any) -> NDArray[np.float32] | None:
            if pd.isna(row.path):
                return None
            return run.hear(audio.read(lists / row.path, timing.CLIP_S))[0]

        return of_sound
    data = open_prepared(run.prepared).heard_as(run.kind, run.per_clip)
    data.check_readable()
    row_of = data.row_of_clip()

    def of_features(row: Any) -> NDArray[np.float32] | None:
        return data.row_features(row_of[row.clip]) if row.clip in row_of else None

    return of_features


def on_run_grid(
    trials: pd.DataFrame, responses: dict[str, Responses], names: dict[str, int]
) -> dict[str, NDArray[np.float32]]:
    """Lay the responses to clips on the volumes of one run: name -> (n_volumes, units).

    ``trials`` are the presentations of the run, the dummy included; ``names`` name -> units. Where
    a clip is missing the rows are NaN.
    """
    n_vol = timing.n_volumes(len(trials) - 1)
    out = {name: np.full((n_vol, units), np.nan, dtype=np.float32) for name, units in names.items()}
    for row in trials.itertuples():
        if row.clip in responses:
            span = slice(row.volume, row.volume + timing.VOLUMES_PER_CLIP)
            for name, block in out.items():
                block[span] = responses[row.clip][name]
    return out


def volume_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Return volume, onset_s, trial, repeat, dummy, genre and clip of each volume of a run."""
    table = trials.loc[
        trials.index.repeat(timing.VOLUMES_PER_CLIP), ["trial", "repeat", "genre", "clip"]
    ].reset_index(drop=True)
    table.insert(0, "volume", range(len(table)))
    table.insert(1, "onset_s", table["volume"] * timing.TR_S)
    table.insert(4, "dummy", (table["trial"] == 0).astype(int))
    return table


@dataclass(frozen=True)
class Heard:
    """The responses to unique clips, in files: what is held does not grow with their number."""

    row_of: dict[str, int]  # clip -> its place in every file
    files: dict[str, Path]  # "probability" and each stage: (clips, volumes, units) float32
    units: dict[str, int]

    def responses(self, clips: Iterable[str]) -> dict[str, Responses]:
        """Return the responses to some clips; those that are missing are left out."""
        here = [clip for clip in dict.fromkeys(clips) if clip in self.row_of]
        out: dict[str, Responses] = {clip: {} for clip in here}
        for name, path in self.files.items():
            shape = (len(self.row_of), timing.VOLUMES_PER_CLIP, self.units[name])
            # Opened anew each time: what is read of a map counts as memory until it is closed.
            block = np.memmap(path, np.float32, "r", shape=shape)
            for clip in here:
                out[clip][name] = np.array(block[self.row_of[clip]])
        return out


def listen_to_all(
    run: Run, clips: pd.DataFrame, lists: Path, scratch: Path, binning: str
) -> tuple[Heard, list[str]]:
    """Return the responses to unique clips, in ``scratch``, and the clips that are missing."""
    run.network.to(best_device())
    hear = hearer(run, lists)

    def respond(row: Any) -> Responses | None:
        features = hear(row)
        return None if features is None else listen(run, features, binning)

    heard = Heard({}, {}, {})
    missing = []
    made = track(in_threads(respond, clips.itertuples()), "listen", len(clips))
    with contextlib.ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for clip, response in zip(clips["clip"], made, strict=True):
            if response is None:
                missing.append(clip)
                continue
            heard.row_of[clip] = len(heard.row_of)
            for name, block in response.items():
                if name not in files:
                    heard.files[name] = scratch / name
                    heard.units[name] = block.shape[1]
                    files[name] = stack.enter_context(open(heard.files[name], "wb"))
                files[name].write(block.tobytes())
    return heard, missing


class SavedGrid(Mapping[str, NDArray[np.float32]]):
    """A run's probabilities, and its stages as they were saved, opened anew each time."""

    def __init__(self, probability: NDArray[np.float32], saved: dict[str, Path]) -> None:
        self.probability = probability
        self.saved = saved

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        if name == PROBABILITY:
            return self.probability
        block: NDArray[np.float32] = np.load(self.saved[name], mmap_mode="r", allow_pickle=False)
        return block

    def __iter__(self) -> Iterator[str]:
        return iter((PROBABILITY, *self.saved))

    def __len__(self) -> int:
        return 1 + len(self.saved)


def export(
    run: Run, table: pd.DataFrame, lists: Path, directory: Path, wanted: Wanted
) -> tuple[list[str], list[str]]:
    """Write the responses of a run to every run of stimulus lists into a directory.

    For each run: ``_stim.tsv.gz`` with the class probabilities, ``_stage-NAME_activations.npy``
    (n_volumes, units) float32, ``_volumes.tsv`` saying which clip each volume holds, JSON sidecars;
    and ``activations.mat`` with all of it. Every unique clip is computed once. The formats that are
    ``wanted`` go into directories of their own beside these.

    Returns the names of the clips that are missing, whose volumes are NaN; and what the formats
    had to leave out. Raises InputError for lists without a time grid, if no clip at all is there,
    or where a design cannot be fitted.
    """
    if table["trial"].isna().all():
        raise InputError(f"{lists}: comes from a folder and has no scanner runs to export to")
    clips = unique_clips(table)
    policy = f"{NO_DELAY}: {grid_text(wanted.binning)}"
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        heard, missing = listen_to_all(run, clips, lists, Path(scratch), wanted.binning)
        if not heard.row_of:
            raise InputError(f"{lists}: none of the {len(clips)} clips is there; nothing to export")
        runs = []
        groups = list(table.groupby(["split", "run"], sort=False))
        for (split, number), rows in track(groups, "write runs", len(groups)):
            trials = rows.sort_values("trial").reset_index(drop=True)
            stem = f"task-{TASK[split]}_run-{number:02d}"
            laid = on_run_grid(trials, heard.responses(trials["clip"]), heard.units)
            volumes = volume_table(trials)
            grid = SavedGrid(
                laid[PROBABILITY], _write_run(directory, stem, run, laid, volumes, policy)
            )
            scored = score_trials(trials, laid[PROBABILITY], run.classes)
            runs.append(ScannerRun(stem, split, int(number), scored, volumes, grid, {}))
    description = dataset_description(run.config.model.name, missing)
    write_json(directory / "dataset_description.json", description)
    _write_matlab(directory / "activations.mat", run.classes, runs, policy)
    return missing, _write_wanted(directory, run, runs, wanted)


def _write_wanted(directory: Path, run: Run, runs: list[ScannerRun], wanted: Wanted) -> list[str]:
    about: dict[str, Any] = {
        "Network": run.config.model.name,
        "RepetitionTime": timing.TR_S,
        "Grid": f"Before any delay or response, {grid_text(wanted.binning)}",
        "MissingClips": {r.stem: r.missing for r in runs if r.missing},
    }
    if set(wanted.formats) & set(WITH_REGRESSORS):
        stages = wanted.stages or tuple(stage.name for stage in run.network.stages)
        runs, fitted = with_regressors(runs, stages, wanted.components, run.classes)
        about |= describe_components(fitted, wanted.components)
    context = Context(run.classes, wanted.hrf, wanted.modulator, about)
    return write_formats(directory, runs, context, wanted.formats)


def _write_run(
    directory: Path,
    stem: str,
    run: Run,
    grid: dict[str, NDArray[np.float32]],
    volumes: pd.DataFrame,
    policy: str,
) -> dict[str, Path]:
    """Write all files of one run; return the file of each stage."""
    volumes.to_csv(directory / f"{stem}_volumes.tsv", sep="\t", index=False)
    common = {
        "RepetitionTime": timing.TR_S,
        "DelayPolicy": policy,
        "DummyVolumes": volumes.loc[volumes["dummy"] == 1, "volume"].tolist(),
        "MissingVolumes": np.flatnonzero(np.isnan(grid[PROBABILITY][:, 0])).tolist(),
        "VolumeTable": f"{stem}_volumes.tsv",
    }
    saved = {}
    for stage in run.network.stages:
        block = grid[stage.name]
        path = saved[stage.name] = directory / f"{stem}_stage-{stage.name}_activations.npy"
        np.save(path, block)
        sidecar = {
            **common,
            "Stage": stage.name,
            "Area": stage.area or "n/a",
            "BrodmannAreas": list(stage.brodmann),
            "Shape": ["volumes", "units"],
            "NumberOfUnits": block.shape[1],
            "Units": "activation after the stage's last operation, arbitrary",
        }
        write_json(path.with_suffix(".json"), sidecar)
    write_stim(directory / f"{stem}_stim.tsv.gz", grid[PROBABILITY])
    stim = {
        "SamplingFrequency": 1 / timing.TR_S,
        "StartTime": 0.0,
        "Columns": run.classes,
        **{name: {"Description": f"probability of {name}", "Units": "1"} for name in run.classes},
        **common,
    }
    write_json(directory / f"{stem}_stim.json", stim)
    return saved


def _write_matlab(path: Path, classes: list[str], runs: list[ScannerRun], policy: str) -> None:
    items = [
        {
            "task": TASK[run.split],  # type: ignore[index]
            "run": float(run.number),
            "tr_s": timing.TR_S,
            "trial": run.volumes["trial"].to_numpy(np.float64)[:, None],
            "dummy": run.volumes["dummy"].to_numpy(bool)[:, None],
            "genre": cell(run.volumes["genre"], row=False),
            "clip": cell(run.volumes["clip"], row=False),
            **{name: ReadLater(run.grid, name) for name in run.grid},
        }
        for run in runs
    ]
    genres = cell(classes, row=False)
    save_mat(path, {"runs": structs(items).T, "genres": genres, "delay_policy": policy})
