"""Search for similar clips."""

import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance
import soundfile
import torch
from helpers import TINY

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.evaluation import similarity
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.pipeline.similar import similar
from neuromusic.pipeline.train import train
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.trained import load_network

SETTINGS = {
    "data": {"window_s": 5.0, "windows_per_epoch": 16, "validation_runs": 0},
    "model": {"options": TINY},
    "train": {"epochs": 1, "batch_size": 8},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_clips):
    """Six clips in genre folders, and a network that was trained on them."""
    root = tmp_path_factory.mktemp("similar")
    for genre in ("blues", "rock", "pop"):
        (root / "clips" / genre).mkdir(parents=True)
        for path in sorted(small_clips.glob(f"{genre}.*"))[:2]:
            shutil.copy(path, root / "clips" / genre)
    lists = make_file_lists(
        Corpus("folder", root / "clips"), split="1:0:1", out=root / "lists", link="copy"
    )
    data = prepare(lists, out=root / "prepared", machine=Machine(workers=1))
    train(SETTINGS, data, out=root / "network")
    return root


@pytest.fixture
def search(place, caplog):
    """Search in the place's clips; return the table and the messages."""
    caplog.set_level(logging.INFO, "neuromusic")

    def run_search(clip="clips/rock/rock.00001_15s.wav", **options):
        caplog.clear()
        table = similar(place / "network", place / clip, among=place / "clips", **options)
        return table, caplog.messages

    return run_search


def test_the_most_similar_clip_is_the_clip_itself(place, search, tmp_path):
    table, messages = search(index=tmp_path / "index.npz")
    assert messages[-1].startswith("computed 6 clips, 0 were in")
    assert table["file"][0] == str(place / "clips/rock/rock.00001_15s.wav")
    assert table["similarity"][0] == pytest.approx(1)
    assert list(table["rank"]) == [1, 2, 3, 4, 5, 6]
    assert table["similarity"].is_monotonic_decreasing


def test_a_second_search_computes_nothing(search, tmp_path):
    index = tmp_path / "index.npz"
    table, _ = search(index=index)
    before = index.read_bytes()
    again, messages = search(index=index, k=2)
    assert messages == [f"computed 0 clips, 6 were in {index}"]
    pd.testing.assert_frame_equal(again, table.head(2))
    assert index.read_bytes() == before


def test_only_new_files_are_computed(place, search, tmp_path):
    index = tmp_path / "index.npz"
    search(index=index)
    moved = place / "clips" / "moved.wav"
    damaged = place / "clips" / "blues" / "damaged.wav"
    shutil.copy(place / "clips/pop/pop.00000_15s.wav", moved)
    damaged.write_bytes(b"RIFF")
    try:
        table, messages = search("clips/pop/pop.00000_15s.wav", index=index)
    finally:
        moved.unlink()
        damaged.unlink()
    assert "left out: " in messages[0]
    assert "damaged.wav: is not a readable sound file" in messages[0]
    assert messages[-1].startswith("computed 0 clips, 7 were in")
    assert set(table["similarity"][:2].round(6)) == {1.0}


def test_an_index_for_other_weights_or_stages_or_with_damage_is_not_replaced(search, tmp_path):
    index = tmp_path / "index.npz"
    search(index=index)
    before = index.read_bytes()
    with pytest.raises(InputError, match=r"is not an index of stage PB .*--overwrite"):
        search(index=index, stage="PB")
    assert index.read_bytes() == before
    _, messages = search(index=index, stage="PB", overwrite=True)
    assert messages[-1].startswith("computed 6 clips")
    assert similarity.load_index(index, "other weights", "PB").vectors == {}
    index.write_bytes(index.read_bytes()[:-40])
    with pytest.raises(InputError, match="is not an index of stage GRU"):
        search(index=index)
    _, messages = search(index=index, overwrite=True)
    assert messages[-1].startswith("computed 6 clips")


def test_the_index_of_a_network_itself_is_computed_again_if_it_is_damaged(place, search):
    search()
    index = place / "network/index-GRU.npz"
    index.write_bytes(index.read_bytes()[:-40])
    _, messages = search()
    assert messages[-1].startswith("computed 6 clips")


def test_the_vector_is_the_mean_over_time_of_the_activations(place, tmp_path):
    trained = load_network(place / "network")
    wave, rate = soundfile.read(place / "clips/rock/rock.00001_15s.wav", dtype="float32")
    wave = wave[: (trained.network.spec.n_frames - 1) * MelSpec().hop]  # one window
    soundfile.write(tmp_path / "one.wav", wave, rate, subtype="FLOAT")
    activations = trained.network.activations(torch.from_numpy(log_mel(wave))[None])
    for stage in ("T2T3", "GRU"):
        vector = similarity.clip_vector(tmp_path / "one.wav", trained, stage)
        expected = activations[stage][0].flatten(0, -2).mean(-1).detach()
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_the_cosine_agrees_with_scipy():
    rng = np.random.default_rng(0)
    vector, others = rng.standard_normal(7), rng.standard_normal((20, 7))
    rows, cosine = similarity.nearest(vector, others, 5)
    theirs = 1 - scipy.spatial.distance.cdist(vector[None], others, "cosine")[0]
    np.testing.assert_array_equal(rows, np.argsort(-theirs)[:5])
    np.testing.assert_allclose(cosine, theirs[rows])
    assert similarity.nearest(vector, np.zeros((1, 7)), 5)[1] == [0]


def test_the_command(place, runner, tmp_path):
    clip = ["--clip", str(place / "clips/pop/pop.00001_15s.wav")]
    base = ["similar", str(place / "network"), *clip]
    among = ["--among", str(place / "clips"), "-k", "3"]
    result = runner.invoke(cli, [*base, *among, "--out", str(tmp_path / "t.tsv")])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t")
    assert list(table) == ["rank", "file", "similarity"]
    assert len(table) == 3
    assert (place / "network" / "index-GRU.npz").is_file()
    for wrong, message in (
        ([*among, "--stage", "PBB"], "did you mean 'PB'"),
        (["--among", str(tmp_path)], "contains no sound files"),
        (["--among", str(tmp_path / "nowhere")], "no such directory"),
    ):
        result = runner.invoke(cli, [*base, *wrong])
        assert result.exit_code == 2
        assert message in result.stderr
    result = runner.invoke(cli, [*base[:2], "--clip", "nowhere.wav", *among])
    assert (result.exit_code, "nowhere.wav: no such file" in result.stderr) == (2, True)


def test_a_network_trained_on_precomputed_features_is_refused(tiny_run, small_clips):
    clip = next(small_clips.iterdir())
    with pytest.raises(InputError, match="precomputed features"):
        similar(tiny_run, clip, among=small_clips, k=3)
