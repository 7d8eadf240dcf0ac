"""Prediction in blocks against a plain loop over all windows."""

import numpy as np
import pytest
import soundfile
import torch
from conftest import RATE_HZ, tone_clip

from neuromusic.core.errors import InputError
from neuromusic.evaluation.predict import predict_files
from neuromusic.pipeline.predict import predict
from neuromusic.stimuli import audio


def plain_prediction(trained, path, cuts):
    """Return the probabilities of one file, from a loop over the windows of its blocks."""
    spec = trained.network.spec
    total, n = 0.0, 0
    for block in np.split(audio.read(path), cuts):
        mel, has_sound = trained.features_of(block)
        for start in range(0, mel.shape[1], trained.hop_frames):
            start = min(start, mel.shape[1] - spec.n_frames)
            stop = start + spec.n_frames
            if has_sound[start:stop].any():
                with torch.no_grad():
                    logits = trained.network(torch.from_numpy(mel[None, :, start:stop]))
                total, n = total + torch.log_softmax(logits[0].double(), 0).numpy(), n + 1
            if stop == mel.shape[1]:
                break
    return np.exp(total / n) / np.exp(total / n).sum()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two and a half minutes with some seconds of silence, and a short file."""
    root = tmp_path_factory.mktemp("files")
    waves = [np.concatenate([tone_clip(n, 0) for n in range(10)]), tone_clip(3, 0, 7.0)]
    waves[0][30 * RATE_HZ : 45 * RATE_HZ] = 0
    paths = [root / "long.flac", root / "short.wav"]
    for path, wave in zip(paths, waves, strict=True):
        soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
    return paths


def test_blocks_give_the_same_as_a_plain_loop_over_their_windows(sound_run, files):
    cuts = ([60 * RATE_HZ, 120 * RATE_HZ], [])
    expected = [plain_prediction(sound_run, *pair) for pair in zip(files, cuts, strict=True)]
    p = np.exp(predict_files(files, sound_run))
    np.testing.assert_allclose(p, expected, rtol=1e-5)
    assert np.abs(p[0] - p[1]).max() > 1e-3
    np.testing.assert_array_equal(np.exp(predict_files(files[::-1], sound_run)), p[::-1])


def test_the_table_has_one_row_per_file(sound_run, files):
    table = predict(sound_run.directory, files[1])
    assert list(table) == ["file", "predicted", "probability", *sound_run.classes]
    assert table["file"].tolist() == [str(files[1])]
    assert table[sound_run.classes].idxmax(axis=1).tolist() == table["predicted"].tolist()
    assert table["probability"][0] == table[sound_run.classes].to_numpy().max()


def test_a_silent_file_is_refused(sound_run, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(5 * RATE_HZ), RATE_HZ)
    with pytest.raises(InputError, match=r"silent\.wav: is silent"):
        predict(sound_run, [tmp_path / "silent.wav"])
