"""An acoustic baseline: what the sound of each clip predicts without a network.

Each group of features (spectrum, modulation, loudness, onsets, chroma, tempogram, labels) is laid
on the volumes of a clip and reduced to principal components, exactly as the stages of a network
are, so that both enter the same regressions.
"""

import contextlib
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed, need_package
from neuromusic.core.parallel import Calls, Machine, available_cores, run_calls
from neuromusic.core.progress import track
from neuromusic.core.records import hash_inputs, places_of, read_record
from neuromusic.design import grid
from neuromusic.design.lists import read_lists, unique_clips
from neuromusic.encoding.sound_features import LEAST_MODULATION_DB
from neuromusic.encoding.stage_components import components_of_stage
from neuromusic.features import PRELOAD
from neuromusic.features.frontends.base import front_end_has_bands
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.features.frontends.modulation import ModulationSpec
from neuromusic.features.meta import SetMeta
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.features.worker import FULL_SCALE
from neuromusic.fmri.volumes import mean_weights
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel

SPECTRUM, MODULATION, LABELS = "spectrum", "modulation", "labels"
FROM_SOUND = ("loudness", "onsets", "chroma", "tempogram")  # cannot be computed from a spectrum
LEAST_AMPLITUDE = 1e-4  # RMS of the quietest frame, -80 dB as in `MelSpec`
FEW_CLIPS = 10  # computed in this process, within about two seconds

Array = NDArray[np.float32]
Groups = dict[str, Array]


@dataclass(frozen=True)
class Baseline:
    """Acoustic features of clips, in the layout of `StageComponents`.

    Parameters
    ----------
    clips : list of str
        The clips that have features.
    missing : list of str
        Clips that were played but are not in the prepared set.
    groups : dict of arrays (clips, volumes of a clip, components) float32
        Group -> its principal components over the training clips; their variances sum to 1. NaN in
        volumes that begin after the end of the clip.
    explained : dict of float
        Group -> share of the group's variance that the components explain.
    left_out : list of str
        One sentence for each group that cannot be computed, or for several.
    """

    clips: list[str]
    missing: list[str]
    groups: dict[str, Array]
    explained: dict[str, float]
    left_out: list[str]

    def by_clip(self, group: str) -> dict[str, Array]:
        """Return clip -> (volumes of the clip, components) of one group."""
        return dict(zip(self.clips, self.groups[group], strict=True))


def acoustic_components(
    prepared: PreparedSet | Path | str,
    played: Iterable[str],
    training: Collection[str],
    n: int,
    genres: Mapping[str, str] | None = None,
) -> Baseline:
    """Compute acoustic features of the ``played`` clips; reduce each group to ``n`` components.

    The groups are

    * spectrum: log-mel spectrogram in dB (or cochleagram, see below);
    * modulation: logarithm of the mean spectro-temporal modulation amplitude (`ModulationSpec`);
    * loudness: RMS in dB;
    * onsets: onset strength, the mean rise of the log-mel spectrogram from frame to frame;
    * chroma: energy of the twelve pitch classes;
    * tempogram: local autocorrelation of the onset strength over 8.9 s;
    * labels: the class of the clip, one column per class.

    Frames every 23 ms (modulation: 93 ms) are averaged over each volume. Loudness, onsets, chroma
    and tempogram are librosa's. The sounds are those that the set was prepared from: samples that
    it kept, or the files of its lists, if they have not changed. Without sounds the spectrum and
    the modulation are those of the prepared features, where these are a spectrogram in dB or a
    modulation, and the other groups are left out.

    Parameters
    ----------
    prepared : PreparedSet, Path or str
        The prepared set of the network.
    played : iterable of str
        Names of the clips; repetitions are ignored.
    training : collection of str
        The clips to which the components are fitted.
    n : int
        Most components of a group. A group with fewer columns keeps all of their variance.
    genres : mapping of str, optional
        Clip -> class, for the group "labels".

    Returns
    -------
    Baseline
        In the order of ``played``.

    Raises
    ------
    InputError
        If the prepared set contains none of the clips, or librosa is needed and not installed.

    References
    ----------
    McFee, B. et al. (2015). librosa: Audio and music signal analysis in Python. SciPy 2015, 18-24.
    Chi, T., Ru, P. and Shamma, S. (2005). Multiresolution spectrotemporal analysis of complex
    sounds. Journal of the Acoustical Society of America 118, 887-906.
    Grosche, P., Mueller, M. and Kurth, F. (2010). Cyclic tempogram. ICASSP 2010, 5522-5525.
    """
    data = as_prepared(prepared)
    unique = list(dict.fromkeys(played))
    row_of = data.row_of_clip()
    clips = [clip for clip in unique if clip in row_of]
    if not clips:
        raise InputError(f"{data.directory}: contains none of the {len(unique)} clips of the runs")
    blocks, left_out = _volumes_of_clips(data, clips, [row_of[clip] for clip in clips])
    if genres is not None:
        without = [clip for clip in clips if clip not in genres]
        if without:
            left_out.append(f"{LABELS} left out: {listed(without)} has no class")
        else:
            blocks[LABELS] = _labels([genres[clip] for clip in clips], blocks)
    is_training = np.array([clip in training for clip in clips])
    groups, explained = {}, {}
    for name, block in blocks.items():
        if _varies(block[is_training]):
            groups[name], explained[name] = components_of_stage(block, is_training, n)
        else:
            left_out.append(f"{name} left out: it is the same in all training clips")
    missing = [clip for clip in unique if clip not in row_of]
    return Baseline(clips, missing, groups, explained, left_out)


def _labels(of_clip: Sequence[str], blocks: Mapping[str, Array]) -> Array:
    """Return (clips, volumes, classes): 1 in the column of the clip's class.

    NaN where the other groups are, after the end of a clip.
    """
    columns = np.array(of_clip)[:, None] == np.unique(of_clip)
    labels = np.repeat(columns[:, None].astype(np.float32), grid.VOLUMES_PER_CLIP, axis=1)
    for block in blocks.values():
        labels[np.isnan(block).any(2)] = np.nan
    return labels


def _varies(block: Array) -> bool:
    """Return whether a unit of (clips, volumes, units) varies; NaN volumes do not count."""
    rows = block.reshape(-1, block.shape[2])
    rows = rows[np.isfinite(rows).all(1)]
    return len(rows) > 0 and bool((np.ptp(rows, axis=0) > 0).any())


# --- Clips ----------------------------------------------------------------------------------------


def _volumes_of_clips(
    data: PreparedSet, clips: Sequence[str], rows: Sequence[int]
) -> tuple[dict[str, Array], list[str]]:
    """Return group -> (clips, volumes, units), and sentences on the groups that are left out."""
    sounds, reason = _sounds(data, clips, rows)
    if sounds is not None:
        need_package("librosa", "fmri")
        return _computed(sound_volumes, sounds, len(rows)), []
    data.check_readable()
    meta = data.meta
    available = _groups_of(meta)
    lacking = [name for name in (SPECTRUM, MODULATION, *FROM_SOUND) if name not in available]
    left_out = [f"{', '.join(lacking)} left out: {reason}"]
    if not available:
        return {}, left_out
    calls = ((data.row_features(row), meta) for row in rows)
    return _computed(feature_volumes, calls, len(rows)), left_out


def _computed(function: Callable[..., Groups], calls: Calls, n: int) -> Groups:
    """Call a function for ``n`` clips, in several processes if n is large; stack the results."""
    from neuromusic.features.build import restoring_torch_threads

    machine = Machine(available_cores() if n > FEW_CLIPS else 1)
    threads = restoring_torch_threads() if machine.is_this_process else contextlib.nullcontext()
    with threads:
        results = run_calls(function, calls, machine, PRELOAD)
        each = list(track(results, "acoustic baseline", n))
    return {name: np.stack([volumes[name] for volumes in each]) for name in each[0]}


def _sounds(
    data: PreparedSet, clips: Sequence[str], rows: Sequence[int]
) -> tuple[Calls | None, str]:
    """Return the arguments of `sound_volumes` for each clip, or None and the reason.

    The samples that a set kept are already those of its channel.
    """
    channel = data.meta.channel
    if data.meta.source == "features":
        return None, "the set was prepared from features, without sound"
    if data.waves is not None:
        waves, lengths = data.waves, data.rows["samples"].to_numpy()
        return ((np.array(waves[row, : int(lengths[row])]), channel) for row in rows), ""
    record = read_record(data.directory) or {}
    recorded = Path(record.get("places", {}).get("lists", "lists"))
    for lists in places_of(recorded, data.directory):
        files = _listed_sounds(lists, clips)
        if files:
            hashes = set(record.get("inputs", {}).values())
            changed = [path for path, digest in hash_inputs(files).items() if digest not in hashes]
            if changed:
                return None, f"{changed[0]} has changed since {data.directory} was prepared"
            return ((file, channel) for file in files), ""
    return None, f"the sounds of {recorded}, from which the set was prepared, cannot be found"


def _listed_sounds(lists: Path, clips: Sequence[str]) -> list[Path]:
    """Return the file of each clip, or none if one of them is not listed or does not exist."""
    if not lists.is_dir():
        return []
    try:
        table = unique_clips(read_lists(lists))
    except InputError:
        return []
    path_of = dict(zip(table["clip"], table["path"], strict=True))
    paths = [path_of.get(clip) for clip in clips]
    files = [lists / path for path in paths if isinstance(path, str)]
    return files if len(files) == len(clips) and all(file.is_file() for file in files) else []


def _groups_of(meta: SetMeta) -> list[str]:
    """Return the groups that follow from the features of a prepared set."""
    if meta.front_end_name == ModulationSpec.name:
        return [MODULATION]
    if meta.front_end_name == MelSpec.name and _modulation(meta).usable_rates_hz:
        return [SPECTRUM, MODULATION]
    return [SPECTRUM] if front_end_has_bands(meta.front_end_name) else []


def _modulation(meta: SetMeta) -> ModulationSpec:
    return ModulationSpec(mel_frame_s=meta.frame_s, n_mels=meta.n_bands)


# --- One clip -------------------------------------------------------------------------------------


def sound_volumes(sound: Path | NDArray[np.int16], channel: Channel) -> Groups:
    """Return group -> (volumes of a clip, units) of one sound, see `acoustic_components`.

    ``sound`` is a file, of which ``channel`` is used, or samples (int16, at RATE_HZ).
    """
    import librosa
    import torch
    from librosa.onset import onset_strength

    torch.set_num_threads(1)  # the work is distributed over clips, not within them
    wave = audio.read(sound, channel=channel) if isinstance(sound, Path) else sound / FULL_SCALE
    wave = np.asarray(wave, np.float32)
    spec, modulation = MelSpec(), ModulationSpec()
    mel = log_mel(wave, spec)
    timing = {"sr": spec.rate_hz, "hop_length": spec.hop}
    rms = librosa.feature.rms(y=wave, frame_length=spec.n_fft, hop_length=spec.hop)
    loudness = librosa.amplitude_to_db(rms, ref=1.0, amin=LEAST_AMPLITUDE, top_db=None)
    onsets = onset_strength(S=mel, **timing)
    with warnings.catch_warnings():  # in a sound without tones the tuning is taken to be 440 Hz
        warnings.filterwarnings("ignore", "Trying to estimate tuning from empty frequency set")
        chroma = librosa.feature.chroma_stft(y=wave, **timing)
    frames = {
        SPECTRUM: mel,
        "loudness": loudness,
        "onsets": onsets[None],
        "chroma": chroma,
        "tempogram": librosa.feature.tempogram(onset_envelope=onsets, **timing),
    }
    volumes = {name: _on_volumes(block, spec.frame_s) for name, block in frames.items()}
    amplitude = modulation.compute_from_mel(mel)
    volumes[MODULATION] = _log_modulation(amplitude, modulation.frame_s)
    return volumes


def feature_volumes(features: Array, meta: SetMeta) -> Groups:
    """Return group -> (volumes of a clip, units) of one row (bands, frames) of a prepared set."""
    import torch

    torch.set_num_threads(1)
    groups, volumes = _groups_of(meta), {}
    if SPECTRUM in groups:
        volumes[SPECTRUM] = _on_volumes(features, meta.frame_s)
    if MODULATION in groups:
        spec = _modulation(meta)
        is_mel = SPECTRUM in groups
        amplitude = spec.compute_from_mel(features) if is_mel else features
        volumes[MODULATION] = _log_modulation(amplitude, spec.frame_s if is_mel else meta.frame_s)
    return volumes


def _log_modulation(amplitude: NDArray[np.floating], frame_s: float) -> Array:
    return np.log(_on_volumes(amplitude, frame_s) + np.float32(LEAST_MODULATION_DB))


def _on_volumes(frames: NDArray[np.floating], frame_s: float) -> Array:
    """Average frames (units, n_frames), as those of a stage, over volumes: (volumes, units).

    NaN in volumes that contain the centre of no frame.
    """
    centre_s = np.arange(frames.shape[1]) * frame_s
    weights = mean_weights(centre_s, grid.VOLUMES_PER_CLIP)
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ frames.T / weights.sum(1)[:, None], np.float32)
