"""Listening side by side: the same as one after the other."""

import itertools

import numpy as np
import pytest
import soundfile
import torch
from conftest import RATE_HZ, tone_clip

from neuromusic.evaluation.predict import predict_files
from neuromusic.models.inference import in_threads
from neuromusic.stimuli import audio


def test_threads_keep_the_order_and_hold_few_items():
    taken = itertools.count()
    before = torch.get_num_threads()
    squares = in_threads(lambda n: n * n, (next(taken) for _ in range(500)))
    assert [next(squares) for _ in range(3)] == [0, 1, 4]
    assert next(taken) < 30  # not all 500
    squares.close()
    assert torch.get_num_threads() == before
    assert list(in_threads(lambda n: n * n, range(100))) == [n * n for n in range(100)]


def test_the_first_error_ends_it():
    done = in_threads(lambda n: 1 // (n - 5), range(100))
    assert len(list(itertools.islice(done, 5))) == 5
    with pytest.raises(ZeroDivisionError):
        next(done)


def test_files_are_predicted_as_from_a_plain_loop_over_their_windows(sound_run, tmp_path):
    """Two and a half minutes in pieces, with seconds of silence, and a short file after it."""
    run = sound_run
    spec = run.network.spec
    waves = [np.concatenate([tone_clip(n, 0) for n in range(10)]), tone_clip(3, 0, 7.0)]
    waves[0][30 * RATE_HZ : 45 * RATE_HZ] = 0
    paths = [tmp_path / "long.flac", tmp_path / "short.wav"]
    for path, wave in zip(paths, waves, strict=True):
        soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
    expected = []
    for path, cuts in zip(paths, ([60 * RATE_HZ, 120 * RATE_HZ], []), strict=True):
        total, n = 0.0, 0
        for piece in np.split(audio.read(path), cuts):
            mel, sounds = run.hear(piece)
            for start in range(0, mel.shape[1], run.hop_frames):
                start = min(start, mel.shape[1] - spec.n_frames)
                stop = start + spec.n_frames
                if sounds[start:stop].any():
                    with torch.no_grad():
                        logits = run.network(torch.from_numpy(mel[None, :, start:stop]))
                    total, n = total + torch.log_softmax(logits[0].double(), 0).numpy(), n + 1
                if stop == mel.shape[1]:
                    break
        expected.append(np.exp(total / n) / np.exp(total / n).sum())
    got = np.exp(predict_files(paths, run))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert np.abs(got[0] - got[1]).max() > 1e-3
    np.testing.assert_array_equal(np.exp(predict_files(paths[::-1], run)), got[::-1])
