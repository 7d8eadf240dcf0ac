"""A front end that any network with stages provides: its activations as the input of a readout.

A readout is a small network that is trained on the stages of a large, frozen one (transfer
learning, or a linear probe: Alain and Bengio 2016, arXiv:1610.01644).
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.features.frontends.base import STAGES, STAGES_FLOOR
from neuromusic.features.timed import Timed, resampled
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.hearing import resample
from neuromusic.models.loading import is_external, named_by_user
from neuromusic.models.stage_frames import stage_frames
from neuromusic.stimuli.audio import RATE_HZ

FRAME_S = 0.1
LEAST_FRAME_S, MOST_FRAME_S = 0.005, 5.0
LARGEST = -STAGES_FLOOR  # prepared sets store float16
LEVEL = 0.1  # root mean square of the noise from which scales are computed; full scale is 1
TYPES: dict[str, type | tuple[type, ...]] = {
    "network": str, "stages": (list, tuple), "frame_s": (int, float), "n_units": int,
    "scales": (list, tuple), "weights": str,
}  # fmt: skip


@dataclass(frozen=True)
class StagesSpec:
    """Activations of some stages of a network, on one time grid; see `stages_front_end`."""

    name: ClassVar[str] = STAGES
    has_bands_db: ClassVar[bool] = False

    network: str  # what `load_applied` accepts; of features from elsewhere, their folder
    stages: tuple[str, ...]
    frame_s: float
    n_units: int  # of all stages
    scales: tuple[float, ...]  # one number per stage, by which its activations are divided
    weights: str  # SHA-256

    @property
    def n_channels(self) -> int:
        """Always 1."""
        return 1

    @property
    def n_bands(self) -> int:
        """Number of units of all stages."""
        return self.n_units

    @property
    def floor(self) -> float:
        """Value of every feature of a sound of zeros; a network's own response is not one number.

        Silence within a sound, or soft noise, is not recognised.
        """
        return STAGES_FLOOR

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a wave with ``n_samples`` samples."""
        return int(n_samples / RATE_HZ / self.frame_s + 1e-9) + 1

    def compute(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features (units, frames) of a mono wave at RATE_HZ.

        Raises InputError if the network cannot be loaded, is not the one that this was made from,
        or fails on the sound.
        """
        if not wave.any():
            shape = self.n_units, self.n_frames(len(wave))
            return np.full(shape, self.floor, np.float32)
        network = _loaded(self.network, self.stages, self.weights)
        return self.on_grid(_frames(network, wave), self.n_frames(len(wave)))

    def on_grid(self, frames: Mapping[str, Timed], n_frames: int) -> NDArray[np.float32]:
        """Return (units, n_frames): frames of all stages at ``frame_s``, divided by the scales.

        Before the first frame of a stage and after its last one, they are repeated.
        Raises InputError if a value is beyond float16.
        """
        parts = []
        for stage, scale in zip(self.stages, self.scales, strict=True):
            part = _held(frames[stage], n_frames, self.frame_s) / np.float32(scale)
            if np.abs(part).max() >= LARGEST:
                raise InputError(
                    f"{self.network}: stage {stage}: a value is {np.abs(part).max() * scale:.3g}, "
                    f"over {LARGEST:g} times that for noise, and too large to be stored; check the "
                    "network, or choose another stage"
                )
            parts.append(part.T)
        return np.ascontiguousarray(np.concatenate(parts))


def stages_front_end(
    network: str | Path, stages: Sequence[str] = (), frame_s: float = FRAME_S
) -> StagesSpec:
    """Return the front end that computes the stages of a network, for `prepare`.

    Each stage is divided by the root mean square of its response to white noise, so that prepared
    sets can store it as float16. All stages are brought to frames of ``frame_s``: by the mean of
    their frames, or by linear interpolation if these are further apart.

    Parameters
    ----------
    network : str or Path
        A network as in `load_applied`: a file, a name such as "musicnn", or the directory of a
        trained network.
    stages : sequence of str
        Names of the stages; by default all. Their units are joined.
    frame_s : float
        Seconds from one frame to the next, 0.005 to 5.

    Returns
    -------
    front end
        For ``prepare(front_end=...)``. A network that is trained on the prepared set loads the
        same network again when it hears sounds.

    Raises
    ------
    InputError
        If there is no such network, it has no such stage, or it fails on noise.

    Examples
    --------
    >>> import neuromusic as nm
    >>> spec = nm.stages_front_end("sound_network", ["A1", "belt"], frame_s=0.25)
    >>> spec.stages, spec.frame_s
    (('A1', 'belt'), 0.25)
    """
    if not isinstance(network, str | Path):
        raise InputError(
            f"network: is {type(network).__name__}; expected a file, a name or a directory, so "
            "that other processes can load it"
        )
    source = _absolute(network)
    applied = _applied(source)
    applied.check_takes_sound()
    stages = chosen_stages(applied, stages)
    applied = _applied(source, tuple(stages))
    spec = applied.network.spec  # of one window, or of ten seconds
    noise = np.random.default_rng(0).normal(0, LEVEL, round(spec.n_frames * spec.frame_s * RATE_HZ))
    frames = _frames(applied, noise.astype(np.float32))
    return made(source, applied, [frames], stages, frame_s)


def made(
    source: str, applied: AppliedNetwork, sounds: Iterable[Mapping[str, Timed]],
    stages: Sequence[str], frame_s: float,
) -> StagesSpec:  # fmt: skip
    """Return the front end whose scales are those of the frames of some sounds."""
    if not LEAST_FRAME_S <= frame_s <= MOST_FRAME_S:
        raise InputError(
            f"frame_s: is {frame_s}; expected {LEAST_FRAME_S:g} to {MOST_FRAME_S:g} seconds"
        )
    powers: dict[str, list[float]] = {stage: [] for stage in stages}
    n_units: dict[str, int] = {}
    for frames in sounds:
        for stage in stages:
            values = frames[stage].values
            powers[stage].append(float(np.mean(np.square(values, dtype=np.float64))))
            if n_units.setdefault(stage, values.shape[1]) != values.shape[1]:
                raise InputError(
                    f"{source}: stage {stage}: has {n_units[stage]} units for one sound, and "
                    f"{values.shape[1]} for another"
                )
    scales = tuple(float(np.sqrt(np.mean(powers[stage]))) or 1.0 for stage in stages)
    return StagesSpec(
        source, tuple(stages), float(frame_s), sum(n_units.values()), scales, applied.weights_hash()
    )


def restored(description: Mapping[str, Any]) -> StagesSpec:
    """Return a front end from what a record or a trained network says about it.

    Nothing is executed because of it: a network file or a function must have been named by the
    user, see `models.loading.named_by_user`. The network is loaded when it is needed.

    Raises InputError if it was not, or the description is not complete.
    """
    fields = {key: value for key, value in description.items() if key != "name"}
    wrong = [key for key, kind in TYPES.items() if not isinstance(fields.get(key), kind)]
    if wrong or len(fields) != len(TYPES) or len(fields["stages"]) != len(fields["scales"]):
        raise InputError(
            f"front end {STAGES}: {listed(wrong or fields)}: not as expected; prepare the set again"
        )
    network = named_by_user(fields["network"])
    stages = tuple(map(str, fields["stages"]))
    scales = tuple(map(float, fields["scales"]))
    return StagesSpec(
        network, stages, fields["frame_s"], fields["n_units"], scales, fields["weights"]
    )


def chosen_stages(applied: AppliedNetwork, stages: Sequence[str]) -> list[str]:
    """Return the named stages, or all; raise InputError if the network has no such stage."""
    known = [stage.name for stage in applied.network.stages]
    for number, stage in enumerate(stages):
        if stage not in known:
            raise InputError(
                f"stages: {applied.name} has no stage {stage!r}; it has {listed(known)}"
                f"{did_you_mean(stage, known)}"
            )
        if stage in stages[:number]:
            raise InputError(f"stages: {stage!r} is named twice")
    return list(stages) or known


def _absolute(network: str | Path) -> str:
    """Return a source that does not depend on the working directory."""
    is_path = Path(network).suffix == ".py" or not is_external(network)
    return str(Path(network).absolute()) if is_path else str(network)


def _applied(source: str, stages: tuple[str, ...] = ()) -> AppliedNetwork:
    # It loads trained networks, whose module imports this one.
    from neuromusic.training.applied_networks import load_applied

    return load_applied(source, stages=stages if is_external(source) else ())


@functools.lru_cache(maxsize=2)  # a process prepares the clips of one set
def _loaded(source: str, stages: tuple[str, ...], weights: str) -> AppliedNetwork:
    applied = _applied(source, stages)
    if applied.weights_hash() != weights:
        raise InputError(
            f"{source}: is not the network with which the features were made (other weights or "
            "another file); prepare the set and train again, or bring the old one back"
        )
    return applied


def _frames(network: AppliedNetwork, wave: NDArray[np.float32]) -> dict[str, Timed]:
    """Return the frames of each stage for a mono wave at RATE_HZ."""
    return stage_frames(network, network.features_of(resample(wave, RATE_HZ, network.rate_hz))[0])


def _held(timed: Timed, n_frames: int, frame_s: float) -> NDArray[np.float32]:
    """Return (n_frames, units) at multiples of ``frame_s``, the ends held."""
    times_s = frame_s * np.arange(n_frames, dtype=np.float64)
    grid = resampled(timed, times_s, 1 / frame_s)
    inside = np.flatnonzero(~np.isnan(grid[:, 0]))
    if len(inside) == 0:  # all frames are beyond the end, such as that of one window
        mean: NDArray[np.float32] = timed.values.mean(0, keepdims=True)
        return np.repeat(mean, n_frames, 0)
    held: NDArray[np.float32] = grid[np.arange(n_frames).clip(inside[0], inside[-1])]
    return held
