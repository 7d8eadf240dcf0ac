"""Voxels with a planted truth: a network's stages drive them, in noise and drift."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.design import grid
from neuromusic.design.events import find_events
from neuromusic.design.orders import Split, check_clip_name
from neuromusic.features.prepared import open_prepared
from neuromusic.fmri import volumes
from neuromusic.fmri.activations import ClipResponses, on_volumes, run_trials
from neuromusic.fmri.hrf import Name, hrf
from neuromusic.training.trained import TrainedNetwork

Array = NDArray[np.float64]
BASELINE = 1000.0  # of every voxel, in units of the image
SIGNAL = 10.0  # deviation of the signal: 1 % of the baseline
DRIFT_S = 256.0  # shortest period in the drift; high-pass filters usually cut at 128 s
# What a random generator is for; with (seed, subject, number) it makes its stream.
WEIGHT, CEILING, NOISE = range(3)
EVENT_COLUMNS = {
    "genre": "Genre of the clip, in quotes",
    "track": "Number of the track in its genre, from 0",
    "start": "Start of the clip in its track, in seconds",
    "end": "End of the clip in its track, in seconds",
}


@dataclass(frozen=True)
class Planted:
    """What the voxels of a simulation are made of."""

    hrf: Name = "spm"
    stages: tuple[str, ...] = ()  # none: all that stand for an area
    voxels: int = 50  # a stage
    noise_voxels: int = 50
    ceiling: tuple[float, float] = (0.3, 0.3)  # explainable variance of one presentation, from-to
    drift: float = 1.0  # deviation, in units of the signal's
    ar: float = 0.3  # correlation of the noise from one volume to the next


@dataclass(frozen=True)
class Session:
    """One run of one subject: what was played when, and its events.tsv as bytes."""

    subject: str
    split: Split
    run: int
    trials: pd.DataFrame  # as stimulus.run_trials
    events: bytes

    @property
    def n_vol(self) -> int:
        """Volumes of the run, the dummy's included."""
        return int(self.trials["volume"].iat[-1]) + grid.VOLUMES_PER_CLIP


@dataclass(frozen=True)
class Drive:
    """What drives the voxels of one subject, before the haemodynamic response."""

    clips: list[str]
    block: NDArray[np.float32]  # (n_clips, volumes of a clip, n_voxels)
    mean: Array  # (n_voxels,) over the training runs

    def signal(self, session: Session, kernel: Array) -> Array:
        """Return the response (n_vol, n_voxels) of a run; nothing crosses its borders."""
        drive = on_volumes(session.trials, self.clips, self.block, session.n_vol)
        return volumes.convolved(drive - self.mean, kernel)


def ceiling_r(ev: NDArray[np.floating], repeats: int) -> Array:
    """Return the largest correlation of any model with the mean over repeats of a response.

    ``ev`` is the share of the signal in the variance of one presentation; the noise of the mean has
    1/repeats of its variance. After Sahani & Linden 2003, NIPS 15, and Hsu et al. 2004,
    Network 15:91.
    """
    return np.sqrt(repeats * ev / (1 + (repeats - 1) * ev))


def simulated_sessions(run: TrainedNetwork, subjects: int) -> list[Session]:
    """Lay the order in the prepared set of a run out for so many subjects, all alike.

    Raises InputError if the set has no runs.
    """
    shown = open_prepared(run.prepared).presentations
    if shown is None or shown["trial"].isna().any():
        raise InputError(
            f"{run.prepared}: holds no runs of an experiment; give --bids, or a run that was "
            "trained on a set prepared from order files"
        )
    sessions = []
    for number in range(1, subjects + 1):
        for (split, index), rows in shown.groupby(["split", "run"], sort=False):
            trials = rows.sort_values("trial").reset_index(drop=True)
            trials = trials[["trial", "repeat", "volume", "genre", "clip"]].astype(
                {"trial": int, "repeat": int, "volume": int}
            )
            sessions.append(
                Session(f"{number:02d}", split, int(index), trials, events_bytes(trials))
            )
    return sessions


def real_sessions(bids: Path, subjects: int | None) -> list[Session]:
    """Return the runs of the first so many subjects of a BIDS dataset, of all with None.

    Raises InputError where there are fewer.
    """
    files = find_events(bids)
    names = sorted({file.subject for file in files})
    if subjects is not None and subjects > len(names):
        raise InputError(f"{bids}: has {len(names)} subjects; --subjects asks for {subjects}")
    return [
        Session(file.subject, file.split, file.run, run_trials(file), file.path.read_bytes())
        for file in files
        if file.subject in names[:subjects]
    ]


def events_bytes(trials: pd.DataFrame) -> bytes:
    """Return an events.tsv byte for byte as ds003720 writes its own: CRLF, genres in quotes.

    The clips are taken to be the beginnings of their tracks.
    """
    lines = ["\t".join(("onset", "duration", *EVENT_COLUMNS))]
    for row in trials.itertuples():
        genre, number, length = check_clip_name(row.clip, f"trial {row.trial}").groups()
        onset_s = row.volume * grid.TR_S
        fields = (f"{onset_s:g}", f"{grid.CLIP_S:g}", f"'{genre}'", int(number), 0, int(length))
        lines.append("\t".join(map(str, fields)))
    return "\r\n".join(lines).encode()


def choose_stages(run: TrainedNetwork, names: tuple[str, ...]) -> list[str]:
    """Return the stages to plant: those named, else all with an area; InputError for others."""
    known = [stage.name for stage in run.network.stages]
    for name in names:
        if name not in known:
            raise InputError(
                f"{run.directory}: has no stage {name!r}; it has {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
    chosen = list(dict.fromkeys(names)) or [s.name for s in run.network.stages if s.area]
    if not chosen:
        raise InputError(
            f"{run.directory}: none of its stages stands for an area; name some with --stages: "
            f"{', '.join(known)}"
        )
    return chosen


def check_responses(run: TrainedNetwork, heard: ClipResponses, missing: list[str]) -> None:
    """Raise InputError where a response to a clip is missing, whole or in part."""
    if missing:
        raise InputError(
            f"{run.prepared}: lacks {len(missing)} of the clips that are played, such as "
            f"{missing[0]}; a simulation needs all"
        )
    for block in heard.stages.values():
        short = np.flatnonzero(np.isnan(block).any(axis=(1, 2)))
        if len(short):
            raise InputError(
                f"{run.prepared}: {heard.clips[short[0]]} is shorter than its presentation of "
                f"{grid.CLIP_S:g} s; a simulation needs whole clips"
            )


def training_rows(sessions: list[Session], clips: list[str]) -> NDArray[np.int64]:
    """Return the row in ``clips`` of every training presentation but the dummies (n,)."""
    row_of = {clip: row for row, clip in enumerate(clips)}
    played = [s.trials["clip"].iloc[1:] for s in sessions if s.split == "train"]
    if not played:
        raise InputError(
            "the events hold no training runs; units are standardised over them, so add some"
        )
    return pd.concat(played).map(row_of).to_numpy(np.int64)


def weigh(
    heard: ClipResponses, rows: NDArray[np.int64], stages: list[str], voxels: int,
    seed: int, subject: int,
) -> Drive:  # fmt: skip
    """Give every voxel random weights over the units of its stage.

    Normal weights, from (seed, subject, voxel), over units in units of their deviation over the
    training presentations ``rows``; a unit that never changes there has no weight.
    """
    length = heard.stages[stages[0]].shape[1]
    drive = np.empty((len(heard.clips), length, voxels * len(stages)), np.float32)
    for index, name in enumerate(stages):
        block = heard.stages[name]
        deviation = block[rows].std(axis=(0, 1), dtype=np.float64)
        alive = deviation > 1e-6 * float(np.abs(block).max())  # float32 tells no less apart
        weights = np.zeros((len(deviation), voxels))
        for voxel in range(voxels):
            rng = np.random.default_rng([seed, WEIGHT, subject, index * voxels + voxel])
            weights[:, voxel] = rng.standard_normal(len(deviation))
        weights[alive] /= deviation[alive, None]
        weights[~alive] = 0
        drive[:, :, index * voxels : (index + 1) * voxels] = block @ weights.astype(np.float32)
    share = np.bincount(rows, minlength=len(drive)) / len(rows)  # of the presentations
    return Drive(heard.clips, drive, np.einsum("c,cvn->n", share, drive) / length)


def signal_deviation(drive: Drive, sessions: list[Session], kernel: Array) -> Array:
    """Return the deviation (n_voxels,) of the response within the runs that measure a ceiling.

    Those are the test runs, and without any the training runs: after the dummy, about the mean of
    each run. What a model explains of one presentation is a share of this variance and the noise's.
    """
    measured = [s for s in sessions if s.split == "test"] or sessions
    total, count = np.zeros(len(drive.mean)), 0
    for session in measured:
        signal = drive.signal(session, kernel)[grid.VOLUMES_PER_CLIP :]
        total += ((signal - signal.mean(axis=0)) ** 2).sum(axis=0)
        count += len(signal)
    return np.asarray(np.sqrt(total / count))


def autocorrelated(n_vol: int, n_voxels: int, ar: float, rng: np.random.Generator) -> Array:
    """Return stationary AR(1) noise of unit variance (n_vol, n_voxels), independent voxels."""
    from scipy.signal import lfilter

    step = np.sqrt(1 - ar**2)
    shocks = rng.standard_normal((n_vol, n_voxels))
    shocks[0] /= step  # as if it had gone on forever
    return np.asarray(lfilter([step], [1, -ar], shocks, axis=0))


def slow_drift(n_vol: int, n_voxels: int, rng: np.random.Generator) -> Array:
    """Return a drift (n_vol, n_voxels) of unit deviation: a line and cosines down to DRIFT_S."""
    time = (np.arange(n_vol) + 0.5) / n_vol
    n_cosines = int(2 * n_vol * grid.TR_S / DRIFT_S)
    basis = np.stack([time, *(np.cos(np.pi * k * time) for k in range(1, n_cosines + 1))], axis=1)
    basis = (basis - basis.mean(axis=0)) / basis.std(axis=0)
    drift = basis @ rng.standard_normal((basis.shape[1], n_voxels))
    return np.asarray(drift / drift.std(axis=0))


def run_image(
    signal: Array, noise_std: Array, planted: Planted, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return the volumes of one run (n_vol, n_voxels) from signals of unit deviation.

    ``noise_std`` (n_voxels,) is in units of the signal's deviation. Voxels beyond those of
    ``signal`` hold none.
    """
    n_vol, n_voxels = len(signal), len(noise_std)
    image = noise_std * autocorrelated(n_vol, n_voxels, planted.ar, rng)
    image += planted.drift * slow_drift(n_vol, n_voxels, rng)
    image[:, : signal.shape[1]] += signal
    limits = np.iinfo(np.int16)
    return np.rint(BASELINE + SIGNAL * image).clip(limits.min, limits.max).astype(np.int16)


def planted_ev(planted: Planted, n_stages: int, seed: int, subject: int) -> Array:
    """Return the explainable variance of one presentation, (n_voxels,): first the signal's voxels.

    For a voxel of noise it is the one that its noise would leave to a signal.
    """
    rng = np.random.default_rng([seed, CEILING, subject])
    return rng.uniform(*planted.ceiling, n_stages * planted.voxels + planted.noise_voxels)


def run_images(
    heard: ClipResponses, sessions: list[Session], stages: list[str], planted: Planted, seed: int
) -> Iterator[tuple[Session, NDArray[np.int16]]]:
    """Yield every run with its volumes (n_vol, n_voxels), the voxels of the first stage first.

    The noise is independent between voxels, runs and repeats. The share of the signal in the
    variance of one presentation is as planted before the drift is added, over the volumes of the
    test runs; see `signal_deviation`. Raises InputError for a stage that answers alike to all.
    """
    kernel = hrf(planted.hrf)
    for number, subject in enumerate(sorted({session.subject for session in sessions})):
        own = [session for session in sessions if session.subject == subject]
        rows = training_rows(own, heard.clips)
        drive = weigh(heard, rows, stages, planted.voxels, seed, number)
        deviation = signal_deviation(drive, own, kernel)
        for stage, one in zip(stages, deviation.reshape(len(stages), -1), strict=True):
            if not (one > 0).all():
                raise InputError(f"--stages: {stage} answers alike to every clip; leave it out")
        ev = planted_ev(planted, len(stages), seed, number)
        for session in own:
            key = [seed, NOISE, number, int(session.split == "test"), session.run]
            signal = drive.signal(session, kernel) / deviation
            rng = np.random.default_rng(key)
            yield session, run_image(signal, np.sqrt((1 - ev) / ev), planted, rng)
