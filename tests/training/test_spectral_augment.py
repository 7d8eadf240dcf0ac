"""Random changes of training windows."""

import numpy as np
import pytest
import scipy.fft
import torch

from neuromusic.training import spectral_augment
from neuromusic.training.config import Augment

ALL = Augment(
    mixup=0.3, time_masks=2, mel_masks=2, gain_db=3, tilt_db=3, mel_shift=3, time_scale=0.2
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch():
    x = torch.randn(16, 64, 120, generator=rng(9)) * 10 - 30
    return x, torch.eye(10)[torch.arange(16) % 10]


def test_the_same_seed_gives_the_same_batch(batch):
    state = torch.get_rng_state()
    one = spectral_augment.augment_batch(*batch, ALL, 96, 0.05, rng(1))
    two = spectral_augment.augment_batch(*batch, ALL, 96, 0.05, rng(1))
    other = spectral_augment.augment_batch(*batch, ALL, 96, 0.05, rng(2))
    assert (torch.get_rng_state() == state).all()
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])
    assert one[0].shape == (16, 64, 96)
    np.testing.assert_allclose(one[1].sum(1), 1, atol=1e-6)


def test_the_default_settings_change_nothing(batch):
    x, labels = spectral_augment.augment_batch(*batch, Augment(), 120, 0.05, rng())
    assert torch.equal(x, batch[0])
    assert torch.equal(labels, batch[1])


def test_a_mixed_window_lies_between_two_windows(batch):
    x, labels = spectral_augment.mixup(*batch, 0.5, rng())
    for mixed, label, original, original_label in zip(x, labels, *batch, strict=True):
        weight = label[original_label.argmax()].item()
        assert weight >= 0.5
        rest = mixed - weight * original
        fits = [(rest - (1 - weight) * other).abs().max() < 1e-3 for other in batch[0]]
        assert any(fits) or weight == 1


def test_gain_is_one_number_per_window(batch):
    x, _ = spectral_augment.augment_batch(*batch, Augment(gain_db=3), 120, 0.05, rng())
    change = (x - batch[0]).flatten(1)
    assert (change.std(1) < 1e-4).all()
    assert change.mean(1).abs().max() <= 3
    assert change.mean(1).max() - change.mean(1).min() > 1


def test_tilt_is_a_smooth_equaliser_of_the_requested_deviation():
    curves = spectral_augment.tilt(4000, 64, 6.0, torch.zeros(1), rng())[:, :, 0].numpy()
    assert curves.shape == (4000, 64)
    np.testing.assert_allclose(curves.mean(1), 0, atol=1e-3)  # no gain
    assert np.sqrt((curves**2).mean()) == pytest.approx(6 / np.sqrt(2), rel=0.05)
    spectrum = np.abs(scipy.fft.dct(curves, axis=1))
    assert spectrum[:, 5:].max() < 1e-3 * spectrum.max()


def test_bands_shift_by_at_most_the_requested_number():
    x = -((torch.arange(64.0)[:, None] - 30) ** 2).expand(200, 64, 40)
    peak = spectral_augment.warp(x, 40, 0.0, 4, rng()).mean(2).argmax(1)
    assert 26 <= peak.min() <= 27
    assert 33 <= peak.max() <= 34


@pytest.mark.parametrize("dim", [1, 2])
def test_a_mask_replaces_one_stretch(batch, dim):
    x = batch[0]
    out = spectral_augment.mask(x, dim, 12, rng())
    masked = (out != x).all(3 - dim)  # (batch, bands or frames)
    assert torch.equal((out != x).any(3 - dim), masked)
    for row in masked.numpy():
        index = np.flatnonzero(row)
        assert len(index) <= 12
        assert len(index) == 0 or index[-1] - index[0] == len(index) - 1
    assert masked.any()
    assert not masked[:, 0].all()  # not always at the beginning
    mean = np.broadcast_to(x.numpy().mean((0, 2), keepdims=True), x.shape)
    changed = (out != x).numpy()
    np.testing.assert_allclose(out.numpy()[changed], mean[changed], atol=1e-4)


def test_a_warp_without_changes_returns_the_middle(batch):
    x = batch[0]
    torch.testing.assert_close(spectral_augment.warp(x, 120, 0.0, 0, rng()), x, atol=1e-3, rtol=0)
    middle = spectral_augment.warp(x, 100, 0.0, 0, rng())
    torch.testing.assert_close(middle, x[..., 10:110], atol=1e-3, rtol=0)


def test_a_warp_changes_the_tempo_by_at_most_the_requested_factor():
    t = torch.arange(240.0)
    x = torch.sin(2 * torch.pi * t / 20).expand(64, 8, 240)
    out = spectral_augment.warp(x, 160, 0.3, 0, rng())
    spectrum = torch.fft.rfft(out[:, 0] * torch.hann_window(160), n=4096).abs()
    tempo = spectrum.argmax(1) / 4096 * 20
    assert tempo.min() > 1 / 1.31
    assert tempo.max() < 1.31
    assert tempo.max() - tempo.min() > 0.3
