"""Simulated voxels with a known truth: a network's stages drive them, with noise and drift added.

A voxel's signal is a random linear sum of the units of one stage, convolved with a haemodynamic
response; AR(1) noise is scaled to the voxel's explainable variance.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.design.timing import lead_in_volumes, placements
from neuromusic.fmri import volumes
from neuromusic.fmri.activations import ClipResponses
from neuromusic.fmri.clip_inputs import ClipInputs
from neuromusic.fmri.hrf import HrfName, hrf
from neuromusic.fmri.layout import PlacedClip, lay_on_volumes
from neuromusic.fmri.simulation.confounds import head_motion, motion_in_voxels, unsteady
from neuromusic.fmri.simulation.images import IMAGE_FORMS, ImageForm
from neuromusic.fmri.simulation.sessions import Session

if TYPE_CHECKING:  # inputs are checked without torch, which takes seconds to import
    from neuromusic.training.trained import TrainedNetwork

Array = NDArray[np.float64]
BASELINE = 1000.0  # of every voxel, in image units
SIGNAL = 10.0  # standard deviation of the signal: 1 % of the baseline
DRIFT_S = 256.0  # shortest period in the drift; high-pass filters usually cut off at 128 s
DEAD_UNIT = 1e-6  # share of the largest activation below which a deviation is float32 rounding

# Purpose of a random generator; its seed is (seed, purpose, subject, ...).
WEIGHT, CEILING, NOISE, MOTION, CONFOUNDS = range(5)


@dataclass(frozen=True)
class Planted:
    """What the voxels of a simulated dataset contain.

    Parameters
    ----------
    hrf : {"spm", "glover"}
        Haemodynamic response.
    stages : tuple of str
        Stages that drive voxels; all that stand for a cortical area if empty.
    voxels : int
        Number of voxels that each stage drives.
    noise_voxels : int
        Number of voxels with noise and drift only.
    ceiling : (float, float)
        Lower and upper bound of the explainable variance of a single presentation; each voxel has
        a value in between.
    drift : float
        Standard deviation of the slow drift, in units of the signal's.
    ar : float
        Correlation of the noise from one volume to the next.
    motion : float
        Standard deviation of head motion in each voxel, in units of the signal's. Above 0, each run
        has a table of confounds and a brain mask, and its first two volumes are brighter.
    images : {"nifti", "cifti", "gifti"}
        Volumes, grayordinates, or the surfaces of both hemispheres.

    Raises
    ------
    InputError
        By `simulate`, if there is no such form of images, if the network has no such stage, or if
        ``motion`` is negative.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.Planted(stages=("A1", "belt"), voxels=100, ceiling=(0.1, 0.5)).noise_voxels
    50
    """

    hrf: HrfName = "spm"
    stages: tuple[str, ...] = ()
    voxels: int = 50
    noise_voxels: int = 50
    ceiling: tuple[float, float] = (0.3, 0.3)
    drift: float = 1.0
    ar: float = 0.3
    motion: float = 0.0
    images: ImageForm = "nifti"


@dataclass(frozen=True)
class RunVoxels:
    """The image of a run (n_volumes, n_voxels), and the head motion (n_volumes, 6) if it moves.

    ``subject`` counts from 0.
    """

    image: NDArray[np.int16]
    motion: Array | None
    subject: int


@dataclass(frozen=True)
class Drive:
    """What drives the voxels of one subject, before the haemodynamic response."""

    placed: list[PlacedClip]
    block: NDArray[np.float32]  # (n_placed, volumes, n_voxels)
    rest: NDArray[np.float32]  # (n_voxels,) while no sound is played
    mean: Array  # (n_voxels,) over the sounds of the training runs

    def signal(self, session: Session, hrf_name: HrfName) -> Array:
        """Return the response (n_volumes, n_voxels) in a run; nothing crosses its borders."""
        responses = dict(zip(self.placed, self.block, strict=True))
        drive = lay_on_volumes(
            session.trials, responses, session.tr_s, session.n_volumes, self.rest
        )
        return volumes.convolved(drive - self.mean, hrf(hrf_name, session.tr_s))


# --- Checks ---------------------------------------------------------------------------------------


def check_planted(planted: Planted) -> None:
    """Raise InputError for an unknown form of images, or a negative amount of motion."""
    if planted.images not in IMAGE_FORMS:
        raise InputError(
            f"planted.images={planted.images!r}: expected {', '.join(IMAGE_FORMS)}"
            f"{did_you_mean(planted.images, IMAGE_FORMS)}"
        )
    if not planted.motion >= 0:
        raise InputError(f"planted.motion={planted.motion}: expected a number from 0")


def choose_stages(trained: "TrainedNetwork", names: Sequence[str]) -> list[str]:
    """Return the named stages, or all that stand for a cortical area if none are named.

    Raises InputError for a stage that the network does not have, or if no stage is left.
    """
    known = [stage.name for stage in trained.network.stages]
    for name in names:
        if name not in known:
            raise InputError(
                f"planted.stages: {trained.directory} has no stage {name!r}; it has "
                f"{', '.join(known)}{did_you_mean(name, known)}"
            )
    chosen = list(dict.fromkeys(names)) or [s.name for s in trained.network.stages if s.area]
    if not chosen:
        raise InputError(
            f"planted.stages: no stage of {trained.directory} stands for a cortical area; name "
            f"some of {', '.join(known)}"
        )
    return chosen


def check_clips(inputs: ClipInputs, clips: Iterable[str]) -> None:
    """Raise InputError if a clip that is played has no input."""
    missing = [clip for clip in clips if clip not in inputs.clips]
    if missing:
        raise InputError(
            f"{inputs.source}: does not contain {len(missing)} of the clips that are played, "
            f"such as {missing[0]}; a simulation needs all of them"
        )


def check_responses(trained: "TrainedNetwork", responses: ClipResponses) -> None:
    """Raise InputError if the response to a clip ends before its presentation."""
    for block in responses.stages.values():
        missing = np.isnan(block.sum(axis=2))
        for (clip, placement), volumes_of_clip in zip(responses.placed, missing, strict=True):
            if volumes_of_clip[: placement.n_volumes].any():
                raise InputError(
                    f"{trained.prepared}: {clip} is shorter than its presentation of "
                    f"{placement.duration_s:g} s; a simulation needs whole clips"
                )


# --- Signal ---------------------------------------------------------------------------------------


def ceiling_r(ev: NDArray[np.floating], repeats: int) -> Array:
    """Return the highest correlation that any model can reach with the mean over repeats.

    ``ev`` is the explainable variance of a single presentation: the share of the signal in its
    variance. The noise of the mean has 1/repeats of the variance of the noise of one presentation.

    References
    ----------
    Sahani & Linden 2003, NIPS 15; Hsu et al. 2004, Network 15:91.
    """
    return np.sqrt(repeats * ev / (1 + (repeats - 1) * ev))


def training_rows(sessions: Sequence[Session], placed: Sequence[PlacedClip]) -> NDArray[np.int64]:
    """Return the row in ``placed`` of every training presentation, without the dummies (n,).

    If folds divide the runs, all are for training. Raises InputError if there are only test runs.
    """
    row_of = {each: row for row, each in enumerate(placed)}
    rows = []
    for session in sessions:
        trials = session.trials
        if not session.is_test:
            pairs = zip(trials["clip"], placements(trials, session.tr_s), strict=True)
            of_run = np.array([row_of[clip, placement] for clip, (_, placement) in pairs])
            rows.append(of_run[~trials["is_dummy"].to_numpy()])
    if not rows:
        raise InputError(
            "bids: the events contain no training runs, over which units are standardised; add some"
        )
    return np.concatenate(rows)


def weigh_units(
    responses: ClipResponses,
    rows: NDArray[np.int64],
    stages: Sequence[str],
    voxels: int,
    seed: int,
    subject: int,
) -> Drive:
    """Return the weighted sum of a stage's units for every voxel.

    The weights are normal, drawn from (seed, subject, voxel), for units standardised over the
    training presentations ``rows``; units that are constant there have no weight.
    """
    length = responses.stages[stages[0]].shape[1]
    drive = np.empty((len(responses.placed), length, voxels * len(stages)), np.float32)
    rest = np.zeros(drive.shape[2], np.float32)
    is_played = np.array([np.arange(length) < p.n_volumes for _, p in responses.placed])
    for index, name in enumerate(stages):
        block = responses.stages[name]
        # Of presentations of equal length, a view with the axes of the block.
        played = block[rows] if is_played.all() else block[rows][is_played[rows]][None]
        deviation = played.std(axis=(0, 1), dtype=np.float64)
        alive = deviation > DEAD_UNIT * float(np.nanmax(np.abs(block)))
        weights = np.zeros((len(deviation), voxels))
        for voxel in range(voxels):
            rng = np.random.default_rng([seed, WEIGHT, subject, index * voxels + voxel])
            weights[:, voxel] = rng.standard_normal(len(deviation))
        weights[alive] /= deviation[alive, None]
        weights[~alive] = 0
        part = slice(index * voxels, (index + 1) * voxels)
        drive[:, :, part] = block @ weights.astype(np.float32)
        rest[part] = responses.rest[name] @ weights.astype(np.float32)
    share = np.bincount(rows, minlength=len(drive)) / len(rows)  # of the presentations
    n_volumes = length if is_played.all() else float(share @ is_played.sum(1))
    sums = np.einsum("c,cvn->n", share, np.where(is_played[..., None], drive, 0))
    return Drive(responses.placed, drive, rest, sums / n_volumes)


def signal_deviation(drive: Drive, sessions: Sequence[Session], hrf_name: HrfName) -> Array:
    """Return the standard deviation of the response over the runs that measure the ceiling.

    (n_voxels,). These are the test runs, or the training runs if there are none; without the dummy,
    and around the mean of each run. The explainable variance of a single presentation is the share
    of this variance in its sum with that of the noise.
    """
    measured = [s for s in sessions if s.is_test] or sessions
    total, count = np.zeros(len(drive.mean)), 0
    for session in measured:
        signal = drive.signal(session, hrf_name)[lead_in_volumes(session.trials, session.tr_s) :]
        total += ((signal - signal.mean(axis=0)) ** 2).sum(axis=0)
        count += len(signal)
    return np.asarray(np.sqrt(total / count))


def planted_ev(planted: Planted, n_stages: int, seed: int, subject: int) -> Array:
    """Return the explainable variance of a single presentation (n_voxels,), noise voxels last.

    For a noise voxel it is the value that its noise would give to a voxel with a signal.
    """
    rng = np.random.default_rng([seed, CEILING, subject])
    return rng.uniform(*planted.ceiling, n_stages * planted.voxels + planted.noise_voxels)


# --- Noise ----------------------------------------------------------------------------------------


def autocorrelated(n_volumes: int, n_voxels: int, ar: float, rng: np.random.Generator) -> Array:
    """Return stationary AR(1) noise of unit variance (n_volumes, n_voxels), independent voxels."""
    from scipy.signal import lfilter

    step = np.sqrt(1 - ar**2)
    shocks = rng.standard_normal((n_volumes, n_voxels))
    shocks[0] /= step  # as if the process had started long ago
    return np.asarray(lfilter([step], [1, -ar], shocks, axis=0))


def slow_drift(n_volumes: int, tr_s: float, n_voxels: int, rng: np.random.Generator) -> Array:
    """Return a drift of unit standard deviation: a line and cosines with periods above DRIFT_S.

    (n_volumes, n_voxels).
    """
    time = (np.arange(n_volumes) + 0.5) / n_volumes
    n_cosines = int(2 * n_volumes * tr_s / DRIFT_S)
    basis = np.stack([time, *(np.cos(np.pi * k * time) for k in range(1, n_cosines + 1))], axis=1)
    basis = (basis - basis.mean(axis=0)) / basis.std(axis=0)
    drift = basis @ rng.standard_normal((basis.shape[1], n_voxels))
    return np.asarray(drift / drift.std(axis=0))


# --- Images ---------------------------------------------------------------------------------------


def run_image(
    signal: Array,
    tr_s: float,
    noise_std: Array,
    planted: Planted,
    rng: np.random.Generator,
    added: Array | float = 0.0,
) -> NDArray[np.int16]:
    """Return the volumes of one run (n_volumes, n_voxels) from signals of unit deviation.

    ``noise_std`` (n_voxels,) is in units of the signal's standard deviation, as is what is
    ``added``. Voxels beyond those of ``signal`` contain only noise and drift.
    """
    n_volumes, n_voxels = len(signal), len(noise_std)
    image = noise_std * autocorrelated(n_volumes, n_voxels, planted.ar, rng)
    image += planted.drift * slow_drift(n_volumes, tr_s, n_voxels, rng)
    image[:, : signal.shape[1]] += signal
    image += added
    limits = np.iinfo(np.int16)
    return np.rint(BASELINE + SIGNAL * image).clip(limits.min, limits.max).astype(np.int16)


def run_images(
    responses: ClipResponses,
    sessions: Sequence[Session],
    stages: Sequence[str],
    planted: Planted,
    seed: int,
) -> Iterator[tuple[Session, RunVoxels]]:
    """Yield every run with its volumes (n_volumes, n_voxels), the voxels of the first stage first.

    The noise is independent between voxels, runs and repeats. Before the drift is added, the
    explainable variance over the volumes of the test runs is as planted; see `signal_deviation`.

    Raises InputError for a stage that responds identically to every clip.
    """
    for number, subject in enumerate(sorted({session.id.subject for session in sessions})):
        subject_sessions = [session for session in sessions if session.id.subject == subject]
        rows = training_rows(subject_sessions, responses.placed)
        drive = weigh_units(responses, rows, stages, planted.voxels, seed, number)
        deviation = signal_deviation(drive, subject_sessions, planted.hrf)
        _check_deviation(deviation, stages)
        ev = planted_ev(planted, len(stages), seed, number)
        for session in subject_sessions:
            rng = session_rng(seed, NOISE, number, session)
            signal = drive.signal(session, planted.hrf) / deviation
            noise_std = np.sqrt((1 - ev) / ev)
            motion: Array | None = None
            added: Array | float = 0.0
            if planted.motion:
                of_motion = session_rng(seed, MOTION, number, session)
                motion = head_motion(session.n_volumes, of_motion)
                in_voxels = motion_in_voxels(motion, len(noise_std), of_motion)
                added = planted.motion * in_voxels + unsteady(session.n_volumes)[:, None]
            image = run_image(signal, session.tr_s, noise_std, planted, rng, added)
            yield session, RunVoxels(image, motion, number)


def session_rng(seed: int, purpose: int, subject: int, session: Session) -> np.random.Generator:
    """Return the random generator of a run for one purpose."""
    others = "".join(value for _, value in session.id.others)
    if session.design.split is None:
        others += session.id.task
    name = [session.id.run, *session.id.session.encode(), *others.encode()]
    return np.random.default_rng([seed, purpose, subject, int(session.is_test), *name])


def _check_deviation(deviation: Array, stages: Sequence[str]) -> None:
    """Raise InputError if the voxels of a stage have no signal."""
    for stage, deviations in zip(stages, deviation.reshape(len(stages), -1), strict=True):
        if not (deviations > 0).all():
            raise InputError(
                f"planted.stages: stage {stage!r} responds identically to every clip; exclude it"
            )
