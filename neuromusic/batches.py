"""The batches of a training: rows and starts from (seed, epoch), and the cut on the device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from neuromusic import timing
from neuromusic.config import Config
from neuromusic.store import PreparedSet

Batch = tuple[Tensor, Tensor]  # rows (B,), starts (B,)


def derive_seed(*parts: int) -> int:
    """Return one 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def band_statistics(data: PreparedSet, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return each mel band's mean over rows, and the deviation from it over all bands, (n_mels,).

    One deviation for all, so that a lively band stays livelier than a dull one.
    """
    total = np.zeros(data.features.shape[1])
    squares = np.zeros_like(total)
    count = 0
    for row in rows:
        x = data.row_features(int(row)).astype(np.float64)
        total += x.sum(1)
        squares += np.square(x).sum(1)
        count += x.shape[1]
    mean = total / count
    deviation = np.sqrt(np.mean(np.maximum(squares / count - mean**2, 1e-6)))
    return torch.from_numpy(mean).float(), torch.full((len(mean),), float(deviation))


def draw_windows(
    data: PreparedSet, rows: NDArray[np.int64], config: Config, window: int, epoch: int
) -> list[Batch]:
    """Draw the batches of one epoch: ``windows_per_epoch`` windows, evenly from all clips.

    For each window a clip (every clip equally often, up to one), one of its variants, and a start
    from which it holds some sound. The last batch takes what is left over, so that none is too
    small for batch normalisation.
    """
    rng = np.random.default_rng([config.train.seed, 1, epoch])
    clips = data.rows["clip"].to_numpy()[rows]
    _, clip_of = np.unique(clips, return_inverse=True)
    by_clip = np.split(
        rows[np.argsort(clip_of, kind="stable")], np.cumsum(np.bincount(clip_of))[:-1]
    )
    n = config.data.windows_per_epoch
    turns = [rng.permutation(len(by_clip)) for _ in range(-(-n // len(by_clip)))]
    chosen = np.array([rng.choice(by_clip[clip]) for clip in np.concatenate(turns)[:n]])
    free = open_starts(data, chosen, window)
    drawn = rng.integers(0, free.sum(1))
    starts = (free.cumsum(1) > drawn[:, None]).argmax(1)
    size = config.train.batch_size
    cuts = list(range(size, n - size + 1, size))
    return [
        (torch.from_numpy(r), torch.from_numpy(s))
        for r, s in zip(np.split(chosen, cuts), np.split(starts, cuts), strict=True)
    ]


def score_windows(data: PreparedSet, rows: NDArray[np.int64], window: int, hop: int) -> list[Batch]:
    """Return one batch a row: all of its windows that hold sound."""
    batches = []
    for row, free in zip(rows, open_starts(data, rows, window), strict=True):
        every = np.array(timing.window_starts(int(data.rows["frames"].iat[row]), window, hop))
        starts = torch.from_numpy(every[free[every]])
        batches.append((torch.full((len(starts),), int(row)), starts))
    return batches


def open_starts(data: PreparedSet, rows: NDArray[np.int64], window: int) -> NDArray[np.bool_]:
    """Return where windows of rows may start, (rows, starts): inside the row, and with sound."""
    last = data.rows["frames"].to_numpy()[rows] - window
    inside = np.arange(data.features.shape[2] - window + 1) <= last[:, None]
    return inside & timing.windows_with_sound(data.sounds(rows), window)


def cut(features: Tensor, rows: Tensor, starts: Tensor, window: int) -> Tensor:
    """Cut windows (B, mels, window) float32 out of features (rows, mels, frames) on the device."""
    frames = starts[:, None] + torch.arange(window, device=starts.device)  # (B, window)
    return features[rows[:, None], :, frames].transpose(1, 2).float()


def loader(batches: list[Batch]) -> DataLoader[Batch]:
    """Return batches in the form in which Lightning takes them."""
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list will do
