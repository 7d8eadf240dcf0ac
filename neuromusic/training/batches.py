"""The batches of a training: rows and starts from (seed, epoch), and the cut on the device."""

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
    """Return the mean and deviation that standardise each row of the input, (channels x bands,).

    Over the training rows. ``band-mean``: each band's mean and the deviation from it over all
    bands, so that a lively band stays livelier than a dull one; ``band``: each band's own of both;
    ``global`` (and ``clip``, after each clip was normalised by itself): one of both for all.
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
    n_starts = data.rows["frames"].to_numpy()[chosen] - window + 1
    rests = np.flatnonzero(data.may_be_silent(chosen, window))
    heard = {index: open_starts(data, int(chosen[index]), window) for index in rests}
    for index, some in heard.items():
        n_starts[index] = len(some)
    starts = rng.integers(0, n_starts)
    for index, some in heard.items():
        starts[index] = some[starts[index]]
    size = config.train.batch_size
    cuts = list(range(size, n - size + 1, size))
    return [
        (torch.from_numpy(r), torch.from_numpy(s))
        for r, s in zip(np.split(chosen, cuts), np.split(starts, cuts), strict=True)
    ]


def score_windows(data: PreparedSet, rows: NDArray[np.int64], window: int, hop: int) -> list[Batch]:
    """Return one batch a row: all of its windows that hold sound."""
    batches = []
    for row in rows:
        every = windows.window_starts(int(data.rows["frames"].iat[row]), window, hop)
        heard = windows.windows_with_sound(data.sounds(row), window)
        starts = torch.tensor([start for start in every if heard[start]])
        batches.append((torch.full((len(starts),), int(row)), starts))
    return batches


def open_starts(data: PreparedSet, row: int, window: int) -> NDArray[np.int64]:
    """Return where windows of a row may start: inside it, and with some sound."""
    return np.flatnonzero(windows.windows_with_sound(data.sounds(row), window))


def cut(features: Tensor, rows: Tensor, starts: Tensor, window: int) -> Tensor:
    """Cut windows (B, n, window) float32 out of features (rows, n, frames) on the device."""
    # A view of all windows, of which those of the batch are copied, in one step on any device.
    return features.unfold(2, window, 1)[rows, :, starts].float()


def stored(data: PreparedSet) -> Tensor:
    """Return all rows (rows, n, frames) as a tensor, in units of what is stored."""
    if not data.per_clip:
        return torch.from_numpy(data.features)  # memory-mapped: on a CPU nothing is copied
    out = np.zeros(data.features.shape, np.float16)
    for row in range(len(out)):
        x = data.row_features(row)
        out[row, :, : x.shape[1]] = x
    return torch.from_numpy(out)


def loader(batches: list[Batch], device: torch.device) -> DataLoader[Batch]:
    """Return batches on the device in the form in which Lightning takes them.

    All of an epoch go there at once: many small copies would each keep the device waiting.
    """
    sizes = [len(rows) for rows, _ in batches]
    rows, starts = (torch.cat(part).to(device) for part in zip(*batches, strict=True))
    there = list(zip(rows.split(sizes), starts.split(sizes), strict=True))
    return DataLoader(there, batch_size=None)  # type: ignore[arg-type]  # a list will do
