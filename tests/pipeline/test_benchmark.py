"""Benchmarks: networks beside data sets, in one table; continued, and with a network that fails."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers import neuromusic

import neuromusic as nm
from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.encoding import sound_baseline
from neuromusic.encoding.benchmark_table import as_markdown
from neuromusic.pipeline import benchmark_cells
from neuromusic.pipeline.encode_sounds import encode_sharing

N_SOUNDS = 24
NET = """
import torch
from torch import nn

from neuromusic import External


def network():
    torch.manual_seed({seed})
    net = nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160), nn.ReLU(),
        nn.Conv1d(8, 12, 5, 2), nn.ReLU(),
    )
    return External(net, {{"conv1": "2", "conv2": "4"}}, rate_hz=16_000, name="net-{seed}")
"""
SETTINGS = """
protocol = "ours"
splits = 2

[networks.first]
source = "first.py"

[networks.second]
source = "second.py"
stages = ["conv2"]

[datasets.loud]
description = "loud.toml"
"""
LOUD = """
sounds = "sounds"
responses = "responses.tsv"
ceilings = {area = 0.9}
"""

TIMED = """
kind = "timed"
sounds = "sounds"
responses = "timed.npz"
rate_hz = 50.0
lags_s = [0.0, 0.1]
components = 4
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two network files, sounds, responses that follow the first one, features, and settings."""
    root = tmp_path_factory.mktemp("benchmark")
    (root / "first.py").write_text(NET.format(seed=0))
    (root / "second.py").write_text(NET.format(seed=1))
    (root / "sounds").mkdir()
    (root / "features").mkdir()
    rng = np.random.default_rng(0)
    network = nm.load_applied(root / "first.py")
    lines = ["sound\tarea\tnoise"]
    for number in range(N_SOUNDS):
        wave = rng.normal(size=16_000) * 10 ** rng.uniform(-2, -1)
        path = root / f"sounds/s{number:02d}.wav"
        soundfile.write(path, wave, 16_000, subtype="FLOAT")
        frames = network.frames_of(network.input_of(path))["conv1"]
        np.savez(
            root / f"features/s{number:02d}.npz", conv1=frames.values, frame_s=frames.frame_s,
            first_frame_s=frames.first_frame_s,
        )  # fmt: skip
        lines.append(f"s{number:02d}\t{frames.values[:, 0].mean()}\t{rng.normal()}")
    (root / "responses.tsv").write_text("\n".join(lines))
    (root / "loud.toml").write_text(LOUD)
    (root / "settings.toml").write_text(SETTINGS)
    values = [
        np.stack([np.convolve(wave[:: 16_000 // 50], [0, 0.5, 1])[:50], rng.normal(size=50)], 1)
        for wave in rng.normal(size=(N_SOUNDS, 16_000))
    ]
    np.savez(root / "timed.npz", responses=values, sounds=[f"s{n:02d}" for n in range(N_SOUNDS)])
    (root / "timed.toml").write_text(TIMED)
    (root / "reversed.toml").write_text(TIMED.replace("0.0, 0.1", "0.4, 0.0"))
    return root


@pytest.fixture(scope="module")
def done(project):
    """The benchmark of the settings, made once; copied by tests that change it."""
    run = neuromusic("benchmark", "settings.toml", "--out", "done", cwd=project)
    assert run.returncode == 0, run.stderr
    return project / "done", run


def table(out):
    return pd.read_csv(out / "benchmark.tsv", sep="\t", keep_default_na=False, na_values="n/a")


def test_the_table_has_the_numbers_of_the_encodings(done, project, tmp_path):
    out, run = done
    rows = table(out)
    encoded = nm.encode_sounds(
        project / "first.py", sounds=project / "sounds", responses=project / "responses.tsv",
        out=tmp_path / "encoded", splits=2,
    )  # fmt: skip
    expected = pd.read_csv(encoded / "targets.tsv", sep="\t", keep_default_na=False)
    expected = expected.set_index(["network", "features", "target"]).sort_index()
    found = rows.set_index(["network", "weights", "stage", "target"]).sort_index()
    for stage in ("conv1", "conv2", "all", "best stage"):
        row = found.loc[("first", "trained", stage, "area")]
        assert row["score"] == float(expected.loc[("trained", stage, "area"), "r2"])
    joint = expected.loc[("trained", "conv1+baseline", "area")]
    row = found.loc[("first", "trained", "conv1", "area")]
    assert row["unique"] == float(joint["over_baseline"])
    assert row["p_unique"] == float(joint["over_baseline_p"])
    assert row["ceiling"] == 0.9
    assert row["score"] > 0.8
    splits = np.load(encoded / "scores.npz")
    index = list(zip(splits["network"], splits["features"], strict=True)).index(
        ("trained", "conv1")
    )
    scores = splits["r2"][index, :, 0]  # two splits of 12 and 12: t is 12.706 at one degree
    half = 12.7062 * np.sqrt((1 / 2 + 1) * scores.var(ddof=1))
    np.testing.assert_allclose(row["low"], scores.mean() - half, atol=1e-3)
    np.testing.assert_allclose(row["high"], scores.mean() + half, atol=1e-3)
    assert set(rows["network"]) == {"baseline", "first", "second"}
    assert set(rows.loc[rows["network"] == "second", "stage"]) >= {"conv2", "conv2+baseline"}
    assert "conv1" not in set(rows.loc[rows["network"] == "second", "stage"])
    key = ["network", "weights", "stage", "dataset", "target"]
    assert not rows.duplicated(key).any()
    assert run.stdout == (out / "benchmark.md").read_text()
    assert (out / "benchmark.png").stat().st_size > 10_000


@pytest.mark.parametrize("protocol", [pytest.param("ours", marks=pytest.mark.slow), "tuckute2023"])
def test_networks_predict_together(project, tmp_path, monkeypatch, protocol):
    """Two networks joined are one network that has the stages of both."""
    monkeypatch.chdir(project)
    settings = {
        "protocol": protocol,
        "splits": 2,
        "networks": {"first": {"source": "first.py"}, "second": {"source": "second.py"}},
        "combinations": {"both": {"networks": ["first", "second"]}},
        "datasets": {"loud": {"description": "loud.toml"}},
    }
    nm.benchmark(settings, out=tmp_path / "out")
    files = [path for path in (tmp_path / "out/both").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    nm.benchmark(settings, out=tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in files} == before
    (tmp_path / "out/provenance.json").unlink()  # killed before it was written
    nm.benchmark(settings, out=tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in files} == before
    shutil.copytree(tmp_path / "out", tmp_path / "damaged")
    shutil.rmtree(tmp_path / "damaged/both")
    (tmp_path / "damaged/first/loud/features.npz").unlink()
    damaged = nm.benchmark(settings, out=tmp_path / "damaged")
    assert "lacks files that it had (features.npz)" in damaged.failures["first, loud"]
    assert "both" not in set(damaged.table["network"])
    (tmp_path / "features").mkdir()
    for number in range(N_SOUNDS):
        values = {}
        for name in ("first", "second"):
            network = nm.load_applied(project / f"{name}.py")
            frames = network.frames_of(network.input_of(project / f"sounds/s{number:02d}.wav"))
            for stage, timed in frames.items():
                values[f"{name}-{stage}"] = timed.values
                values[f"{name}-{stage}.frame_s"] = timed.frame_s
                values[f"{name}-{stage}.first_frame_s"] = timed.first_frame_s
        np.savez(tmp_path / f"features/s{number:02d}.npz", **values)
    encoded = nm.encode_sounds(
        nm.load_features(tmp_path / "features"), sounds=project / "sounds",
        responses=project / "responses.tsv", out=tmp_path / "encoded", splits=2,
        options=nm.SoundOptions(protocol),
    )  # fmt: skip
    expected = pd.read_csv(encoded / "targets.tsv", sep="\t", keep_default_na=False)
    expected = expected.set_index(["network", "features", "target"])
    rows = table(tmp_path / "out").set_index(["network", "weights", "stage", "target"])
    for stage in ("all", "all+baseline"):
        found = rows.loc[("both", "trained", stage, "area")]
        reference = expected.loc[("trained", stage, "area")]
        assert found["score"] == pytest.approx(float(reference["r2"]), abs=2e-3)
        assert found["p"] == pytest.approx(float(reference["over_baseline_p"]), abs=0.02)
        assert ("both", "random", stage, "noise") in rows.index
    assert "| both " in (tmp_path / "out/benchmark.md").read_text()


@pytest.mark.slow
def test_responses_in_time_are_a_data_set_as_well(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    settings = {
        "seed": 3,
        "networks": {"first": {"source": "first.py"}, "one": {"source": "second.py",
                                                             "stages": ["conv2"]}},
        "combinations": {"both": {"networks": ["first", "one"]}},
        "datasets": {"timed": {"description": "timed.toml"}},
    }  # fmt: skip
    nm.benchmark(settings, out=tmp_path / "out")
    encoded = nm.encode_timed(
        project / "first.py", sounds=project / "sounds", responses=project / "timed.npz",
        out=tmp_path / "encoded", options=nm.TimedOptions((0.0, 0.1), components=4, seed=3),
        given=nm.TimedInput(rate_hz=50.0),
    )  # fmt: skip
    expected = pd.read_csv(encoded / "targets.tsv", sep="\t", keep_default_na=False)
    expected = expected.set_index(["network", "stage", "target"])
    rows = table(tmp_path / "out")
    assert set(rows["network"]) == {"baseline", "first", "one"}  # no combination
    assert (set(rows["measure"]), set(rows["protocol"])) == ({"r"}, {"timed"})
    rows = rows.set_index(["network", "weights", "stage", "target"])
    columns = {"score": "r", "low": "r_low", "unique": "unique_r2", "p_unique": "unique_p"}
    for weights in ("trained", "random"):
        for stage in ("conv1", "conv2", "best stage"):
            for found, reference in columns.items():
                row = expected.loc[(weights, stage, "target-1")]
                assert rows.loc[("first", weights, stage, "target-1"), found] == float(
                    row[reference]
                )
    text = (tmp_path / "out/benchmark.md").read_text()
    assert "Correlation over held-out sounds and time" in text
    assert "| one " in text  # its only stage
    before = (tmp_path / "out/first/timed/provenance.json").stat().st_mtime_ns
    nm.benchmark(settings, out=tmp_path / "out")
    assert (tmp_path / "out/first/timed/provenance.json").stat().st_mtime_ns == before


def test_a_second_run_does_nothing(done, project):
    out, _ = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = neuromusic("benchmark", "settings.toml", "--out", "done", cwd=project)
    assert again.returncode == 0, again.stderr
    assert again.stdout == (out / "benchmark.md").read_text()
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert before == after


def test_features_are_recognised_without_torch_until_they_change(project, tmp_path):
    settings = {
        "splits": 2,
        "networks": {"own": {"features": str(project / "features")}},
        "datasets": {"loud": {"description": str(project / "loud.toml")}},
    }
    nm.benchmark(settings, out=tmp_path / "out")
    code = (
        "import sys, neuromusic as nm\n"
        f"nm.benchmark({settings!r}, out='out')\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    (tmp_path / "again.py").write_text(code)

    again = subprocess.run(
        [sys.executable, "again.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    copied = tmp_path / "features"
    shutil.copytree(project / "features", copied)
    settings["networks"]["own"]["features"] = str(copied)
    arrays = dict(np.load(copied / "s00.npz"))
    np.savez(copied / "s00.npz", **{**arrays, "conv1": 2 * arrays["conv1"]})
    with pytest.raises(InputError, match=r"own, loud: .*network has changed.*overwrite"):
        nm.benchmark(settings, out=tmp_path / "out")
    nm.benchmark(settings, out=tmp_path / "out", overwrite=True)


def test_it_continues_after_a_kill_between_cells(done, project, tmp_path, monkeypatch):
    """Half of the cells are there, and no table: only the others are encoded."""
    out, _ = done
    killed = tmp_path / "killed"
    shutil.copytree(out / "first", killed / "first")
    encoded = []

    def counting(*arguments, **keywords):
        directory = keywords["out"]
        encoded.append((directory.parent.name, directory.exists()))
        return encode_sharing(*arguments, **keywords)

    monkeypatch.setattr(benchmark_cells, "encode_sharing", counting)
    monkeypatch.chdir(project)
    nm.benchmark("settings.toml", out=killed)
    assert encoded == [("first", True), ("second", False)]
    pd.testing.assert_frame_equal(table(killed), table(out))


def test_a_network_that_fails_is_reported_and_the_rest_is_done(done, project, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    (tmp_path / "broken.py").write_text("def network():\n    return 1 / 0\n")
    run = neuromusic(
        "benchmark", "settings.toml", "--network", tmp_path / "broken.py", "--out", out,
        "--workers", "2", cwd=project,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert "broken, loud: failed: " in run.stderr
    assert "ZeroDivisionError" in run.stdout
    assert "Traceback" not in run.stderr
    assert set(table(out)["network"]) == {"baseline", "first", "second"}
    (tmp_path / "broken.py").write_text(NET.format(seed=2))
    run = neuromusic(
        "benchmark", "settings.toml", "--network", tmp_path / "broken.py", "--out", out,
        cwd=project,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "broken" in set(table(out)["network"])


@pytest.mark.slow
def test_several_processes_give_the_same_table(done, project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    nm.benchmark("settings.toml", out=tmp_path / "out", machine=Machine(workers=2))
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(done[0]))
    assert nm.verify(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": 3}, r"unknown key 'split'; did you mean 'splits'\?"),
        ({"networks": {"a": {"stage": ["x"]}}}, r"networks.a: unknown key 'stage'.*'stages'"),
        ({"networks": {}}, "names no networks"),
        ({"datasets": {"natsound": {}}}, r"describes no such data set.*did you mean 'natsound165'"),
        ({"datasets": {"natsound165": {}}}, "no such directory; name the folder"),
        ({"datasets": {"ecog165": {}}}, "natsound165/wav: no such directory; name the folder"),
        ({"datasets": {"x": {"description": "reversed.toml"}}}, r"datasets.x: lags_s=0.4, 0"),
        ({"datasets": {"x": {"description": "none.toml"}}}, "none.toml: no such file"),
        ({"networks": {"a/b": {}}}, "not a plain name"),
        ({"combinations": {"x": {"networks": ["furst"]}}}, "not a network.*did you mean 'first'"),
        ({"combinations": {"first": {"networks": ["first"]}}}, "a network has that name"),
        ({"combinations": {"x": {"networks": []}}}, "combinations.x: networks"),
        ({"networks": {"a": {"source": "a.py", "features": "f"}}}, "either source or features"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(project, tmp_path, changes, message, monkeypatch):
    monkeypatch.chdir(project)
    settings = {
        "networks": {"first": {"source": "first.py"}},
        "datasets": {"loud": {"description": "loud.toml"}},
    }
    with pytest.raises(InputError, match=message) as error:
        nm.benchmark(settings | changes, out=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_directory_with_something_else_is_refused(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="contains something else"):
        nm.benchmark("settings.toml", out=tmp_path)


def test_a_dry_run_says_how_many_encodings_are_left(project, tmp_path):
    run = neuromusic(
        "benchmark", "settings.toml", "--out", tmp_path / "out", "--dry-run", cwd=project
    )
    assert run.returncode == 0, run.stderr
    assert "2 encodings; 0 of 2 are finished" in run.stdout + run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_baseline_is_computed_once_for_all_networks(done, project, tmp_path, monkeypatch):
    assert len(list((done[0] / ".baselines").glob("*.npz"))) == 1
    computed = []
    original = sound_baseline.baseline_features
    monkeypatch.setattr(
        sound_baseline, "baseline_features", lambda waves: computed.append(1) or original(waves)
    )
    monkeypatch.chdir(project)
    nm.benchmark("settings.toml", out=tmp_path / "out")
    assert computed == [1]
    [kept] = (tmp_path / "out/.baselines").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:-100])  # damaged: computed again, with the same result
    shutil.rmtree(tmp_path / "out/second")
    nm.benchmark("settings.toml", out=tmp_path / "out")
    assert computed == [1, 1]
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(done[0]))
    encoded = nm.encode_sounds(
        project / "first.py", sounds=project / "sounds", splits=2,
        responses=project / "responses.tsv", out=tmp_path / "alone",
    )  # fmt: skip
    for name in ("targets.tsv", "scores.npz"):  # as without a shared baseline
        found = tmp_path / "out/first/loud" / name
        assert found.read_bytes() == (encoded / name).read_bytes()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_table(done, project, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.chdir(project)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())

        def kill_one():
            while not list((tmp_path / "out").glob("*/.loud.partial-*")):
                time.sleep(0.05)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        nm.benchmark(
            "settings.toml", out=tmp_path / "out", machine=Machine(dask=cluster.scheduler_address)
        )
        assert not killer.is_alive()
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(done[0]))


def test_many_targets_are_shown_by_their_median(done):
    rows = table(done[0])
    area = rows[rows["target"] == "area"]
    many = pd.concat([area.assign(target=f"t{n}") for n in range(9)])
    text = as_markdown(many, {})
    assert "median of 9 targets" in text
    assert "| t3" not in text
