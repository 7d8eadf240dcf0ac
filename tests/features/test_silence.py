"""Padding with silence is neither trained on nor scored, and does not change other draws."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from helpers import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.evaluation.scores import score_rows
from neuromusic.features import augment
from neuromusic.features.frontends.base import frames_with_sound
from neuromusic.features.frontends.mel import log_mel
from neuromusic.features.meta import SetMeta
from neuromusic.features.prepared import PreparedSet
from neuromusic.features.windows import cut_windows
from neuromusic.models.inference import log_probabilities
from neuromusic.models.network import InputSpec
from neuromusic.models.registry import create_model
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.batches import draw_windows, score_windows
from neuromusic.training.config import Config, Data, Train
from neuromusic.training.selection import select

FLOOR_DB = -80.0
AUDIO = SetMeta("audio", {"name": "logmel", "floor_db": FLOOR_DB}, 0.1, 1, 8, ["blues"])
MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(20, 60))).filter(
    lambda has_sound: has_sound.any(axis=1).all()
)


def prepared_set(has_sound, source="audio"):
    """A set in memory, one row per clip, with sound in the frames of a mask (rows, frames)."""
    n_rows, n_frames = has_sound.shape
    features = np.full((n_rows, 8, n_frames), FLOOR_DB, dtype=np.float16)
    # Sound in any single band is enough.
    for row, frame in zip(*np.nonzero(has_sound), strict=True):
        features[row, (row + frame) % 8, frame] = -79.5
    rows = pd.DataFrame({"clip": [f"{i}" for i in range(n_rows)], "frames": n_frames})
    return PreparedSet(Path("set"), features, rows, replace(AUDIO, source=source), None)


def draw(data, window, n=64, seed=0):
    """Draw n windows; return their rows and starts."""
    config = Config(data=Data(windows_per_epoch=n), train=Train(seed=seed, batch_size=16))
    batches = draw_windows(data, np.arange(len(data.rows)), config, window, epoch=3)
    return [
        np.concatenate([part.numpy() for part in parts]) for parts in zip(*batches, strict=True)
    ]


@settings(max_examples=50, deadline=None)
@given(MASKS, st.integers(1, 20), st.integers(0, 9))
def test_a_silent_window_is_never_drawn(has_sound, window, seed):
    rows, starts = draw(prepared_set(has_sound), window, seed=seed)
    assert len(rows) == 64
    for row, start in zip(rows, starts, strict=True):
        assert 0 <= start <= has_sound.shape[1] - window
        assert has_sound[row, start : start + window].any()


def test_every_window_with_sound_is_drawn():
    has_sound = np.zeros((1, 30), dtype=bool)
    has_sound[0, [4, 20]] = True
    _, starts = draw(prepared_set(has_sound), 5, n=2000)
    assert set(starts) == {*range(0, 5), *range(16, 21)}
    assert np.bincount(starts)[[0, 20]].min() > 100


@pytest.mark.parametrize("source", ["audio", "features"])
def test_without_silence_the_starts_are_those_of_the_generator(source):
    data = prepared_set(np.ones((5, 40), dtype=bool), source)
    if source == "features":
        data.features[:, :, 10:] = FLOOR_DB  # the floor of given features is unknown
    rows, starts = draw(data, 7, seed=2)
    rng = np.random.default_rng([2, 1, 3])
    turns = np.concatenate([rng.permutation(5) for _ in range(13)])[:64]
    expected = np.array([rng.choice([clip]) for clip in turns])
    assert (rows == expected).all()
    assert (starts == rng.integers(0, np.full(64, 40 - 7) + 1)).all()


@settings(max_examples=50, deadline=None)
@given(MASKS, st.integers(1, 20), st.integers(1, 9))
def test_scoring_leaves_out_silent_windows_and_no_others(has_sound, window, hop):
    data = prepared_set(has_sound)
    batches = score_windows(data, np.arange(len(has_sound)), window, hop)
    for row, (rows, starts) in enumerate(batches):
        last = has_sound.shape[1] - window
        grid = sorted({*range(0, last + 1, hop), last})
        expected = [start for start in grid if has_sound[row, start : start + window].any()]
        assert starts.tolist() == expected
        assert rows.tolist() == [row] * len(expected)
        mask = data.frames_with_sound(row)
        windows, starts = cut_windows(data.row_features(row), window, hop, mask)
        assert starts == expected
        assert len(windows) == len(expected)
        assert len(cut_windows(data.row_features(row), window, hop)[1]) == len(grid)


def test_a_padded_clip_has_the_score_of_its_sound_alone():
    torch.manual_seed(0)
    spec = InputSpec(64, 40, 0.1, 3)
    network = create_model("cortex-z", spec, 0, **TINY).eval()
    mel = np.full((1, 64, 200), FLOOR_DB, dtype=np.float16)
    mel[0, :, :80] = np.random.default_rng(0).normal(-40, 5, (64, 80))
    rows = pd.DataFrame({"clip": ["a"], "frames": [200]})
    data = PreparedSet(Path("set"), mel, rows, AUDIO, None)
    per_window, _ = score_rows(network, data, np.array([0]), hop=40)
    alone, _ = cut_windows(data.row_features(0)[:, :80], 40, 40)
    assert len(alone) == 2
    np.testing.assert_allclose(per_window[0], log_probabilities(network, alone), rtol=1e-6)


def test_a_silent_variant_is_not_trained_on():
    has_sound = np.ones((4, 30), dtype=bool)
    has_sound[2] = False
    data = prepared_set(has_sound)
    data.features[2, :, 25:] = 0  # beyond the end of the row, so never read
    data.rows["frames"] = [30, 30, 25, 30]
    data.rows["split"], data.rows["run"] = "train", pd.array([pd.NA] * 4, dtype="Int64")
    data.rows["variant"] = [0, 1, 2, 3]
    assert select(data, Data()).train.tolist() == [0, 1, 3]


def test_silent_variants_are_named_and_a_silent_clip_is_refused(tmp_path, caplog):
    """A quiet tick has a silent harmonic part; a quieter one is silent throughout."""
    caplog.set_level(logging.WARNING)
    tick = np.zeros(22050)
    tick[[6000, 15000]] = 0.004
    for name, wave in (("tick", tick), ("soft", tick / 1000)):
        for folder, file, sound in (("clock", "a.wav", wave), ("noise", "b.wav", padded())):
            (tmp_path / name / folder).mkdir(parents=True)
            soundfile.write(tmp_path / name / folder / file, sound, 22050, subtype="FLOAT")
        corpus, out = Corpus("folder", tmp_path / name), tmp_path / f"{name}_lists"
        make_file_lists(corpus, out=out, split="1:0:0", clip_s=1.0, link="copy")
    machine = Machine(workers=1)
    prepare(tmp_path / "tick_lists", out=tmp_path / "prepared", machine=machine)
    assert caplog.messages == ["silent, so not used for training: a.wav (harmonic)"]
    with pytest.raises(InputError, match=r"a\.wav: is too quiet"):
        prepare(tmp_path / "soft_lists", out=tmp_path / "new", machine=machine)
    assert not (tmp_path / "new").exists()


def padded(seconds=1.0, silent_s=1.0):
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(round(seconds * 22050))
    return np.concatenate([sound, np.zeros(round(silent_s * 22050))]).astype(np.float32)


@pytest.mark.parametrize("index", range(10), ids=augment.VARIANTS)
def test_padding_stays_silent_in_every_variant(index):
    parameters = augment.draw(0, "dog.wav", index)
    mel = log_mel(augment.apply(augment.Source(padded()), index, parameters).numpy())
    silent = ~frames_with_sound(mel, FLOOR_DB)
    # Half of the clip is silent; the transforms smear a little sound into it.
    assert 0.35 < silent.mean() < 0.5
    if augment.VARIANTS[index] != "shift":
        assert silent[-10:].all()
        assert not silent[:20].any()


def test_noise_is_added_everywhere_except_in_long_silence():
    wave = padded()
    wave[2000:2400] = 0  # 18 ms are a pause within the sound
    out = augment.add_noise(wave, 20.0, 7)
    assert not out[22050:].any()
    added = (out - wave)[:22050]
    assert (added != 0).mean() > 0.99
    ratio = 10 * np.log10(np.mean(wave[:22050] ** 2) / np.mean(added**2))
    assert ratio == pytest.approx(20, abs=0.2)
    # Without padding: exactly white noise below the RMS of the whole.
    music = wave[:22050]
    noise = torch.randn(len(music), generator=torch.Generator().manual_seed(7)).numpy()
    rms = np.sqrt(np.mean(np.square(music, dtype=np.float64)))
    assert (augment.add_noise(music, 20.0, 7) == music + noise * np.float32(rms * 0.1)).all()


@given(hnp.arrays(np.bool_, st.integers(1, 12)))
def test_digital_silence_of_a_tenth_of_a_second_is_found(loud):
    """Blocks of 0.06 s: a single one is too short, two or more are silence."""
    block = round(0.06 * 22050)
    wave = np.repeat(loud, block).astype(np.float32)
    stretches = np.split(loud, np.flatnonzero(np.diff(loud)) + 1)
    expected = np.concatenate([np.full(len(s), not s[0] and len(s) > 1) for s in stretches])
    is_silent = np.zeros(len(wave), dtype=np.bool_)
    for first, end in augment.digital_silence(wave):
        is_silent[first:end] = True
    assert (is_silent == np.repeat(expected, block)).all()
