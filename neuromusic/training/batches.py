"""Batches of a training: which windows an epoch contains, drawn from the seed and the epoch.

A batch is row numbers of the prepared set and start frames; the windows are cut on the device.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from neuromusic.features import windows
from neuromusic.features.prepared import PreparedSet
from neuromusic.training.config import Config

Batch = tuple[Tensor, Tensor]  # rows (B,), starts (B,)


def derive_seed(*parts: int) -> int:
    """Return one 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def band_statistics(
    data: PreparedSet, rows: NDArray[np.int64], normalisation: str
) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation that standardise each band of the input.

    Both are float32 (channels x bands,), computed over the given rows. ``normalisation`` is

    * "band": mean and deviation of each band;
    * "band-mean": the mean of each band, and one deviation for all (the root of the mean variance),
      so that bands with large fluctuations keep them;
    * "global", and "clip", for which each clip has been normalised already: one mean and one
      deviation for all bands.
    """
    total = np.zeros(data.features.shape[1])
    squares = np.zeros_like(total)
    count = 0
    for row in rows:
        x = data.row_features(int(row)).astype(np.float64)
        total += x.sum(1)
        squares += np.square(x).sum(1)
        count += x.shape[1]
    mean, square = total / count, squares / count
    if normalisation in ("global", "clip"):
        mean, square = np.full_like(mean, mean.mean()), np.full_like(mean, square.mean())
    variance = np.maximum(square - mean**2, 1e-6 * data.scale**2)
    if normalisation == "band-mean":
        variance = np.full_like(mean, variance.mean())
    return torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(variance)).float()


def draw_windows(
    data: PreparedSet, rows: NDArray[np.int64], config: Config, window: int, epoch: int
) -> list[Batch]:
    """Draw the batches of one epoch: ``windows_per_epoch`` windows of ``window`` frames.

    Each window is cut from the next clip in a random order (every clip is drawn equally often, give
    or take one) and from a random variant of it, at a random start where it contains some sound.
    The last batch includes the remainder, so that no batch is too small for batch normalisation.
    """
    rng = np.random.default_rng([config.train.seed, 1, epoch])
    n = config.data.windows_per_epoch
    drawn = _draw_rows(data, rows, n, rng)
    starts = _draw_starts(data, drawn, window, rng)
    size = config.train.batch_size
    cuts = list(range(size, n - size + 1, size))
    return [
        (torch.from_numpy(batch_rows), torch.from_numpy(batch_starts))
        for batch_rows, batch_starts in zip(
            np.split(drawn, cuts), np.split(starts, cuts), strict=True
        )
    ]


def _draw_rows(
    data: PreparedSet, rows: NDArray[np.int64], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw n rows: all clips in random order, again and again, and a random row of each."""
    _, clip_index = np.unique(data.rows["clip"].to_numpy()[rows], return_inverse=True)
    by_clip = np.split(
        rows[np.argsort(clip_index, kind="stable")], np.cumsum(np.bincount(clip_index))[:-1]
    )
    n_rounds = -(-n // len(by_clip))
    clips = np.concatenate([rng.permutation(len(by_clip)) for _ in range(n_rounds)])[:n]
    return np.array([rng.choice(by_clip[clip]) for clip in clips])


def _draw_starts(
    data: PreparedSet, rows: NDArray[np.int64], window: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw a start frame in each row from which a window contains some sound."""
    n_starts = data.rows["frames"].to_numpy()[rows] - window + 1
    uncertain = np.flatnonzero(data.may_contain_silence(rows, window))
    possible = {index: _starts_with_sound(data, int(rows[index]), window) for index in uncertain}
    for index, starts in possible.items():
        n_starts[index] = len(starts)
    drawn: NDArray[np.int64] = rng.integers(0, n_starts)
    for index, starts in possible.items():
        drawn[index] = starts[drawn[index]]
    return drawn


def _starts_with_sound(data: PreparedSet, row: int, window: int) -> NDArray[np.int64]:
    return np.flatnonzero(windows.windows_with_sound(data.frames_with_sound(row), window))


def score_windows(data: PreparedSet, rows: NDArray[np.int64], window: int, hop: int) -> list[Batch]:
    """Return one batch per row: its windows with sound, cut every ``hop`` frames."""
    batches = []
    for row in rows:
        starts = torch.tensor(windows.starts_with_sound(data.frames_with_sound(row), window, hop))
        batches.append((torch.full((len(starts),), int(row)), starts))
    return batches


def rows_as_tensor(data: PreparedSet) -> Tensor:
    """Return all rows, (rows, channels x bands, frames), in the units in which they are stored."""
    if not data.normalise_clips:
        return torch.from_numpy(data.features)  # memory-mapped: on a CPU nothing is copied
    out = np.zeros(data.features.shape, np.float16)
    for row in range(len(out)):
        x = data.row_features(row)
        out[row, :, : x.shape[1]] = x
    return torch.from_numpy(out)


def to_loader(batches: list[Batch], device: torch.device) -> DataLoader[Batch]:
    """Return batches on the device, in the form that Lightning expects.

    All batches of an epoch are copied at once: the device would have to wait for many small copies.
    """
    sizes = [len(rows) for rows, _ in batches]
    rows, starts = (torch.cat(part).to(device) for part in zip(*batches, strict=True))
    on_device = list(zip(rows.split(sizes), starts.split(sizes), strict=True))
    return DataLoader(on_device, batch_size=None)  # type: ignore[arg-type]  # a list is enough
