"""Search by sound, on the small clips."""

import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance
import soundfile
import torch
from helpers import TINY, write_features

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.evaluation import similarity
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import prepare, similar
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.stimuli.corpora import folder
from neuromusic.training.config import make_config
from neuromusic.training.fit import fit
from neuromusic.training.trained import load_network


def settings(seed=0):
    tree = {
        "data": {"window_s": 5.0, "windows_per_epoch": 16, "validation_runs": 0},
        "model": {"options": TINY},
        "train": {"epochs": 1, "batch_size": 8, "seed": seed},
    }
    return make_config(tree, "test")


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_clips):
    root = tmp_path_factory.mktemp("similar")
    for genre in ("blues", "rock", "pop"):
        (root / "clips" / genre).mkdir(parents=True)
        for path in sorted(small_clips.glob(f"{genre}.*"))[:2]:
            shutil.copy(path, root / "clips" / genre)
    files = folder.table(root / "clips")
    lists = make_file_lists(files, "1:0:1", 0, 15.0, root / "lists", "copy", lambda text: None)
    prepare.make_prepared(lists, root / "prepared", 0, 1, lambda text: None)
    fit(settings(), open_prepared(root / "prepared"), root / "run")
    return root


def search(place, *changes, clip="clips/rock/rock.00001_15s.wav"):
    """Search as the command does; return the table and what was said."""
    said = []
    arguments = {"k": 10, "stage": None, "file": None, **dict(changes)}
    table = similar.similar(
        place / "run", place / clip, place / "clips", say=said.append, **arguments
    )
    return table, said


def test_a_clips_nearest_is_itself_and_a_second_search_hears_nothing(place, tmp_path):
    index = ("file", tmp_path / "index.npz")
    table, said = search(place, index)
    assert said[-1].startswith("heard 6 clips, 0 were in")
    assert table["file"][0] == str(place / "clips/rock/rock.00001_15s.wav")
    assert table["similarity"][0] == pytest.approx(1)
    assert list(table["rank"]) == [1, 2, 3, 4, 5, 6]
    assert table["similarity"].is_monotonic_decreasing
    before = index[1].read_bytes()
    again, said = search(place, index, ("k", 2))
    assert said == [f"heard 0 clips, 6 were in {index[1]}"]
    pd.testing.assert_frame_equal(again, table.head(2))
    assert index[1].read_bytes() == before


def test_only_what_is_new_is_heard_and_other_weights_begin_anew(place, tmp_path):
    index = ("file", tmp_path / "index.npz")
    search(place, index)
    moved = place / "clips" / "moved.wav"
    changed = place / "clips" / "blues" / "changed.wav"
    shutil.copy(place / "clips/pop/pop.00000_15s.wav", moved)
    changed.write_bytes(b"RIFF")
    table, said = search(place, index, clip="clips/pop/pop.00000_15s.wav")
    assert "left out: " in said[0]
    assert "changed.wav: is no readable sound file" in said[0]
    assert said[-1].startswith("heard 0 clips, 7 were in")
    assert set(table["similarity"][:2].round(6)) == {1.0}
    moved.unlink()
    changed.unlink()
    _, said = search(place, index, ("stage", "PB"))
    assert said[-1].startswith("heard 6 clips")
    assert similarity.load_index(index[1], "other weights", "PB").vectors == {}
    index[1].write_bytes(index[1].read_bytes()[:-40])
    _, said = search(place, index)
    assert said[-1].startswith("heard 6 clips")


def test_the_vector_is_the_mean_over_time_of_the_activations(place, tmp_path):
    run = load_network(place / "run")
    wave, rate = soundfile.read(place / "clips/rock/rock.00001_15s.wav", dtype="float32")
    wave = wave[: (run.network.spec.n_frames - 1) * MelSpec().hop]  # one window
    soundfile.write(tmp_path / "one.wav", wave, rate, subtype="FLOAT")
    heard = run.network.activations(torch.from_numpy(log_mel(wave))[None])
    for stage in ("T2T3", "GRU"):
        vector = similarity.clip_vector(tmp_path / "one.wav", run, stage)
        expected = heard[stage][0].flatten(0, -2).mean(-1).detach()
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_the_cosine_is_scipys():
    rng = np.random.default_rng(0)
    one, many = rng.standard_normal(7), rng.standard_normal((20, 7))
    rows, cosine = similarity.nearest(one, many, 5)
    theirs = 1 - scipy.spatial.distance.cdist(one[None], many, "cosine")[0]
    np.testing.assert_array_equal(rows, np.argsort(-theirs)[:5])
    np.testing.assert_allclose(cosine, theirs[rows])
    assert similarity.nearest(one, np.zeros((1, 7)), 5)[1] == [0]


def test_the_command(place, runner, tmp_path):
    base = ["similar", str(place / "run"), "--clip", str(place / "clips/pop/pop.00001_15s.wav")]
    among = ["--among", str(place / "clips"), "-k", "3"]
    result = runner.invoke(cli, [*base, *among, "--out", str(tmp_path / "t.tsv")])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t")
    assert list(table) == ["rank", "file", "similarity"]
    assert len(table) == 3
    assert (place / "run" / "index-GRU.npz").is_file()
    for wrong, said in (
        ([*among, "--stage", "PBB"], "did you mean 'PB'"),
        (["--among", str(tmp_path)], "holds no sound files"),
        (["--among", str(tmp_path / "nowhere")], "no such directory"),
    ):
        result = runner.invoke(cli, [*base, *wrong])
        assert result.exit_code == 2
        assert said in result.stderr
    result = runner.invoke(cli, [*base[:2], "--clip", "nowhere.wav", *among])
    assert (result.exit_code, "nowhere.wav: no such file" in result.stderr) == (2, True)


def test_a_run_on_ready_made_features_cannot_listen(tmp_path):
    features = write_features(tmp_path / "train.npz", 1)
    prepare.make_prepared_features(features, None, tmp_path / "prepared", lambda text: None)
    fit(settings(), open_prepared(tmp_path / "prepared"), tmp_path / "run")
    with pytest.raises(InputError, match="ready-made features"):
        similar.similar(tmp_path / "run", features, tmp_path, 3, None, None, print)
