"""Designs for general linear models as SPM, FSL, AFNI and nilearn read them.

In all of them the dummy is a condition of its own, genres are complete even where the network lacks
a clip, and what comes from the network is left out, by name, where it has no value.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import timing
from neuromusic.errors import InputError
from neuromusic.fmri.hrf import hrf
from neuromusic.fmri.matlab import cell, save_mat, structs
from neuromusic.fmri.signals import DUMMY, Context, ScannerRun

HIGH_PASS_HZ = 0.01  # of the cosine drift, nilearn's default
ONSETS = (
    "Onsets are seconds after the first volume; the dummy is at 0, trial 1 at "
    f"{timing.trial_onset_s(1):g} s. Take {timing.trial_onset_s(1):g} s off where the dummy's "
    "volumes have been removed from the images."
)
DUMMY_POLICY = (
    "The presentation that opens each run is the condition 'dummy', never part of its genre. "
    "Regressors of the network run through it, since what was heard then still shapes the "
    "response to trial 1."
)
LEVEL = (
    "Regressors are centred on the training runs (dummy and missing clips excluded) before "
    "anything else, and not centred again in each run; components have deviation 1 there."
)
NO_VALUE = "the modulator has no value at some trials"
NO_RESPONSE = "No delay and no haemodynamic response is applied."


def _convolution(context: Context) -> str:
    return (
        f"Regressors are convolved with the {context.hrf} response of unit sum, each volume taken "
        "as acquired at its onset; they are not to be convolved again."
    )


def _convolved(frame: pd.DataFrame, context: Context) -> pd.DataFrame:
    values = timing.convolved(frame.to_numpy(np.float64), hrf(context.hrf))
    return pd.DataFrame(values, columns=frame.columns)


def _label(group: str) -> str:
    """Return how a group of regressors is called in a file's name."""
    return group if group == "probability" else f"stage-{group}"


def _varies(values: NDArray[np.float64]) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > 1e-9 * max(1.0, np.abs(values).max()))


def write_spm(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write multiple conditions and multiple regressors, .mat files of each run.

    ``STEM_conditions.mat``: names, onsets and durations (s), and pmod where a genre's modulator
    varies (SPM12, spm_run_fmri_spec). ``STEM_stage-NAME_regressors.mat``: R (n_vol, columns) and
    names. Returns what is left out and why.
    """
    notes = []
    for run in runs:
        modulators, valueless = [], []
        empty = np.empty((0, 0), dtype=object)
        for name in run.conditions:
            own = run.modulation(name, context.modulator)
            pmod = {"name": empty, "param": empty, "poly": empty}
            if name != DUMMY and np.isnan(own).any():
                valueless.append(name)
            elif name != DUMMY and _varies(own):
                pmod = {
                    "name": cell([context.modulator]),
                    "param": cell([own[:, None]]),
                    "poly": cell([1.0]),
                }
            modulators.append(pmod)
        onsets = [run.onsets_s(name)[:, None] for name in run.conditions]
        content = {
            "names": cell(run.conditions),
            "onsets": cell(onsets),
            "durations": cell([np.full(times.shape, timing.CLIP_S) for times in onsets]),
        }
        if any(pmod["name"].size for pmod in modulators):
            content["pmod"] = structs(modulators)
        save_mat(directory / f"{run.stem}_conditions.mat", content)
        if valueless:
            notes.append(f"{run.stem}: no pmod of {', '.join(valueless)}: {NO_VALUE}")
        whole, why = run.whole_regressors()
        notes += why
        for group, frame in whole.items():
            content = {
                "R": _convolved(frame, context).to_numpy(),
                "names": cell(list(frame.columns)),
            }
            save_mat(directory / f"{run.stem}_{_label(group)}_regressors.mat", content)
    own_text = {
        "Onsets": f"{ONSETS} Units for design: seconds.",
        "Dummy": DUMMY_POLICY,
        "ParametricModulation": (
            f"pmod holds {context.modulator} for each trial, in genres where it varies within the "
            "run; SPM centres it. The clip of a genre in a test run is always the same, so there "
            "is none."
        ),
        "Regressors": LEVEL,
        "DelayPolicy": f"Conditions are not convolved, SPM does that. {_convolution(context)}",
    }
    context.write_sidecar(directory / "spm.json", own_text, notes)
    return notes


def write_fsl(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write three-column files, a directory a run: each genre, the dummy, and each regressor.

    A genre has a row a presentation (onset s, duration s, 1), a regressor a row a volume with its
    value as the weight; FEAT convolves both. Returns what is left out and why.
    """
    notes = []
    for run in runs:
        folder = directory / run.stem
        folder.mkdir()
        for name in run.conditions:
            onset_s = run.onsets_s(name)
            table = np.column_stack([onset_s, np.full((len(onset_s), 2), (timing.CLIP_S, 1.0))])
            np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%g")
        whole, why = run.whole_regressors()
        notes += why
        volume_s = np.arange(len(run.volumes)) * timing.TR_S
        for frame in whole.values():
            for name, values in frame.items():
                table = np.column_stack([volume_s, np.full(len(values), timing.TR_S), values])
                np.savetxt(folder / f"{name}.txt", table, fmt="%.3f\t%.3f\t%.6f")
    own_text = {
        "Columns": "onset and duration in seconds, weight",
        "Onsets": ONSETS,
        "Dummy": DUMMY_POLICY,
        "Weights": f"1 for genres and dummy. {LEVEL}",
        "Regressors": "One row a volume.",
        "DelayPolicy": f"{NO_RESPONSE} Choose a convolution in FEAT, for genres and regressors.",
    }
    context.write_sidecar(directory / "fsl.json", own_text, notes)
    return notes


def write_afni(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write stimulus times of each task (a row a run) and .1D regressors (a row a volume).

    ``task-T_GENRE_times.1D`` and, with the modulator as amplitude, ``task-T_GENRE_times-NAME.1D``
    (onset*amplitude); ``STEM_stage-NAME_regressors.1D`` of each run, and where no run lacks it
    ``task-T_stage-NAME_regressors.1D`` of all in a row. Returns what is left out and why.
    """
    notes = []
    tasks: dict[str, list[ScannerRun]] = {}
    for run in runs:
        tasks.setdefault(run.stem.split("_")[0], []).append(run)
    for task, own in tasks.items():
        notes += _write_task_times(directory, task, own, context.modulator)
        blocks: dict[str, list[pd.DataFrame]] = {}
        for run in own:
            whole, why = run.whole_regressors()
            notes += why
            for group, frame in whole.items():
                block = _convolved(frame, context)
                blocks.setdefault(_label(group), []).append(block)
                _write_1d(directory / f"{run.stem}_{_label(group)}_regressors.1D", block)
        for label, parts in blocks.items():
            if len(parts) == len(own):
                _write_1d(directory / f"{task}_{label}_regressors.1D", pd.concat(parts))
    own_text = {
        "Onsets": f"{ONSETS} One row a run, local times; * where a condition is not played.",
        "Dummy": DUMMY_POLICY,
        "Amplitudes": (
            f"onset*amplitude with {context.modulator} as the amplitude, for -stim_times_AM2, "
            f"which centres it; duration {timing.CLIP_S:g} s: BLOCK({timing.CLIP_S:g},1)."
        ),
        "Regressors": f"For -stim_file. {LEVEL}",
        "DelayPolicy": f"Times are not convolved, AFNI does that. {_convolution(context)}",
        "RunsOfTask": {task: [run.stem for run in own] for task, own in tasks.items()},
    }
    context.write_sidecar(directory / "afni.json", own_text, notes)
    return notes


def _write_task_times(
    directory: Path, task: str, runs: Sequence[ScannerRun], modulator: str
) -> list[str]:
    """Write the stimulus times of each condition of a task; return what is left out and why."""
    valueless = []
    for name in sorted({name for run in runs for name in run.conditions}):
        times = [[f"{onset:g}" for onset in run.onsets_s(name)] for run in runs]
        _write_times(directory / f"{task}_{name}_times.1D", times)
        if name == DUMMY:
            continue
        heights = [run.modulation(name, modulator) for run in runs]
        if np.isnan(np.concatenate(heights)).any():
            valueless.append(name)
        elif _varies(np.concatenate(heights)):
            married = [
                [f"{onset}*{height:.6g}" for onset, height in zip(row, own, strict=True)]
                for row, own in zip(times, heights, strict=True)
            ]
            _write_times(directory / f"{task}_{name}_times-{modulator}.1D", married)
    return [f"{task}: no amplitudes of {', '.join(valueless)}: {NO_VALUE}"] if valueless else []


def _write_times(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write stimulus times; a second * in a row of one time says that times are local to runs."""
    lines = [" ".join(row) if len(row) > 1 else " ".join([*row, "*"]) for row in rows]
    path.write_text("\n".join(line if line != "*" else "* *" for line in lines) + "\n", "utf-8")


def _write_1d(path: Path, frame: pd.DataFrame) -> None:
    np.savetxt(path, frame.to_numpy(), fmt="%.6f", header=" ".join(frame.columns))


def write_nilearn(directory: Path, runs: Sequence[ScannerRun], context: Context) -> list[str]:
    """Write the design matrix of each run, ``STEM_design.tsv``.

    Index frame_times (s); columns: genres, dummy, regressors of the network, cosine drift and
    constant, as nilearn's make_first_level_design_matrix gives them. Returns what is left out and
    why, and which designs are singular.
    """
    notes = []
    for run in runs:
        whole, why = run.whole_regressors()
        notes += why
        design = _design([_convolved(frame, context) for frame in whole.values()], run, context.hrf)
        n_vol, n_columns = design.shape
        if n_columns >= n_vol:
            raise InputError(
                f"nilearn: the design of {run.stem} would have {n_columns} columns for {n_vol} "
                "volumes, which no design can fit; give fewer --components or --stages"
            )
        rank = np.linalg.matrix_rank(design.to_numpy())
        if rank < n_columns:
            notes.append(
                f"{run.stem}: its design has {n_columns} columns of rank {rank}; drop some of the "
                "network's before a fit"
            )
        design.to_csv(
            directory / f"{run.stem}_design.tsv",
            sep="\t",
            index_label="frame_times",
            float_format="%.8g",
        )
    own_text = {
        "Onsets": ONSETS,
        "Dummy": DUMMY_POLICY,
        "Regressors": LEVEL,
        "DelayPolicy": (
            f"Conditions are convolved by nilearn with its {context.hrf} response, slice_time_ref "
            f"0. {_convolution(context)}"
        ),
        "Drift": f"cosine, high-pass {HIGH_PASS_HZ:g} Hz, and a constant",
        "Baseline": (
            "There is no rest: the genres and the dummy add up to nearly the constant. Contrasts "
            "between genres are well determined, a genre against the constant is not."
        ),
    }
    context.write_sidecar(directory / "nilearn.json", own_text, notes)
    return notes


def _design(added: Sequence[pd.DataFrame], run: ScannerRun, hrf: str) -> pd.DataFrame:
    """Return nilearn's design of a run with regressors of the network (a row a volume) added."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    events = pd.DataFrame(
        {
            "onset": run.trials["onset_s"].astype(float),
            "duration": timing.CLIP_S,
            "trial_type": run.trials["condition"],
        }
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Matrix is singular", UserWarning)  # write_nilearn says
        design: pd.DataFrame = make_first_level_design_matrix(
            np.arange(len(run.volumes)) * timing.TR_S,
            events,
            hrf_model=hrf,
            drift_model="cosine",
            high_pass=HIGH_PASS_HZ,
            add_regs=pd.concat(added, axis=1) if added else None,
        )
    return design
