"""Voxels encoded in blocks: the same results as in one, after a kill, and on a cluster."""

import hashlib
import json
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from helpers import TINY_TOML, write_events, write_features

from neuromusic.encoding.blocks import BlockScores, joined
from neuromusic.fmri import scan_series
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.simulate import simulate
from neuromusic.pipeline.train import train

SCRIPT = """
import sys
import neuromusic as nm
from neuromusic.fmri import scan_series

scan_series.VOXELS_AT_ONCE = int(sys.argv[1])
rois = nm.Rois("all", atlas="data/derivatives/truth/areas.nii.gz")
options = nm.EncodingOptions(components=4)
machine = nm.Machine(dask=sys.argv[3] if len(sys.argv) > 3 else None)
nm.encode("run", bids="data", out=sys.argv[2], rois=rois, options=options, machine=machine)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny network, and simulated images of 48 voxels in five areas."""
    root = tmp_path_factory.mktemp("blocks")
    features = write_features(root / "train.npz", 4)
    test = write_features(root / "test.npz", 2, 50, 50)
    prepared = prepare_features(features, test=test, out=root / "prepared")
    settings = tomllib.loads(TINY_TOML)
    settings["train"]["epochs"] = 1
    network = train(settings, prepared, out=root / "run")
    write_events(network.prepared, root / "events")
    planted = Planted(voxels=10, noise_voxels=8)
    simulate(network, bids=root / "events", planted=planted, out=root / "data")
    (root / "encode.py").write_text(SCRIPT)
    return root


def start(place, *arguments):
    command = [sys.executable, "encode.py", *map(str, arguments)]
    return subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True)


def wait_for(condition):
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("what was waited for did not happen in two minutes")


def hashes(out):
    """Return file -> SHA-256 of what an encoding has written, but for its record."""
    return {
        path.relative_to(out): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name != "provenance.json"
    }


@pytest.fixture(scope="module")
def in_blocks(place):
    """The output with blocks of ten voxels."""
    process = start(place, 10, "blocks")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return place / "blocks"


@pytest.mark.slow
def test_blocks_give_the_result_of_one_block(place, in_blocks):
    process = start(place, 5000, "whole")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert not list(place.glob("**/work"))
    for path in sorted(in_blocks.rglob("*.tsv")):
        ours = pd.read_csv(path, sep="\t")
        expected = pd.read_csv(place / "whole" / path.relative_to(in_blocks), sep="\t")
        pd.testing.assert_frame_equal(ours, expected, rtol=1e-3, atol=1e-4, obj=path.name)


@pytest.mark.slow
def test_a_killed_encoding_continues_after_its_blocks(place, in_blocks):
    process = start(place, 10, "killed")
    work = place / ".killed.partial" / "work"
    wait_for(lambda: len(list(work.glob("*/scores-*.npz"))) >= 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (place / "killed").exists()
    done = {path: path.stat().st_mtime_ns for path in work.glob("*/*.np[yz]")}
    scores = [path for path in done if path.name.startswith("scores")]
    assert 2 <= len(scores) < 5
    again = start(place, 10, "killed")
    wait_for(lambda: len(list(work.glob("*/scores-*.npz"))) > len(scores) or again.poll() == 0)
    if again.poll() is None:  # neither images nor blocks were computed again
        assert all(path.stat().st_mtime_ns == done[path] for path in scores if path.exists())
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert hashes(place / "killed") == hashes(in_blocks)


@contextmanager
def cluster(directory, n_workers):
    """Start a Dask scheduler and workers; yields the address and the processes of the workers."""
    file = directory / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_{}", "--scheduler-file", str(file)]
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    processes = []

    def begin(kind, *more):
        command = [part.format(kind) for part in dask] + [*local, *more]
        processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=directory))

    try:
        begin("scheduler", "--port", "0")
        for _ in range(n_workers):
            begin("worker", "--nthreads", "1", "--no-nanny")
        wait_for(file.is_file)
        yield json.loads(file.read_text())["address"], processes[1:]
    finally:
        for each in processes:
            each.kill()
            each.wait()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_writes_the_same_bytes(place, in_blocks, tmp_path):
    with cluster(tmp_path, 2) as (address, workers):
        process = start(place, 10, "cluster", address)
        work = place / ".cluster.partial" / "work"
        wait_for(lambda: list(work.glob("*/scores-*.npz")) or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        workers[0].kill()
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert hashes(place / "cluster") == hashes(in_blocks)


# --- Parts ----------------------------------------------------------------------------------------


def test_scores_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    block = BlockScores(
        {"r_A1": rng.normal(size=3), "best of/all": rng.normal(size=3)},
        {"left, \u4e0a": rng.normal(size=(2, 4, 3)).astype(np.float32)},
        {("matches", "left, \u4e0a", "A1"): rng.normal(size=(4, 4)), ("edges", "A1"): np.ones(2)},
    )
    block.save(tmp_path / "scores.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]
    both = joined([block, BlockScores.load(tmp_path / "scores.npz")])
    for name in ("columns", "patterns"):
        for key, array in getattr(block, name).items():
            joint = getattr(both, name)[key]
            assert joint.dtype == array.dtype
            np.testing.assert_array_equal(joint, np.concatenate([array, array], axis=-1))
    for key, array in block.sums.items():
        np.testing.assert_array_equal(both.sums[key], 2 * array)


@pytest.mark.parametrize("n", [1, 4999, 5000, 5001, 12000])
def test_blocks_cover_each_voxel_once(n):
    blocks = scan_series.blocks_of(n)
    np.testing.assert_array_equal(np.concatenate([np.arange(n)[each] for each in blocks]), range(n))
    assert max(each.stop - each.start for each in blocks) <= 5000
