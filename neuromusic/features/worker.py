"""One sound file to the rows of its clip: all that a worker has to know, and quick to import."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromusic.core.errors import InputError
from neuromusic.core.files import checksum
from neuromusic.features.frontends.base import FrontEnd, rows_of_tensor
from neuromusic.features.writer import RowFile
from neuromusic.stimuli import audio
from neuromusic.stimuli.variants import VARIANTS

if TYPE_CHECKING:  # a process that has workers does without torch
    from torch import Tensor


def variant_waves(
    path: Path, clip: str, n_variants: int, seed: int, device: str = "cpu"
) -> Iterator[tuple["Tensor", dict[str, Any]]]:
    """Yield (wave, parameters) of the variants of a clip, on a device.

    Where torch has several threads it keeps to one from here on: the work is spread over clips.
    """
    import torch

    from neuromusic.features import augment

    torch.set_num_threads(1)
    source = augment.Source(audio.read(path), device)
    for variant in range(n_variants):
        parameters = augment.draw(seed, clip, variant)
        yield augment.apply(source, variant, parameters), parameters


@dataclass(frozen=True)
class Wanted:
    """What is to be made of every clip."""

    spec: FrontEnd
    with_waves: bool
    seed: int
    device: str
    n_samples: int  # of the longest clip
    files: list[RowFile]  # for features and, if they are wanted, waves; see `store`


def hear_clip(
    path: Path, clip: str, n_variants: int, wanted: Wanted, crc: int, row: int
) -> tuple[list[int], list[dict[str, Any]]]:
    """Write what a front end makes of the variants of a clip into the rows from ``row`` on.

    What lies beyond the end of a variant is 0. Returns the checksums of what is written, by file,
    and what rows.tsv says of each variant.

    ``crc`` is the checksum of the file before its hash was recorded: that it still is the same now,
    when the file was read, says that what was recorded is what was heard. A second hash would say
    it, too, and take eight times as long. Raises InputError if it has changed.
    """
    import torch

    spec = wanted.spec
    n_frames = spec.n_frames(wanted.n_samples)
    features = np.zeros((n_variants, spec.n_channels * spec.n_bands, n_frames), np.float16)
    waves = np.zeros((n_variants, wanted.n_samples if wanted.with_waves else 0), np.int16)
    rows: list[dict[str, Any]] = []
    made = variant_waves(path, clip, n_variants, wanted.seed, wanted.device)
    original = torch.empty(0)
    for variant, (wave, parameters) in enumerate(made):
        if VARIANTS[variant] == "gain" and spec.has_bands_db:  # softer: nothing leaves the floor
            heard = (original + parameters["gain_db"]).clamp_min_(spec.floor)
        else:
            heard = rows_of_tensor(spec, wave)
        if variant == 0:
            original = heard
        heard = heard[:, :n_frames]  # a length may have been rounded up
        silent = all(float(end.half()) == spec.floor for end in heard.aminmax())
        heard = heard.half().cpu()
        features[variant, :, : heard.shape[1]] = heard
        samples = min(len(wave), waves.shape[1])
        if samples:
            pcm = (wave[:samples] * 2**15).round().clamp(-(2**15), 2**15 - 1)
            waves[variant, :samples] = pcm.to(torch.int16).cpu()
        rows.append(
            {
                "variant": variant,
                "name": VARIANTS[variant],
                "parameters": json.dumps(parameters),
                "frames": heard.shape[1],
                "samples": samples if wanted.with_waves else None,
                "silent": silent,
            }
        )
    if checksum(path) != crc:
        raise InputError(f"{path}: has changed since the work began; type the same again")
    blocks = zip(wanted.files, (features, waves), strict=False)
    return [file.write(row, block) for file, block in blocks], rows
