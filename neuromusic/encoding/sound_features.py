"""Features of short sounds without time: a spectro-temporal baseline, and stages of a network.

After Norman-Haignere, Kanwisher and McDermott (2015, Neuron 88, 1281), and Tuckute et al. (2023,
PLoS Biology 21, e3002366), who compare networks with their data: statistics of a stage's
activations over time.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuromusic.encoding.sound_responses import Statistics
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.features.frontends.modulation import ModulationSpec
from neuromusic.features.windows import cut_windows
from neuromusic.models.applied import AppliedNetwork
from neuromusic.models.inference import BATCH
from neuromusic.models.network import Network
from neuromusic.models.stored import Responses, Sound, sound_of_file, sound_of_wave
from neuromusic.stimuli import audio

LEVEL_STEPS = 3  # of `set_gain`: bands at the floor do not rise with the others
LEAST_RISE_DB = 3.0  # of the input for 6 dB of sound, below which level has no effect
LEAST_MODULATION_DB = 1e-3  # added so that silence has a logarithm; far below any sound

Array = NDArray[np.float32]
Floats = NDArray[np.float64]


def baseline_features(waves: Sequence[Array]) -> dict[str, Floats]:
    """Return a spectro-temporal description of each sound, averaged over time.

    ``waves`` are mono at audio.RATE_HZ. "bands" (n, 2 x mels): mean and standard deviation of the
    log-mel spectrogram. "modulation" (n, channels x bands): logarithm of the mean spectro-temporal
    modulation amplitude of that spectrogram (`ModulationSpec`), so that ratios of amplitudes count.
    """
    modulation_spec, mel_spec = ModulationSpec(), MelSpec()
    bands, modulation = [], []
    for wave in waves:
        mel = log_mel(wave, mel_spec)
        bands.append(np.concatenate([mel.mean(1), mel.std(1)]))
        amplitude = modulation_spec.compute_from_mel(mel).mean(1)
        modulation.append(np.log(amplitude + LEAST_MODULATION_DB))
    return {"bands": np.array(bands, np.float64), "modulation": np.array(modulation, np.float64)}


def set_gain(trained: AppliedNetwork, waves: Sequence[Array]) -> float:
    """Return the factor that brings a set of sounds to the level of a network's training sounds.

    It is one factor for all sounds, so a softer sound stays softer: digital level is unrelated to
    sound pressure, but a network would not generalise to sounds that are all 20 dB softer than
    those it was trained on. It is 1 if level has no effect on the network's input (modulation;
    clips that are normalised).

    Raises InputError if the network was trained on precomputed features.
    """
    trained.check_takes_sound()
    goal = trained.training_level
    if goal is None:
        return 1.0
    if trained.meta.front_end_name == "wave" or trained.network.spec.n_bands == 1:
        power = np.mean([np.mean(np.square(wave, dtype=np.float64)) for wave in waves])
        return goal / float(np.sqrt(power))  # the standard deviation of the samples is their RMS
    return float(10 ** (_gain_db(trained, waves, goal) / 20))


def _gain_db(trained: AppliedNetwork, waves: Sequence[Array], goal: float) -> float:
    """Return the gain at which the mean of the features is that of the training set."""

    def level(gain_db: float) -> float:
        gain = np.float32(10 ** (gain_db / 20))
        return float(np.mean([trained.features_of(wave * gain)[0].mean() for wave in waves]))

    start = level(0.0)
    if level(6.0) - start < LEAST_RISE_DB:
        return 0.0
    gain_db = goal - start
    for _ in range(LEVEL_STEPS):
        gain_db += goal - level(gain_db)
    return gain_db


def network_inputs(
    trained: AppliedNetwork, files: Sequence[Path], waves: Sequence[Array], gain: float
) -> Iterator[Sound]:
    """Yield a network's input for each sound, computed once; ``gain`` is that of `set_gain`."""
    for path, wave in zip(files, waves, strict=True):
        if trained.training_level is None:
            sound = sound_of_file(trained, path)
        else:
            sound = sound_of_wave(trained, wave, gain)
        yield Sound(functools.cache(sound.read), sound.key)


def n_repeated(trained: AppliedNetwork, waves: Sequence[Array]) -> int:
    """Return how many sounds are shorter than a network's window, so that they are repeated."""
    spec = trained.network.spec
    if not trained.has_windows:
        return 0
    least = (spec.n_frames - 1) * spec.frame_s * audio.RATE_HZ
    return sum(len(wave) < least for wave in waves)


@torch.inference_mode()
def stage_features(
    trained: AppliedNetwork, sounds: Iterable[Sound], statistics: Statistics
) -> dict[str, Floats]:
    """Return stage -> mean of each unit over time (n, units), or mean and deviation (n, 2 x units).

    Time is all frames of a sound; or for a network with windows of a fixed length, all windows of a
    sound, none of them padded; a sound shorter than the window is then repeated to fill one.
    """
    features: dict[str, list[Floats]] = {stage.name: [] for stage in trained.network.stages}
    responses = Responses(trained)
    for sound in sounds:
        found = responses.of(sound, ["statistics"], lambda x: _statistics(trained, x))
        for name, both in found.items():
            features[name].append(both.ravel() if statistics == "mean+deviation" else both[0])
    return {name: np.array(rows) for name, rows in features.items()}


def _statistics(trained: AppliedNetwork, x: Any) -> dict[str, Floats]:
    """Return stage -> mean and deviation of each unit over time for an input, (2, units)."""
    if trained.has_windows:
        over_time = _of_parts(trained, x)
    else:
        frames = trained.frames_of(x)
        over_time = {name: each.values.T.astype(np.float64) for name, each in frames.items()}
    return {name: np.array([units.mean(1), units.std(1)]) for name, units in over_time.items()}


def _of_parts(trained: AppliedNetwork, x: Array) -> dict[str, Floats]:
    """Return `_units_over_time` for all windows of a sound, with the stages of all parts."""
    over_time: dict[str, Floats] = {}
    for prefix, part in trained.parts.items():
        windows, _ = cut_windows(x, part.network.spec.n_frames, part.hop_frames)
        units = _units_over_time(part.network, windows)
        over_time |= {f"{prefix}{name}": values for name, values in units.items()}
    return over_time


def _units_over_time(network: Network, windows: Array) -> dict[str, Floats]:
    """Return stage -> activations of all windows one after the other, (units, windows x time)."""
    device = network.band_mean.device
    parts: dict[str, list[Array]] = {stage.name: [] for stage in network.stages}
    for first in range(0, len(windows), BATCH):
        batch = torch.from_numpy(windows[first : first + BATCH]).to(device)
        activations = network.activations(batch)
        for name in parts:  # (windows, units, time) -> (units, windows x time)
            units = activations[name].flatten(1, -2).transpose(0, 1).flatten(1)
            parts[name].append(units.cpu().numpy())
    return {
        name: np.concatenate(blocks, axis=1).astype(np.float64) for name, blocks in parts.items()
    }
