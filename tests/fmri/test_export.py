"""The exported volumes against a plain loop over frames."""

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from helpers import TINY_TOML

from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.design.lists import LIST_COLUMNS, write_lists
from neuromusic.design.orders import design_orders, write_order
from neuromusic.design.timing import Placement
from neuromusic.features.prepared import open_prepared
from neuromusic.features.windows import window_starts
from neuromusic.fmri.layout import on_grid
from neuromusic.fmri.volumes import clip_volumes
from neuromusic.pipeline.activations import activations
from neuromusic.pipeline.export import export
from neuromusic.pipeline.lists import make_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.pipeline.train import train
from neuromusic.training.config import load_config
from neuromusic.training.trained import load_network

WHOLE = Placement(1.5, 0.0, 15.0)  # ten volumes


@pytest.fixture(scope="module")
def root(small_clips, tmp_path_factory):
    """All steps on thirty clips: one training run of 20 trials, one test run of 10 x 4."""
    root = tmp_path_factory.mktemp("export")
    pair = design_orders(sorted(path.name for path in small_clips.iterdir()), 0)
    for order, name in zip(pair, ("trn.mat", "val.mat"), strict=True):
        write_order(order, root / name)
    lists = make_lists(**orders(root), clips=small_clips, out=root / "lists", link="sym")
    prepared = prepare(lists, out=root / "prepared", machine=Machine(workers=2))
    (root / "tiny.toml").write_text(TINY_TOML)
    config = load_config(root / "tiny.toml", ("data.validation_runs=0",))
    network = train(config, prepared, out=root / "run")
    export(network, lists, out=root / "out")
    return root


def orders(root):
    return {"train_order": root / "trn.mat", "test_order": root / "val.mat"}


def volumes(root, stem):
    return pd.read_csv(root / "out/activations" / f"{stem}_volumes.tsv", sep="\t")


def test_every_run_and_stage_is_on_the_grid(root):
    run = load_network(root / "run")
    folder = root / "out/activations"
    sidecar = json.loads((folder / "activations.json").read_text())
    assert sidecar["RepetitionTime"] == 1.5
    assert sidecar["DummyVolumes"] == list(range(10))
    for stem, n_vol in (("task-Training_run-01", 210), ("task-Test_run-01", 410)):
        table = volumes(root, stem)
        assert len(table) == n_vol
        assert table["dummy"].sum() == 10
        assert (table["onset_s"] == 1.5 * np.arange(n_vol)).all()
        for stage in run.network.stages:
            block = np.load(folder / f"{stem}_stage-{stage.name}_activations.npy")
            assert block.shape[0] == n_vol
            assert np.isfinite(block).all()
            assert sidecar["Stages"][stage.name]["NumberOfUnits"] == block.shape[1]
            # The dummy of these runs is the run's own last clip.
            assert (block[:10] == block[-10:]).all()
    assert sidecar["Stages"]["A1"]["BrodmannAreas"] == [41]
    assert sidecar["Stages"]["GRU"]["BrodmannAreas"] == []


def test_repeats_of_a_clip_have_the_same_volumes(root):
    block = np.load(root / "out/activations" / "task-Test_run-01_stage-PB_activations.npy")[10:]
    repeats = block.reshape(4, 100, -1)
    assert (repeats == repeats[0]).all()
    assert repeats[0].std(0).max() > 0


def test_a_volume_is_the_mean_of_its_frames(root):
    """A plain loop over windows, frames and volumes, for one clip and two stages."""
    run = load_network(root / "run")
    data = open_prepared(root / "prepared")
    clip = volumes(root, "task-Test_run-01")["clip"].iloc[50]
    first = int(np.flatnonzero(volumes(root, "task-Test_run-01")["clip"] == clip)[0])
    row = int(data.rows.query("clip == @clip")["row"].iloc[0])
    mel = data.row_features(row)
    spec = run.network.spec
    for stage in run.network.stages[1:3]:
        frames_of = [[] for _ in range(10)]
        for start in window_starts(mel.shape[1], spec.n_frames, run.hop_frames):
            x = torch.from_numpy(mel[None, :, start : start + spec.n_frames])
            with torch.no_grad():
                frames = run.network.activations(x)[stage.name][0].flatten(0, -2).numpy()
            for index in range(frames.shape[1]):
                centre_s = (start + stage.centre + index * stage.pool) * spec.frame_s
                frames_of[int(centre_s // 1.5)].append(frames[:, index])
        expected = np.array([np.mean(frames, axis=0) for frames in frames_of])
        path = root / "out/activations" / f"task-Test_run-01_stage-{stage.name}_activations.npy"
        block = np.load(path)
        # The export computes features from the wav file; those in the prepared set are float16.
        np.testing.assert_allclose(block[first : first + 10], expected, atol=0.02)


def test_lanczos_volumes_follow_the_means_and_end_with_the_clip(root):
    run = load_network(root / "run")
    data = open_prepared(root / "prepared")
    mel = data.row_features(0)
    [(_, mean)] = clip_volumes(run.network, mel, run.hop_frames, [WHOLE])
    [(_, sharp)] = clip_volumes(run.network, mel, run.hop_frames, [WHOLE], "lanczos")
    for name, block in sharp.items():
        assert block.shape == mean[name].shape
        assert np.isfinite(block).all()
        units = mean[name].std(0) > 1e-3
        r = np.corrcoef(block[1:9, units].ravel(), mean[name][1:9, units].ravel())[0, 1]
        assert 0.8 < r < 0.99999
    # A clip that ends at 12 s has no volume after the eighth.
    features = mel[:, : round(12 / data.frame_s)]
    [(_, short)] = clip_volumes(run.network, features, 50, [WHOLE], "lanczos")
    assert (np.isnan(short["A1"]).all(1) == [False] * 8 + [True] * 2).all()
    out = export(root / "run", root / "lists", out=root / "lanczos", binning="lanczos")
    clip = data.rows["clip"].iloc[0]
    first = int(np.flatnonzero(volumes(root, "task-Training_run-01")["clip"] == clip)[-10])
    path = out / "activations/task-Training_run-01_stage-PB_activations.npy"
    block = np.load(path)[first : first + 10]
    np.testing.assert_allclose(block, sharp["PB"], atol=0.02)  # from float16 in the prepared set
    sidecar = json.loads((out / "activations/activations.json").read_text())
    assert "Lanczos" in sidecar["DelayPolicy"]


def test_probabilities_are_written_as_in_bids(root):
    sidecar = json.loads((root / "out" / "stim.json").read_text())
    with gzip.open(root / "out" / "task-Training_run-01_stim.tsv.gz", "rt") as file:
        table = pd.read_csv(file, sep="\t", header=None)
    assert len(sidecar["Columns"]) == table.shape[1] == 10
    assert sidecar["SamplingFrequency"] == pytest.approx(1 / 1.5)
    assert sidecar["StartTime"] == 0.75  # the middle of the first volume
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)


def test_matlab_has_all_runs_and_stages(root):
    content = scipy.io.loadmat(root / "out/activations/activations.mat", squeeze_me=True)
    runs = content["runs"]
    assert [str(run["task"]) for run in runs] == ["Training", "Test"]
    np.testing.assert_array_equal(
        runs[1]["A1"], np.load(root / "out/activations/task-Test_run-01_stage-A1_activations.npy")
    )
    assert runs[1]["dummy"].sum() == 10
    assert list(runs[1]["clip"]) == volumes(root, "task-Test_run-01")["clip"].tolist()
    assert len(content["genres"]) == 10


def test_missing_clips_are_nan_and_named(root, small_clips, caplog):
    some = root / "some"
    some.mkdir()
    for path in sorted(small_clips.iterdir())[1:]:
        (some / path.name).symlink_to(path)
    lists = make_lists(
        **orders(root), clips=some, out=root / "lists2", allow_missing=True, link="sym"
    )
    with caplog.at_level("INFO", "neuromusic"):
        export(root / "run", lists, out=root / "out2")
    gone = sorted(path.name for path in small_clips.iterdir())[0]
    assert f"1 clips are missing; their volumes are NaN: {gone}" in caplog.messages
    for stem in ("task-Training_run-01", "task-Test_run-01"):
        block = np.load(root / "out2/activations" / f"{stem}_stage-GRU_activations.npy")
        missing = (volumes(root, stem)["clip"] == gone).to_numpy()
        assert (np.isnan(block).any(axis=1) == missing).all()
        sidecar = json.loads((root / "out2/stim.json").read_text())
        assert sidecar["MissingVolumes"].get(stem, []) == np.flatnonzero(missing).tolist()


@pytest.mark.posix
def test_the_bytes_do_not_depend_on_the_cores(root):
    """One core; and all cores, with twice as many threads of torch."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    files = {}
    try:
        for name, some in (("one", {min(cores)}), ("all", cores)):
            os.sched_setaffinity(0, some)
            torch.set_num_threads(2 * len(some))
            out = export(root / "run", root / "lists", out=root / name)
            files[name] = {
                path.relative_to(out): path.read_bytes()
                for path in out.rglob("*")
                if path.is_file() and path.name != "provenance.json"
            }
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
    assert len(files["one"]) > 20
    assert files["one"] == files["all"]


def test_an_export_that_is_up_to_date_is_not_written_again(root, caplog):
    before = (root / "out/activations/activations.mat").stat().st_mtime_ns
    with caplog.at_level("INFO", "neuromusic"):
        export(root / "run", root / "lists", out=root / "out")
    assert "is up to date" in caplog.messages[-1]
    assert (root / "out/activations/activations.mat").stat().st_mtime_ns == before


# --- In memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("run", "stem"), [(("train", 1), "Training"), (("test", 1), "Test")])
def test_activations_are_those_that_are_exported(root, run, stem):
    responses = activations(root / "run", root / "lists", run=run)
    assert list(responses) == ["probability", "A1", "belt", "PB", "T2T3", "GRU"]
    with gzip.open(root / "out" / f"task-{stem}_run-01_stim.tsv.gz", "rt") as file:
        probability = pd.read_csv(file, sep="\t", header=None)
    np.testing.assert_allclose(responses.pop("probability"), probability, atol=1e-6)
    for name, block in responses.items():
        assert block.dtype == np.float32
        path = root / "out/activations" / f"task-{stem}_run-01_stage-{name}_activations.npy"
        stored = np.load(path)
        np.testing.assert_array_equal(block, stored)


def test_an_unknown_run_is_refused_with_those_of_the_lists(root):
    with pytest.raises(InputError, match="has no run train 2; its runs are train 1, test 1"):
        activations(root / "run", root / "lists", run=("train", 2))


def test_lists_without_runs_are_refused(root):
    lists = root / "lists3"
    lists.mkdir()
    row = {"split": "train", "genre": "jazz", "track": "jazz.1", "clip": "a.wav"}
    write_lists(lists, {"train": pd.DataFrame([row], columns=list(LIST_COLUMNS))})
    with pytest.raises(InputError, match="has no scanner runs"):
        export(root / "run", lists, out=root / "out3")


def test_responses_are_laid_on_the_volumes_of_their_presentations():
    trials = pd.DataFrame({"volume": [0, 2, 5], "clip": ["a", "missing", "b"]})
    responses = {"a": np.array([[1.0], [2.0]]), "b": np.array([[3.0], [4.0]])}
    grid = on_grid(trials, responses, 6, fill=0.0)
    np.testing.assert_array_equal(grid[:, 0], [1, 2, np.nan, np.nan, 0, 3])
    assert np.isnan(on_grid(trials, responses, 6)[4, 0])
    with pytest.raises(ValueError, match="is empty"):
        on_grid(trials, {}, 6)
