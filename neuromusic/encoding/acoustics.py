"""An acoustic baseline: what the sound of each clip predicts without a network.

Each group of features (spectrum, modulation, loudness, onsets, chroma, tempogram, labels) is laid
on the volumes of a clip and reduced to principal components, exactly as the stages of a network
are, so that both enter the same regressions.
"""

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError, listed, need_package
from neuromusic.core.parallel import Calls, Machine, run_calls
from neuromusic.core.progress import track
from neuromusic.core.records import hash_inputs, places_of, read_record
from neuromusic.design.lists import read_lists, unique_clips
from neuromusic.design.timing import Placement
from neuromusic.encoding.sound_features import LEAST_MODULATION_DB
from neuromusic.encoding.stage_components import components_of_stage
from neuromusic.features import PRELOAD
from neuromusic.features.frontends.base import front_end_has_bands
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.features.frontends.modulation import ModulationSpec
from neuromusic.features.meta import SetMeta
from neuromusic.features.prepared import PreparedSet, as_prepared
from neuromusic.features.worker import FULL_SCALE
from neuromusic.fmri.layout import PlacedClip
from neuromusic.fmri.volumes import mean_weights, with_slivers
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel

SPECTRUM, MODULATION, LABELS = "spectrum", "modulation", "labels"
FROM_SOUND = ("loudness", "onsets", "chroma", "tempogram")  # cannot be computed from a spectrum
LEAST_AMPLITUDE = 1e-4  # RMS of the quietest frame, -80 dB as in `MelSpec`
FEW_CLIPS = 10  # computed in this process, within about two seconds
SILENCE = 2 * audio.RATE_HZ  # samples

Array = NDArray[np.float32]
Groups = dict[str, Array]


@dataclass(frozen=True)
class Baseline:
    """Acoustic features of clips, in the layout of `StageComponents`.

    Parameters
    ----------
    placed : list of (clip, placement)
        The clips that have features, with each of their placements.
    missing : list of str
        Clips that were played but are not in the prepared set.
    groups : dict of arrays (placed, volumes, components) float32
        Group -> its principal components over the training clips; their variances sum to 1. NaN in
        volumes that begin after the end of the clip.
    rest : dict of arrays (components,) float32
        Group -> its components while no sound is played.
    explained : dict of float
        Group -> share of the group's variance that the components explain.
    left_out : list of str
        One sentence for each group that cannot be computed, or for several.
    """

    placed: list[PlacedClip]
    missing: list[str]
    groups: dict[str, Array]
    rest: dict[str, Array]
    explained: dict[str, float]
    left_out: list[str]

    def by_clip(self, group: str) -> dict[PlacedClip, Array]:
        """Return (clip, placement) -> (volumes, components) of one group."""
        return dict(zip(self.placed, self.groups[group], strict=True))


def acoustic_components(
    prepared: PreparedSet | SetMeta | Path | str,
    wanted: Mapping[str, Sequence[Placement]],
    training: Collection[str],
    n: int,
    classes: Mapping[str, str] | None = None,
    files: Mapping[str, Path] | None = None,
) -> Baseline:
    """Compute acoustic features of clips; reduce each group to ``n`` components.

    The groups are

    * spectrum: log-mel spectrogram in dB (or cochleagram, see below);
    * modulation: logarithm of the mean spectro-temporal modulation amplitude (`ModulationSpec`);
    * loudness: RMS in dB;
    * onsets: onset strength, the mean rise of the log-mel spectrogram from frame to frame;
    * chroma: energy of the twelve pitch classes;
    * tempogram: local autocorrelation of the onset strength over 8.9 s;
    * labels: the class of the clip, one column per class.

    Frames every 23 ms (modulation: 93 ms) are averaged over each volume. Loudness, onsets, chroma
    and tempogram are librosa's. While no sound is played, the features are those of silence. The
    sounds are ``files`` or those that the set was prepared from: samples that it kept, or the files
    of its lists, if they have not changed. Without sounds the spectrum and the modulation are those
    of the prepared features, where these are a spectrogram in dB or a modulation (while no sound is
    played, the least value of each feature), and the other groups are left out.

    Parameters
    ----------
    prepared : PreparedSet, SetMeta, Path or str
        The prepared set of the network; with ``files`` its metadata are enough.
    wanted : mapping
        Clip -> how it lies on volumes in its presentations.
    training : collection of str
        The clips to which the components are fitted.
    n : int
        Most components of a group. A group with fewer columns keeps all of their variance.
    classes : mapping of str, optional
        Clip -> class, for the group "labels".
    files : mapping of Path, optional
        Clip -> its sound, in place of those of the set.

    Returns
    -------
    Baseline
        In the order of ``wanted``.

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
    data = prepared if isinstance(prepared, SetMeta) else as_prepared(prepared)
    available: Collection[str] = files or ()
    if files is None and isinstance(data, PreparedSet):
        available = data.row_of_clip()
    clips = [clip for clip in wanted if clip in available]
    if not clips:
        where = data.directory if isinstance(data, PreparedSet) else "sounds"
        raise InputError(f"{where}: contains none of the {len(wanted)} clips of the runs")
    placed = [(clip, placement) for clip in clips for placement in wanted[clip]]
    blocks, silent, left_out = _volumes_of_clips(data, {c: wanted[c] for c in clips}, files)
    if classes is not None:
        without = [clip for clip in clips if not classes.get(clip)]
        if without:
            left_out.append(f"{LABELS} left out: {listed(without)} has no class")
        else:
            blocks[LABELS] = _labels([classes[clip] for clip, _ in placed], placed, blocks)
            silent[LABELS] = np.zeros(blocks[LABELS].shape[2], np.float32)
    is_training = np.array([clip in training for clip, _ in placed])
    groups, rest, explained = {}, {}, {}
    for name, block in blocks.items():
        if _varies(block[is_training]):
            groups[name], rest[name], explained[name] = components_of_stage(
                block, is_training, n, silent[name]
            )
        else:
            left_out.append(f"{name} left out: it is the same in all training clips")
    missing = [clip for clip in wanted if clip not in available]
    return Baseline(placed, missing, groups, rest, explained, left_out)


def _labels(
    of_placed: Sequence[str], placed: Sequence[PlacedClip], blocks: Mapping[str, Array]
) -> Array:
    """Return (placed, volumes, classes): 1 in the column of the clip's class.

    NaN where the other groups are, after the end of a clip.
    """
    columns = np.array(of_placed)[:, None] == np.unique(of_placed)
    n_volumes = max(placement.n_volumes for _, placement in placed)
    labels = np.repeat(columns[:, None].astype(np.float32), n_volumes, axis=1)
    for row, (_, placement) in enumerate(placed):
        labels[row, placement.n_volumes :] = np.nan
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
    data: PreparedSet | SetMeta,
    wanted: Mapping[str, Sequence[Placement]],
    files: Mapping[str, Path] | None,
) -> tuple[dict[str, Array], dict[str, Array], list[str]]:
    """Return group -> (placed, volumes, units) and -> that of silence (units,).

    The third value are sentences on the groups that are left out.
    """
    clips, channel = list(wanted), (data if isinstance(data, SetMeta) else data.meta).channel
    of_clip = list(wanted.values())
    if files is not None or isinstance(data, SetMeta):
        files = files or {}
        sounds: list[tuple[Any, ...]] | None = [(files[clip], channel) for clip in clips]
        reason = ""
    else:
        rows = [data.row_of_clip()[clip] for clip in clips]
        sounds, reason = _sounds(data, clips, rows)
    if sounds is not None:
        need_package("librosa", "fmri")
        calls = (
            (np.array(sound) if isinstance(sound, np.ndarray) else sound, channel, each)
            for (sound, channel), each in zip(sounds, of_clip, strict=True)
        )
        [silence] = sound_volumes(np.zeros(SILENCE, np.int16), channel, [Placement(1.0, 0.0, 1.0)])
        silent = {name: values[0] for name, values in silence.items()}
        return _computed(sound_volumes, calls, len(clips)), silent, []
    assert isinstance(data, PreparedSet)
    data.check_readable()
    meta = data.meta
    available = _groups_of(meta)
    lacking = [name for name in (SPECTRUM, MODULATION, *FROM_SOUND) if name not in available]
    left_out = [f"{', '.join(lacking)} left out: {reason}"]
    if not available:
        return {}, {}, left_out
    pairs = zip(rows, of_clip, strict=True)
    blocks = _computed(
        feature_volumes, ((data.row_features(row), meta, each) for row, each in pairs), len(rows)
    )
    silent = {name: np.nanmin(block, axis=(0, 1)) for name, block in blocks.items()}
    return blocks, silent, left_out


def _computed(function: Callable[..., list[Groups]], calls: Calls, n: int) -> Groups:
    """Call a function for ``n`` clips, in several processes if n is large; stack the results.

    Shorter presentations are filled up with NaN.
    """
    from neuromusic.features.build import restoring_torch_threads

    machine = Machine(available_cores() if n > FEW_CLIPS else 1)
    threads = restoring_torch_threads() if machine.is_this_process else contextlib.nullcontext()
    with threads:
        results = run_calls(function, calls, machine, PRELOAD)
        of_clips = list(track(results, "acoustic baseline", n))
    every = [volumes for of_clip in of_clips for volumes in of_clip]
    return {name: _stacked([volumes[name] for volumes in every]) for name in every[0]}


def _stacked(blocks: Sequence[Array]) -> Array:
    most = max(len(block) for block in blocks)
    return np.stack([
        np.pad(block, ((0, most - len(block)), (0, 0)), constant_values=np.nan)
        for block in blocks
    ])  # fmt: skip


def _sounds(
    data: PreparedSet, clips: Sequence[str], rows: Sequence[int]
) -> tuple[list[tuple[Any, ...]] | None, str]:
    """Return the first arguments of `sound_volumes` for each clip, or None and the reason.

    The samples that a set kept are already those of its channel.
    """
    channel = data.meta.channel
    if data.meta.source == "features":
        return None, "the set was prepared from features, without sound"
    if data.waves is not None:
        waves, lengths = data.waves, data.rows["samples"].to_numpy()
        return [(waves[row, : int(lengths[row])], channel) for row in rows], ""
    record = read_record(data.directory) or {}
    recorded = Path(record.get("places", {}).get("lists", "lists"))
    for lists in places_of(recorded, data.directory):
        files = _listed_sounds(lists, clips)
        if files:
            hashes = set(record.get("inputs", {}).values())
            changed = [path for path, digest in hash_inputs(files).items() if digest not in hashes]
            if changed:
                return None, f"{changed[0]} has changed since {data.directory} was prepared"
            return [(file, channel) for file in files], ""
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


def sound_volumes(
    sound: Path | NDArray[np.int16], channel: Channel, placements: Sequence[Placement]
) -> list[Groups]:
    """Return group -> (volumes, units) of one sound, for each placement; `acoustic_components`.

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
    amplitude = modulation.compute_from_mel(mel)
    results = []
    for placement in placements:
        volumes = {
            name: _on_volumes(block, spec.frame_s, placement) for name, block in frames.items()
        }
        volumes[MODULATION] = _log_modulation(amplitude, modulation.frame_s, placement)
        results.append(volumes)
    return results


def feature_volumes(
    features: Array, meta: SetMeta, placements: Sequence[Placement]
) -> list[Groups]:
    """Return group -> (volumes, units) of one row (bands, frames) of a set, for each placement."""
    import torch

    torch.set_num_threads(1)
    groups = _groups_of(meta)
    amplitude, frame_s = features, meta.frame_s
    if MODULATION in groups and SPECTRUM in groups:
        spec = _modulation(meta)
        amplitude, frame_s = spec.compute_from_mel(features), spec.frame_s
    results = []
    for placement in placements:
        volumes = {}
        if SPECTRUM in groups:
            volumes[SPECTRUM] = _on_volumes(features, meta.frame_s, placement)
        if MODULATION in groups:
            volumes[MODULATION] = _log_modulation(amplitude, frame_s, placement)
        results.append(volumes)
    return results


def _log_modulation(amplitude: NDArray[np.floating], frame_s: float, placement: Placement) -> Array:
    return np.log(_on_volumes(amplitude, frame_s, placement) + np.float32(LEAST_MODULATION_DB))


def _on_volumes(frames: NDArray[np.floating], frame_s: float, placement: Placement) -> Array:
    """Average frames (units, n_frames), as those of a stage, over volumes: (volumes, units).

    NaN in volumes that begin after the last frame.
    """
    centre_s = np.arange(frames.shape[1]) * frame_s
    begin_s = np.arange(placement.n_volumes) * placement.tr_s
    weights = mean_weights(placement.phase_s + centre_s, placement.n_volumes, placement.tr_s)
    with np.errstate(invalid="ignore"):
        means = np.asarray(weights @ frames.T / weights.sum(1)[:, None], np.float32)
    return with_slivers(means, begin_s < placement.phase_s + centre_s[-1] + frame_s)
