"""Worker task: turn one sound file into feature rows; kept light so that workers start fast."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.files import checksum
from neuromusic.features.frontends.base import FrontEnd, compute_on_device
from neuromusic.features.writer import Row, RowFile
from neuromusic.stimuli import audio
from neuromusic.stimuli.variants import VARIANTS

if TYPE_CHECKING:  # the main process imports this module, but computes nothing and needs no torch
    from torch import Tensor

    from neuromusic.features.augment import Parameters

FULL_SCALE = 2**15  # of int16 samples


@dataclass(frozen=True)
class WorkerSettings:
    """What is computed for every clip, and where it is written."""

    front_end: FrontEnd
    keep_waves: bool
    seed: int
    device: str
    n_samples: int  # of the longest clip
    files: list[RowFile]  # of the features and, if they are kept, the waves


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

    Raises InputError if the sound file has changed since its hash was recorded. This is detected by
    a second checksum after reading; a second hash would take eight times as long.
    """
    n_frames = settings.front_end.n_frames(settings.n_samples)
    n_rows = settings.front_end.n_channels * settings.front_end.n_bands
    features = np.zeros((task.n_variants, n_rows, n_frames), np.float16)
    waves = np.zeros((task.n_variants, settings.n_samples if settings.keep_waves else 0), np.int16)
    rows: list[Row] = []
    original: Tensor | None = None
    variants = variant_waves(task.path, task.clip, task.n_variants, settings.seed, settings.device)
    for variant, (wave, parameters) in enumerate(variants):
        computed = _compute(settings.front_end, wave, variant, parameters, original)
        original = computed if original is None else original
        computed = computed[:, :n_frames]  # rounding may have added a sample, and so a frame
        features[variant, :, : computed.shape[1]] = computed.half().cpu()
        n_samples = _write_samples(wave, waves[variant])
        rows.append(
            {
                "variant": variant,
                "name": VARIANTS[variant],
                "parameters": json.dumps(parameters),
                "frames": computed.shape[1],
                "samples": n_samples if settings.keep_waves else None,
                "silent": _is_silent(computed, settings.front_end.floor),
            }
        )
    if checksum(task.path) != task.crc:
        raise InputError(f"{task.path}: changed during the preparation; run the same command again")
    blocks = zip(settings.files, (features, waves), strict=False)
    return [file.write(task.first_row, block) for file, block in blocks], rows


def variant_waves(
    path: Path, clip: str, n_variants: int, seed: int, device: str = "cpu"
) -> Iterator[tuple["Tensor", "Parameters"]]:
    """Yield (wave, parameters) of the first ``n_variants`` variants of a clip, on a device.

    Sets torch to one thread, permanently: the work is distributed over clips, not within them.
    """
    import torch

    from neuromusic.features import augment

    torch.set_num_threads(1)
    source = augment.Source(audio.read(path), device)
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
    return compute_on_device(spec, wave)


def _is_silent(features: "Tensor", floor: float) -> bool:
    """Return whether all features are at the floor, as float16."""
    return all(float(extreme.half()) == floor for extreme in features.aminmax())


def _write_samples(wave: "Tensor", out: NDArray[np.int16]) -> int:
    """Write as many samples of a wave as fit into ``out`` as int16; return their number."""
    import torch

    n_samples = min(len(wave), len(out))
    if n_samples:
        pcm = (wave[:n_samples] * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1)
        out[:n_samples] = pcm.to(torch.int16).cpu()
    return n_samples
