"""Preparing a set: its rows, equal bytes on any machine, and inputs that are refused."""

import hashlib
import json
import os
import subprocess
import sys
import time
import zlib

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from helpers import write_features

from neuromusic.core.errors import InputError, ResourceError
from neuromusic.core.parallel import Machine
from neuromusic.design.lists import read_lists
from neuromusic.features.augment import Source, apply, draw
from neuromusic.features.frontends.base import front_end
from neuromusic.features.prepared import open_prepared
from neuromusic.features.writer import Journal
from neuromusic.pipeline.augment import augment
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare, prepare_features
from neuromusic.stimuli.audio import read
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.batches import draw_windows, score_windows
from neuromusic.training.config import Config, Data
from neuromusic.training.selection import select

ONE = Machine(workers=1)


@pytest.fixture(scope="module")
def lists(small_clips, tmp_path_factory):
    """Lists of two classes with three clips each, one of them for the test."""
    root = tmp_path_factory.mktemp("lists")
    for genre in ("blues", "rock"):
        (root / "tree" / genre).mkdir(parents=True)
        for path in small_clips.glob(f"{genre}.*"):
            (root / "tree" / genre / path.name).symlink_to(path)
    corpus = Corpus("folder", root / "tree")
    return make_file_lists(corpus, split="2:0:1", out=root / "run_dataset")


@pytest.fixture(scope="module")
def prepared(lists):
    return prepare(lists, out=lists.parent / "prepared", seed=7, machine=ONE)


def test_only_training_clips_are_augmented(prepared):
    counts = prepared.rows.groupby(["split", "clip"])["variant"].apply(list)
    assert (counts["train"].map(len) == 10).all()
    assert (counts["test"].map(len) == 1).all()
    assert len(prepared.rows) == 42
    assert prepared.classes == ["blues", "rock"]


def test_rows_equal_librosas_log_mel(prepared, lists):
    for row in prepared.rows[prepared.rows["variant"].isin([0, 7])].itertuples():
        wave, _ = librosa.load(lists / row.genre / row.clip, sr=None)
        wave = wave * 10 ** (json.loads(row.parameters).get("gain_db", 0) / 20)
        mel = librosa.feature.melspectrogram(
            y=wave, sr=22050, n_fft=1024, hop_length=512, pad_mode="constant"
        )
        theirs = librosa.power_to_db(mel, amin=1e-8, top_db=None)
        assert row.frames == theirs.shape[1] == 646
        np.testing.assert_allclose(prepared.row_features(row.row), theirs, atol=0.05)  # float16


def test_the_recorded_parameters_are_those_of_the_seed(prepared):
    for row in prepared.rows.itertuples():
        assert json.loads(row.parameters) == draw(7, row.clip, row.variant)


@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(prepared, lists):
    other = prepare(lists, out=lists.parent / "prepared2", seed=7, machine=Machine(workers=2))
    for name in ("features.npy", "rows.tsv", "prepared.json"):
        content = (prepared.directory / name).read_bytes()
        assert content == (other.directory / name).read_bytes(), name


def test_augment_writes_the_variants_that_prepare_computes(lists, prepared):
    augment(lists, seed=7, machine=ONE)
    table = pd.read_csv(lists / "variants.tsv", sep="\t")
    assert len(table) == 4 * 9
    listed = (lists / "train_list.txt").read_text().splitlines()
    assert sorted(listed) == sorted(
        {*table["path"], *read_lists(lists).query("split == 'train'")["path"]}
    )
    for row in table.iloc[:9].itertuples():
        wave, _ = soundfile.read(lists / row.path, dtype="float32")
        kept = prepared.rows[
            (prepared.rows["clip"] == row.clip) & (prepared.rows["variant"] == row.variant)
        ]
        mel = librosa.feature.melspectrogram(
            y=wave, sr=22050, n_fft=1024, hop_length=512, pad_mode="constant"
        )
        theirs = librosa.power_to_db(mel, amin=1e-8, top_db=None)
        ours = prepared.row_features(int(kept["row"].iat[0]))
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99, row.name


def test_a_window_never_contains_padding(prepared):
    frames = prepared.rows["frames"].to_numpy()
    assert len(set(frames)) > 1
    config = Config(data=Data(windows_per_epoch=200, validation_runs=0))
    chosen = select(prepared, config.data)
    window = int(frames.min()) - 3
    batches = draw_windows(prepared, chosen.train, config, window, epoch=0)
    rows = np.concatenate([r.numpy() for r, _ in batches])
    starts = np.concatenate([s.numpy() for _, s in batches])
    assert len(rows) == 200
    assert (starts >= 0).all()
    assert (starts + window <= frames[rows]).all()
    clips = prepared.rows["clip"].to_numpy()[rows]
    assert set(pd.Series(clips).value_counts()) == {50}
    assert len(set(prepared.rows["variant"].to_numpy()[rows])) == 10
    for r, s in score_windows(prepared, chosen.test, window, 100):
        assert (s.numpy() + window <= frames[r.numpy()]).all()


def test_log_mel_from_a_file_is_stored_unchanged(tmp_path):
    train = write_features(tmp_path / "train.npz")
    test = write_features(tmp_path / "test.npz", runs=1, seed=1, first=50)
    data = prepare_features(train, test=test, out=tmp_path / "prepared")
    with np.load(train) as file:
        assert (data.features[:30] == file["features"]).all()
    assert data.rows["split"].tolist() == ["train"] * 30 + ["test"] * 10
    assert data.presentations is not None
    assert len(data.presentations) == 3 * 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.full((30, 64, 97), np.nan)}, r"row 1 .* contains NaN"),
        ({"features": np.zeros((30, 64))}, "expected floats"),
        (
            {"genre": np.array(["blues"])},
            "genre has 1 entries; expected one for each of the 30 clips",
        ),
        ({"clip": np.array([{"a": 1}] * 30, dtype=object)}, "not a readable"),
        ({"frame_s": None}, "has no array frame_s"),
    ],
)
def test_a_file_without_valid_log_mel_is_named(tmp_path, change, message):
    path = write_features(tmp_path / "train.npz")
    arrays = {**np.load(path), **change}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=message) as caught:
        prepare_features(path, out=tmp_path / "prepared")
    assert str(path) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["train.npz"]


def test_a_test_genre_without_training_clips_is_named(tmp_path):
    train = write_features(tmp_path / "train.npz")
    arrays = dict(np.load(write_features(tmp_path / "test.npz", runs=1, first=9)))
    arrays["genre"] = np.array(["polka"] * 10)
    np.savez(tmp_path / "test.npz", **arrays)
    with pytest.raises(InputError, match="polka"):
        prepare_features(train, test=tmp_path / "test.npz", out=tmp_path / "prepared")


def test_a_truncated_or_missing_array_is_named(tmp_path):
    out = tmp_path / "prepared"
    prepare_features(write_features(tmp_path / "train.npz"), out=out)
    content = (out / "features.npy").read_bytes()
    (out / "features.npy").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"features\.npy: is not a readable \.npy file"):
        open_prepared(out)
    (out / "features.npy").unlink()
    with pytest.raises(InputError, match=r"features\.npy: is missing; prepare it again"):
        open_prepared(out)


def librosas_variants(wave, parameters):
    """The ten variants as librosa computes them, with the given parameters."""
    by_name = {row.name: json.loads(row.parameters) for row in parameters.itertuples(index=False)}
    rate_hz = by_name["resample"]["rate_hz"]
    low = librosa.resample(wave, orig_sr=22050, target_sr=rate_hz)
    margin = {name: by_name[name]["margin"] for name in ("harmonic", "percussive")}
    seeded = torch.Generator().manual_seed(by_name["noise"]["noise_seed"])
    noise = torch.randn(len(wave), generator=seeded).numpy()
    ratio = 10 ** (-by_name["noise"]["snr_db"] / 20)
    return {
        "original": wave,
        "noise": wave + noise * np.sqrt(np.mean(wave.astype(float) ** 2)) * ratio,
        "shift": np.roll(wave, round(by_name["shift"]["shift"] * len(wave))),
        "stretch": librosa.effects.time_stretch(wave, rate=by_name["stretch"]["rate"]),
        "pitch": librosa.effects.pitch_shift(
            wave, sr=22050, n_steps=by_name["pitch"]["pitch_semitones"]
        ),
        "speed": librosa.resample(wave, orig_sr=22050 * by_name["speed"]["rate"], target_sr=22050),
        "resample": librosa.resample(low, orig_sr=rate_hz, target_sr=22050),
        "gain": wave * 10 ** (by_name["gain"]["gain_db"] / 20),
        "harmonic": librosa.effects.harmonic(wave, margin=margin["harmonic"]),
        "percussive": librosa.effects.percussive(wave, margin=margin["percussive"]),
    }


def assert_equals_librosas(data, clip, wave):
    rows = data.rows[data.rows["clip"] == clip].reset_index(drop=True)
    theirs = librosas_variants(wave, rows[["name", "parameters"]])
    for row in rows.itertuples():
        mel = librosa.feature.melspectrogram(
            y=theirs[row.name][: len(wave)], sr=22050, n_fft=1024, hop_length=512,
            pad_mode="constant",
        )  # fmt: skip
        expected = librosa.power_to_db(mel, amin=1e-8, top_db=None)
        ours = data.row_features(row.row)
        assert ours.shape == expected.shape, row.name
        least = 0.99 if row.name in ("stretch", "pitch") else 0.999
        assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > least, row.name


def test_every_variant_equals_librosas(prepared, lists):
    train = prepared.rows[prepared.rows["split"] == "train"].iloc[0]
    wave, _ = librosa.load(lists / train["genre"] / train["clip"], sr=None)
    assert_equals_librosas(prepared, train["clip"], wave)


@pytest.mark.slow
def test_every_variant_of_real_music_equals_librosas(shared, tmp_path):
    tree = tmp_path / "tree"
    for genre in ("classical", "metal"):
        (tree / genre).mkdir(parents=True)
        for number in (3, 5):
            source = shared / f"data/gtzan/genres/{genre}/{genre}.{number:05d}.wav"
            wave, rate_hz = soundfile.read(source, frames=15 * 22050)
            soundfile.write(tree / genre / f"{number}.wav", wave, rate_hz)
    lists = make_file_lists(Corpus("folder", tree), split="1:0:1", out=tmp_path / "lists")
    data = prepare(lists, out=tmp_path / "prepared", seed=1, machine=Machine(workers=2))
    for clip in data.rows.query("split == 'train'")["clip"].unique():
        wave, _ = librosa.load(next(lists.rglob(clip)), sr=None)
        assert_equals_librosas(data, clip, wave)


@pytest.mark.parametrize("name", ["logmel", pytest.param("cochleagram", marks=pytest.mark.slow)])
def test_the_gain_variant_equals_the_features_of_the_softer_wave(lists, tmp_path, name):
    """It is computed from the features of the original."""
    data = prepare(lists, out=tmp_path / name, front_end=name, seed=7, machine=ONE)
    row = data.rows[data.rows["name"] == "gain"].iloc[0]
    source = Source(read(lists / row["genre"] / row["clip"]))
    wave = apply(source, row["variant"], json.loads(row["parameters"]))
    direct = front_end(name).compute(wave.numpy())
    np.testing.assert_allclose(data.row_features(int(row["row"])), direct, atol=0.05)  # float16


@pytest.mark.slow
@pytest.mark.posix  # distributed needs the module resource, unless it is on Windows
def test_a_dask_cluster_that_loses_a_worker_writes_the_same_bytes(small_clips, tmp_path):
    tree = tmp_path / "tree"
    for path in sorted(small_clips.glob("*.wav"))[:12]:
        (tree / path.name.split(".")[0]).mkdir(parents=True, exist_ok=True)
        (tree / path.name.split(".")[0] / path.name).symlink_to(path)
    lists = make_file_lists(Corpus("folder", tree), split="2:0:1", out=tmp_path / "lists")
    here = prepare(lists, out=tmp_path / "here", seed=3, machine=ONE).directory
    scheduler = tmp_path / "scheduler.json"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    dask = [sys.executable, "-m", "distributed.cli.dask_{}", "--scheduler-file", str(scheduler)]
    local = ["--host", "127.0.0.1"]
    processes = []

    def start(kind, *more):
        command = [part.format(kind) for part in dask] + [*local, *more]
        processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=elsewhere))

    try:
        start("scheduler", "--port", "0", "--no-dashboard")
        for _ in range(2):
            start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        wait_for(scheduler.is_file)
        address = json.loads(scheduler.read_text())["address"]
        # Relative paths: the workers have another working directory.
        command = [sys.executable, "-m", "neuromusic", "prepare", os.path.relpath(lists, tmp_path)]
        command += ["--seed", "3", "--out", "there", "--dask", address]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
        )
        journal = tmp_path / ".there.partial" / "done.jsonl"
        wait_for(lambda: journal.is_file() and len(journal.read_text().splitlines()) >= 2)
        assert process.poll() is None  # still working
        processes[1].kill()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    finally:
        for each in processes:
            each.kill()
            each.wait()
    for name in ("features.npy", "rows.tsv", "prepared.json"):
        content = (here / name).read_bytes()
        assert content == (tmp_path / "there" / name).read_bytes(), name
        outputs = json.loads((tmp_path / "there" / "provenance.json").read_text())["outputs"]
        assert outputs[name] == hashlib.sha256(content).hexdigest()


def test_rows_that_cannot_be_read_back_are_not_listed(tmp_path):
    """As if a worker on another computer wrote into its own directory of the same name."""
    rows = np.ones((2, 3, 4), np.float16)
    with Journal(tmp_path, (4, 3, 4), None) as journal:
        (file,) = journal.files
        journal.add([file.write(0, rows)], [{"variant": 0}, {"variant": 1}])
        with pytest.raises(
            ResourceError, match=r"features.npy: does not contain what a worker wrote"
        ):
            journal.add([zlib.crc32(rows.tobytes())], [{"variant": 0}, {"variant": 1}])
        assert len(journal.clips) == 1
        assert len((tmp_path / "done.jsonl").read_text().splitlines()) == 1


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.posix  # distributed needs the module resource, unless it is on Windows
def test_a_scheduler_that_does_not_answer_is_named(lists, tmp_path):
    machine = Machine(dask="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match=r"dask='tcp://127\.0\.0\.1:9': no scheduler answers"):
        prepare(lists, out=tmp_path / "p", machine=machine)


def test_a_gpu_computes_the_same_features_as_a_cpu(prepared, lists, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    other = prepare(lists, out=tmp_path / "gpu", seed=7, machine=Machine(2, "cuda"))
    for row in prepared.rows.itertuples():
        a, b = prepared.row_features(row.row), other.row_features(row.row)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.999, row.name
