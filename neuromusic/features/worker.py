"""Worker tasks: turn sound files into feature rows; kept light so that workers start fast."""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import checksum
from neuromusic.features.frontends.base import FrontEnd, compute_batch
from neuromusic.features.writer import Row, RowFile
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel
from neuromusic.stimuli.variants import VARIANTS

if TYPE_CHECKING:  # the main process imports this module, but computes nothing and needs no torch
    from torch import Tensor

    from neuromusic.features.augment import Parameters

FULL_SCALE = 2**15  # of int16 samples
BATCH = 16  # clips that a GPU computes at once
ON_GPU = threading.Lock()  # two batches at once would need twice the memory and gain nothing


@dataclass(frozen=True)
class WorkerSettings:
    """What is computed for every clip, and where it is written."""

    front_end: FrontEnd
    keep_waves: bool
    seed: int
    device: str
    n_samples: int  # of the longest clip
    files: list[RowFile]  # of the features and, if they are kept, the waves
    channel: Channel = "mix"


@dataclass(frozen=True)
class ClipTask:
    """One clip to prepare."""

    path: Path
    clip: str
    n_variants: int
    first_row: int  # where its rows begin in the arrays
    crc: int  # checksum of the file, taken before its hash was recorded


def prepare_clip(task: ClipTask, settings: WorkerSettings) -> tuple[list[int], list[Row]]:
    """Compute the features of all variants of a clip and write them into its rows.

    The part of a row beyond the end of a variant is 0. Returns the checksum of the rows in each
    file, and the columns of rows.tsv for each variant.

    Raises InputError if the sound file has changed since its hash was recorded, or a network that
    computes the features fails on it.
    """
    n_frames = settings.front_end.n_frames(settings.n_samples)
    n_rows = settings.front_end.n_channels * settings.front_end.n_bands
    features = np.zeros((task.n_variants, n_rows, n_frames), np.float16)
    waves = np.zeros((task.n_variants, settings.n_samples if settings.keep_waves else 0), np.int16)
    rows: list[Row] = []
    original: Tensor | None = None
    sound = audio.read(task.path, channel=settings.channel)
    variants = variant_waves(sound, task.clip, task.n_variants, settings.seed)
    for variant, (wave, parameters) in enumerate(variants):
        try:
            computed = _compute(settings.front_end, wave, variant, parameters, original)
        except InputError as error:
            raise InputError(f"{task.path} ({VARIANTS[variant]}): {error}") from None
        original = computed if original is None else original
        computed = computed[:, :n_frames]  # rounding may have added a sample, and so a frame
        features[variant, :, : computed.shape[1]] = computed.half()
        n_samples = min(len(wave), waves.shape[1])
        waves[variant, :n_samples] = as_int16(wave[:n_samples])
        is_silent = _is_silent(computed, settings.front_end.floor)
        rows.append(_row(variant, parameters, computed.shape[1], len(wave), is_silent, settings))
    return _write(task, settings, features, waves), rows


def prepare_batch(
    tasks: Sequence[ClipTask], settings: WorkerSettings
) -> list[tuple[list[int], list[Row]]]:
    """Do the work of `prepare_clip` for several clips at once, on a GPU.

    Threads that call this share the GPU: one computes while others read and write files.
    """
    import torch

    from neuromusic.features import augment, batch

    sounds = [audio.read(task.path, channel=settings.channel) for task in tasks]
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (task, wave) in enumerate(zip(tasks, sounds, strict=True)):
        groups.setdefault((len(wave), task.n_variants), []).append(index)
    results: dict[int, tuple[list[int], list[Row]]] = {}
    for indices in groups.values():
        members, waves = [tasks[i] for i in indices], [sounds[i] for i in indices]
        drawn = [
            [augment.draw(settings.seed, task.clip, v) for v in range(task.n_variants)]
            for task in members
        ]
        noisy = batch.noisy_waves(waves, drawn)
        with ON_GPU:
            on_device = torch.from_numpy(np.stack(waves)).to(settings.device)
            variants = batch.batch_variants(on_device, noisy, drawn)
            try:
                arrays, rows = _compute_batch(variants, drawn, settings)
            except InputError as error:
                paths = listed([str(task.path) for task in members])
                raise InputError(f"one of {paths}: {error}") from None
        for i, task, features, samples, rows_of_clip in zip(
            indices, members, *arrays, rows, strict=True
        ):
            results[i] = _write(task, settings, features, samples), rows_of_clip
    return [results[i] for i in range(len(tasks))]


def _compute_batch(
    variants: "Iterable[tuple[Tensor, list[int]]]",
    drawn: "Sequence[Sequence[Parameters]]",
    settings: WorkerSettings,
) -> tuple[tuple[NDArray[np.float16], NDArray[np.int16]], list[list[Row]]]:
    """Return (features, samples) of every variant of a batch of clips, and the rows of each clip.

    Features (clips, variants, channels x bands, frames); samples (clips, variants, n_samples).
    """
    import torch

    spec, n_frames = settings.front_end, settings.front_end.n_frames(settings.n_samples)
    kept = settings.n_samples if settings.keep_waves else 0
    features, samples, silent = [], [], []
    rows: list[list[Row]] = [[] for _ in drawn]
    original: Tensor | None = None
    for variant, (waves, lengths) in enumerate(variants):
        if VARIANTS[variant] == "gain" and spec.has_bands_db and original is not None:
            gains = torch.tensor([of_clip[variant]["gain_db"] for of_clip in drawn])
            computed = (original + gains.to(waves.device)[:, None, None]).clamp_min_(spec.floor)
        else:
            computed = compute_batch(spec, waves, lengths)
        original = computed if original is None else original
        counts = [min(spec.n_frames(n), n_frames) for n in lengths]
        inside = torch.arange(n_frames) < torch.tensor(counts)[:, None]
        inside = inside.to(waves.device)[:, None]
        half = pad_or_cut(computed, n_frames).half()
        silent.append(((half == spec.floor) | ~inside).all(2).all(1))
        features.append(half * inside)
        samples.append(as_int16(pad_or_cut(waves, kept)))
        for rows_of_clip, of_clip, count, n in zip(rows, drawn, counts, lengths, strict=True):
            rows_of_clip.append(_row(variant, of_clip[variant], count, n, False, settings))
    is_silent = torch.stack(silent, 1).cpu()
    for rows_of_clip, flags in zip(rows, is_silent, strict=True):
        for row, flag in zip(rows_of_clip, flags, strict=True):
            row["silent"] = bool(flag)
    arrays = torch.stack(features, 1).cpu().numpy(), torch.stack(samples, 1).cpu().numpy()
    return arrays, rows


def pad_or_cut(x: "Tensor", n: int) -> "Tensor":
    """Return ``x`` with ``n`` elements along its last axis, cut or followed by zeros."""
    import torch

    return torch.nn.functional.pad(x[..., :n], (0, max(0, n - x.shape[-1])))


def _row(
    variant: int, parameters: "Parameters", n_frames: int, n_samples: int, is_silent: bool,
    settings: WorkerSettings,
) -> Row:  # fmt: skip
    """Return the columns of rows.tsv for a variant of a clip."""
    return {
        "variant": variant,
        "name": VARIANTS[variant],
        "parameters": json.dumps(parameters),
        "frames": n_frames,
        "samples": min(n_samples, settings.n_samples) if settings.keep_waves else None,
        "silent": is_silent,
    }


def _write(
    task: ClipTask, settings: WorkerSettings, features: NDArray[Any], waves: NDArray[Any]
) -> list[int]:
    """Write the rows of a clip, and return their checksum in each file.

    Raises InputError if the sound file has changed since its hash was recorded. This is detected by
    a second checksum after reading; a second hash would take eight times as long.
    """
    if checksum(task.path) != task.crc:
        raise InputError(f"{task.path}: changed during the preparation; run the same command again")
    blocks = zip(settings.files, (features, waves), strict=False)
    return [file.write(task.first_row, block) for file, block in blocks]


def variant_waves(
    sound: NDArray[np.float32], clip: str, n_variants: int, seed: int
) -> Iterator[tuple["Tensor", "Parameters"]]:
    """Yield (wave, parameters) of the first ``n_variants`` variants of a clip's sound (samples,).

    Sets torch to one thread, permanently: the work is distributed over clips, not within them.
    """
    import torch

    from neuromusic.features import augment

    torch.set_num_threads(1)
    source = augment.Source(sound)
    for variant in range(n_variants):
        parameters = augment.draw(seed, clip, variant)
        yield augment.apply(source, variant, parameters), parameters


def _compute(
    spec: FrontEnd,
    wave: "Tensor",
    variant: int,
    parameters: "Parameters",
    original: "Tensor | None",
) -> "Tensor":
    """Return the features of a variant; those of "gain" in dB follow from the original's."""
    if VARIANTS[variant] == "gain" and spec.has_bands_db and original is not None:
        # The gain is negative, so no value at the floor would rise above it.
        return (original + parameters["gain_db"]).clamp_min_(spec.floor)
    import torch

    return torch.from_numpy(spec.compute(wave.numpy()))


def _is_silent(features: "Tensor", floor: float) -> bool:
    """Return whether all features are at the floor, as float16."""
    return all(float(extreme.half()) == floor for extreme in features.aminmax())


def as_int16(wave: "Tensor") -> "Tensor":
    """Return samples as int16."""
    return (wave * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1).short()
