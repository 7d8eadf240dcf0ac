"""Batches of clips on a GPU: the same variants and features as one clip at a time on the CPU."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neuromusic.features import augment, batch, worker
from neuromusic.features.frontends.base import front_end
from neuromusic.stimuli import audio, synthetic
from neuromusic.stimuli.variants import VARIANTS

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CLIPS = ["rock.00001_15s.wav", "jazz.00002_15s.wav", "pop.00003_15s.wav"]
MEDIANS_DB = 50  # the CPU's medians have 9 bits


def waves(n_samples: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    t = np.arange(n_samples) / audio.RATE_HZ
    tones = [np.sin(2 * np.pi * hz * t) * (np.mod(t * 3, 1) < 0.5) for hz in (220, 441, 1500)]
    noise = rng.standard_normal((len(tones), n_samples))
    tones[2][10_000:15_000] = noise[2, 10_000:15_000] = 0  # digital silence
    return [np.float32(0.6 * tone + 0.1 * e) for tone, e in zip(tones, noise, strict=True)]


def drawn(seed: int, n_variants: int = len(VARIANTS)) -> list[list[dict[str, float]]]:
    return [[augment.draw(seed, clip, v) for v in range(n_variants)] for clip in CLIPS]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_samples", [44_100, 33_333, 2_600, 700, 1])
@pytest.mark.parametrize("seed", range(4))
def test_each_variant_of_a_batch_equals_that_of_the_clip_alone(device, n_samples, seed):
    sounds, parameters = waves(n_samples), drawn(seed)
    on_device = torch.from_numpy(np.stack(sounds)).to(device)
    noisy = batch.noisy_waves(sounds, parameters)
    made = list(batch.batch_variants(on_device, noisy, parameters))
    assert len(made) == len(VARIANTS)
    for variant, (several, lengths) in enumerate(made):
        for wave, sound, of_clip, n in zip(several, sounds, parameters, lengths, strict=True):
            expected = augment.apply(augment.Source(sound), variant, of_clip[variant])
            assert n == len(expected), VARIANTS[variant]
            error = (wave[:n].cpu() - expected).square().sum() / (expected.square().sum() + 1e-12)
            least_db = MEDIANS_DB if VARIANTS[variant] in ("percussive", "harmonic") else 90
            assert -10 * np.log10(float(error) + 1e-12) > least_db, VARIANTS[variant]
            assert not wave[n:].any()


def test_a_batch_needs_no_value_from_the_device():
    sounds, parameters = waves(44_100), drawn(0)
    on_device = torch.from_numpy(np.stack(sounds)).to("meta")
    noisy = batch.noisy_waves(sounds, parameters)
    for several, _ in batch.batch_variants(on_device, noisy, parameters):
        assert several.device.type == "meta"
        assert several.shape == on_device.shape


@pytest.mark.parametrize("name", ["logmel", "cochleagram"])
@pytest.mark.parametrize("keep_waves", [False, True])
def test_prepare_batch_writes_what_prepare_clip_writes(name, keep_waves, tmp_path):
    """Clips of two lengths, one of them too quiet, with and without variants."""
    sounds = [synthetic.make_clip("rock", n, 0)[: 44_100 - 9_000 * (n == 1)] for n in range(4)]
    sounds[3] = sounds[3] * 0
    sounds[3][::2000] = 4e-5  # one step of 16 bits, far below the floor
    tasks = []
    for n, sound in enumerate(sounds):
        path = tmp_path / f"rock.{n:05d}_2s.wav"
        audio.write(path, sound)
        n_variants = 1 if n == 2 else len(VARIANTS)
        crc = worker.checksum(path)
        tasks.append(worker.ClipTask(path, path.name, n_variants, 10 * n, crc))
    alone, together = files(keep_waves), files(keep_waves)
    spec = front_end(name)
    one = worker.WorkerSettings(spec, keep_waves, 3, "cpu", 44_100, alone)
    rows = [worker.prepare_clip(task, one)[1] for task in tasks]
    several = worker.WorkerSettings(spec, keep_waves, 3, "cpu", 44_100, together)
    results = worker.prepare_batch(tasks, several)
    assert [rows_of_clip for _, rows_of_clip in results] == rows
    assert [of_clip[0]["silent"] for of_clip in rows] == [False, False, False, True]
    for file, other in zip(alone, together, strict=True):
        assert file.blocks.keys() == other.blocks.keys()
        for row, block in file.blocks.items():
            difference = np.abs(block.astype(np.float64) - other.blocks[row])
            assert difference.max() <= (0.3 if block.dtype == np.float16 else 40)
            assert np.sqrt(np.square(difference).mean()) <= (
                0.02 if block.dtype == np.float16 else 3
            )


def files(keep_waves: bool) -> list[SimpleNamespace]:
    """Files that keep what is written to them."""

    def file() -> SimpleNamespace:
        blocks: dict[int, np.ndarray] = {}
        return SimpleNamespace(blocks=blocks, write=lambda row, block: blocks.update({row: block}))

    return [file() for _ in range(1 + keep_waves)]
