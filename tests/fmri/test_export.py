"""The time grid: what is exported against a plain loop over frames."""

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from helpers import TINY_TOML

from neuromusic.design.orders import design_orders, write_order
from neuromusic.features.prepared import open_prepared
from neuromusic.features.windows import window_starts
from neuromusic.fmri.export.formats import Wanted
from neuromusic.fmri.volumes import clip_volumes
from neuromusic.pipeline import export, prepare, train
from neuromusic.pipeline.lists import make_lists
from neuromusic.training.config import load_config
from neuromusic.training.trained import load_network

SAID: list[str] = []


@pytest.fixture(scope="module")
def root(small_clips, tmp_path_factory):
    """The whole way on thirty clips: one training run of 20 trials, one test run of 10 x 4."""
    root = tmp_path_factory.mktemp("export")
    pair = design_orders(sorted(path.name for path in small_clips.iterdir()), 0)
    for order, name in zip(pair, ("trn.mat", "val.mat"), strict=True):
        write_order(order, root / name)
    lists = make_lists(
        root / "trn.mat", root / "val.mat", small_clips, root / "lists", False, "sym", SAID.append
    )
    prepare.make_prepared(lists, root / "prepared", 0, 2, SAID.append)
    (root / "tiny.toml").write_text(TINY_TOML)
    config = load_config(root / "tiny.toml", ("data.validation_runs=0",))
    train.make_run(config, root / "prepared", root / "run", False, SAID.append)
    export.make_export(root / "run", lists, root / "out", SAID.append)
    return root


def volumes(root, stem):
    return pd.read_csv(root / "out" / f"{stem}_volumes.tsv", sep="\t")


def test_every_run_and_stage_is_on_the_grid(root):
    run = load_network(root / "run")
    for stem, n_vol in (("task-Training_run-01", 210), ("task-Test_run-01", 410)):
        table = volumes(root, stem)
        assert len(table) == n_vol
        assert table["dummy"].sum() == 10
        assert (table["onset_s"] == 1.5 * np.arange(n_vol)).all()
        for stage in run.network.stages:
            path = root / "out" / f"{stem}_stage-{stage.name}_activations.npy"
            block = np.load(path)
            assert block.shape[0] == n_vol
            assert np.isfinite(block).all()
            sidecar = json.loads(path.with_suffix(".json").read_text())
            assert sidecar["RepetitionTime"] == 1.5
            assert sidecar["NumberOfUnits"] == block.shape[1]
            assert sidecar["DummyVolumes"] == list(range(10))
            # The dummy of these runs is the run's own last clip.
            assert (block[:10] == block[-10:]).all()
    assert sidecar["BrodmannAreas"] == []


def test_repeats_have_the_same_rows(root):
    block = np.load(root / "out" / "task-Test_run-01_stage-PB_activations.npy")[10:]
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
        heard = [[] for _ in range(10)]
        for start in window_starts(mel.shape[1], spec.n_frames, run.hop_frames):
            x = torch.from_numpy(mel[None, :, start : start + spec.n_frames])
            with torch.no_grad():
                frames = run.network.activations(x)[stage.name][0].flatten(0, -2).numpy()
            for index in range(frames.shape[1]):
                centre_s = (start + stage.centre + index * stage.pool) * spec.frame_s
                heard[int(centre_s // 1.5)].append(frames[:, index])
        expected = np.array([np.mean(frames, axis=0) for frames in heard])
        block = np.load(root / "out" / f"task-Test_run-01_stage-{stage.name}_activations.npy")
        # Export listens to the wav, the prepared set holds float16.
        np.testing.assert_allclose(block[first : first + 10], expected, atol=0.02)


def test_lanczos_volumes_keep_what_is_slow_and_end_with_the_clip(root):
    run = load_network(root / "run")
    data = open_prepared(root / "prepared")
    mel = data.row_features(0)
    _, mean = clip_volumes(run.network, mel, run.hop_frames)
    _, sharp = clip_volumes(run.network, mel, run.hop_frames, "lanczos")
    for name, block in sharp.items():
        assert block.shape == mean[name].shape
        assert np.isfinite(block).all()
        units = mean[name].std(0) > 1e-3
        r = np.corrcoef(block[1:9, units].ravel(), mean[name][1:9, units].ravel())[0, 1]
        assert 0.8 < r < 0.99999
    # A clip that ends at 12 s has no volume after the eighth.
    _, short = clip_volumes(run.network, mel[:, : round(12 / data.frame_s)], 50, "lanczos")
    assert (np.isnan(short["A1"]).all(1) == [False] * 8 + [True] * 2).all()
    out = export.make_export(
        root / "run", root / "lists", root / "lanczos", SAID.append, Wanted(binning="lanczos")
    )
    clip = data.rows["clip"].iloc[0]
    first = int(np.flatnonzero(volumes(root, "task-Training_run-01")["clip"] == clip)[-10])
    block = np.load(out / "task-Training_run-01_stage-PB_activations.npy")[first : first + 10]
    np.testing.assert_allclose(block, sharp["PB"], atol=0.02)  # from float16 in the prepared set
    sidecar = json.loads((out / "task-Training_run-01_stage-PB_activations.json").read_text())
    assert "Lanczos" in sidecar["DelayPolicy"]


def test_probabilities_are_bids(root):
    stem = root / "out" / "task-Training_run-01_stim"
    sidecar = json.loads(stem.with_suffix(".json").read_text())
    with gzip.open(f"{stem}.tsv.gz", "rt") as file:
        table = pd.read_csv(file, sep="\t", header=None)
    assert len(sidecar["Columns"]) == table.shape[1] == 10
    assert sidecar["SamplingFrequency"] == pytest.approx(1 / 1.5)
    assert sidecar["StartTime"] == 0
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)


def test_matlab_has_all_of_it(root):
    content = scipy.io.loadmat(root / "out" / "activations.mat", squeeze_me=True)
    runs = content["runs"]
    assert [str(run["task"]) for run in runs] == ["Training", "Test"]
    np.testing.assert_array_equal(
        runs[1]["A1"], np.load(root / "out" / "task-Test_run-01_stage-A1_activations.npy")
    )
    assert runs[1]["dummy"].sum() == 10
    assert list(runs[1]["clip"]) == volumes(root, "task-Test_run-01")["clip"].tolist()
    assert len(content["genres"]) == 10


def test_missing_clips_are_nan_and_named(root, small_clips):
    some = root / "some"
    some.mkdir()
    for path in sorted(small_clips.iterdir())[1:]:
        (some / path.name).symlink_to(path)
    said = []
    lists = make_lists(
        root / "trn.mat", root / "val.mat", some, root / "lists2", True, "sym", said.append
    )
    export.make_export(root / "run", lists, root / "out2", said.append)
    gone = sorted(path.name for path in small_clips.iterdir())[0]
    assert f"missing: {gone}" in said
    assert f"1 clips are missing; their volumes are NaN: {gone}" in said
    for stem in ("task-Training_run-01", "task-Test_run-01"):
        block = np.load(root / "out2" / f"{stem}_stage-GRU_activations.npy")
        missing = (volumes(root, stem)["clip"] == gone).to_numpy()
        assert (np.isnan(block).any(axis=1) == missing).all()
        sidecar = json.loads((root / "out2" / f"{stem}_stim.json").read_text())
        assert sidecar["MissingVolumes"] == np.flatnonzero(missing).tolist()


def test_the_bytes_do_not_depend_on_the_cores(root):
    """One core, and all with torch as many threads as it likes."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    made = {}
    try:
        for name, some in (("one", {min(cores)}), ("all", cores)):
            os.sched_setaffinity(0, some)
            torch.set_num_threads(2 * len(some))
            out = export.make_export(root / "run", root / "lists", root / name, SAID.append)
            made[name] = {
                path.relative_to(out): path.read_bytes()
                for path in out.rglob("*")
                if path.is_file() and path.name != "provenance.json"
            }
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
    assert len(made["one"]) > 20
    assert made["one"] == made["all"]


def test_nothing_is_done_twice(root):
    before = (root / "out" / "activations.mat").stat().st_mtime_ns
    export.make_export(root / "run", root / "lists", root / "out", SAID.append)
    assert "unchanged" in SAID[-1]
    assert (root / "out" / "activations.mat").stat().st_mtime_ns == before
