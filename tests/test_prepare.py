"""The prepared set: rows, bytes, and what is refused."""

import json

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers import write_features

from neuromusic import augment, pipeline, staging, stimuli
from neuromusic.batches import draw_windows, score_windows
from neuromusic.config import Config, Data
from neuromusic.datasets import folder
from neuromusic.errors import InputError
from neuromusic.ready_made import prepare_features
from neuromusic.selection import select
from neuromusic.store import open_prepared


def quiet(text):
    pass


@pytest.fixture(scope="module")
def lists(small_clips, tmp_path_factory):
    """Two classes of three clips as class/file, one clip of each kept for the test."""
    root = tmp_path_factory.mktemp("lists")
    for genre in ("blues", "rock"):
        (root / "tree" / genre).mkdir(parents=True)
        for path in small_clips.glob(f"{genre}.*"):
            (root / "tree" / genre / path.name).symlink_to(path)
    files = folder.table(root / "tree")
    return staging.make_file_lists(files, "2:0:1", 0, 15.0, root / "run_dataset", "hard", quiet)


@pytest.fixture(scope="module")
def prepared(lists):
    return pipeline.make_prepared(lists, lists.parent / "prepared", 7, 1, quiet)


def test_only_training_clips_are_augmented(prepared):
    data = open_prepared(prepared)
    counts = data.rows.groupby(["split", "clip"])["variant"].apply(list)
    assert (counts["train"].map(len) == 10).all()
    assert (counts["test"].map(len) == 1).all()
    assert len(data.rows) == 42
    assert data.classes == ["blues", "rock"]


def test_rows_are_what_librosa_hears(prepared, lists):
    data = open_prepared(prepared)
    for row in data.rows[data.rows["variant"].isin([0, 7])].itertuples():
        wave, _ = librosa.load(lists / row.genre / row.clip, sr=None)
        wave = wave * 10 ** (json.loads(row.parameters).get("gain_db", 0) / 20)
        mel = librosa.feature.melspectrogram(
            y=wave, sr=22050, n_fft=1024, hop_length=512, pad_mode="constant"
        )
        theirs = librosa.power_to_db(mel, amin=1e-8, top_db=None)
        assert row.frames == theirs.shape[1] == 646
        np.testing.assert_allclose(data.row_features(row.row), theirs, atol=0.05)  # float16


def test_parameters_can_be_drawn_again(prepared):
    for row in open_prepared(prepared).rows.itertuples():
        assert json.loads(row.parameters) == augment.draw(7, row.clip, row.variant)


def test_workers_change_no_byte(prepared, lists):
    other = pipeline.make_prepared(lists, lists.parent / "prepared2", 7, 2, quiet)
    for name in ("features.npy", "rows.tsv", "prepared.json"):
        assert (prepared / name).read_bytes() == (other / name).read_bytes(), name


def test_augment_writes_what_prepare_hears(lists, prepared):
    staging.write_variants(lists, 7, 1, quiet)
    data = open_prepared(prepared)
    table = pd.read_csv(lists / "variants.tsv", sep="\t")
    assert len(table) == 4 * 9
    listed = (lists / "train_list.txt").read_text().splitlines()
    assert sorted(listed) == sorted(
        {*table["path"], *stimuli.read_lists(lists).query("split == 'train'")["path"]}
    )
    for row in table.iloc[:9].itertuples():
        wave, _ = soundfile.read(lists / row.path, dtype="float32")
        kept = data.rows[(data.rows["clip"] == row.clip) & (data.rows["variant"] == row.variant)]
        mel = librosa.feature.melspectrogram(
            y=wave, sr=22050, n_fft=1024, hop_length=512, pad_mode="constant"
        )
        theirs = librosa.power_to_db(mel, amin=1e-8, top_db=None)
        ours = data.row_features(int(kept["row"].iat[0]))
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99, row.name


def test_no_window_reaches_beyond_its_row(prepared):
    data = open_prepared(prepared)
    frames = data.rows["frames"].to_numpy()
    assert len(set(frames)) > 1
    config = Config(data=Data(windows_per_epoch=200, validation_runs=0))
    chosen = select(data, config.data)
    window = int(frames.min()) - 3
    batches = draw_windows(data, chosen.train, config, window, epoch=0)
    rows = np.concatenate([r.numpy() for r, _ in batches])
    starts = np.concatenate([s.numpy() for _, s in batches])
    assert len(rows) == 200
    assert (starts >= 0).all()
    assert (starts + window <= frames[rows]).all()
    clips = data.rows["clip"].to_numpy()[rows]
    assert set(pd.Series(clips).value_counts()) == {50}
    assert len(set(data.rows["variant"].to_numpy()[rows])) == 10
    for r, s in score_windows(data, chosen.test, window, 100):
        assert (s.numpy() + window <= frames[r.numpy()]).all()


def test_ready_made_features(tmp_path):
    train = write_features(tmp_path / "train.npz")
    test = write_features(tmp_path / "test.npz", runs=1, seed=1, first=50)
    out = pipeline.make_prepared_features(train, test, tmp_path / "prepared", quiet)
    data = open_prepared(out)
    with np.load(train) as file:
        assert (data.features[:30] == file["features"]).all()
    assert data.rows["split"].tolist() == ["train"] * 30 + ["test"] * 10
    assert data.presentations is not None
    assert len(data.presentations) == 3 * 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.full((30, 64, 97), np.nan)}, r"row 1 .* holds NaN"),
        ({"features": np.zeros((30, 64))}, "expected floats"),
        ({"genre": np.array(["blues"])}, "genre has 1 entries for 30 clips"),
        ({"clip": np.array([{"a": 1}] * 30, dtype=object)}, "no readable"),
        ({"frame_s": None}, "has no array frame_s"),
    ],
)
def test_bad_features_are_named(tmp_path, change, message):
    path = write_features(tmp_path / "train.npz")
    arrays = {**np.load(path), **change}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=message) as caught:
        pipeline.make_prepared_features(path, None, tmp_path / "prepared", quiet)
    assert str(path) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["train.npz"]


def test_a_test_genre_that_training_lacks_is_named(tmp_path):
    train = write_features(tmp_path / "train.npz")
    arrays = dict(np.load(write_features(tmp_path / "test.npz", runs=1, first=9)))
    arrays["genre"] = np.array(["polka"] * 10)
    np.savez(tmp_path / "test.npz", **arrays)
    with pytest.raises(InputError, match="polka"):
        prepare_features(train, tmp_path / "test.npz", tmp_path)


def test_a_damaged_set_is_named(tmp_path):
    train = write_features(tmp_path / "train.npz")
    out = pipeline.make_prepared_features(train, None, tmp_path / "prepared", quiet)
    data = (out / "features.npy").read_bytes()
    (out / "features.npy").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="prepared: is damaged"):
        open_prepared(out)
