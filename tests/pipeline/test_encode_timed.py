"""Responses in time from the sounds and a network to tables, from one command."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from helpers import neuromusic
from scipy.signal import lfilter

import neuromusic as nm
from neuromusic.core.errors import InputError
from neuromusic.models.stage_frames import stage_frames
from neuromusic.pipeline.verify import verify

RATE_HZ, SOUND_S, N_SOUNDS = 20.0, 3.0, 21
OPTIONS = nm.TimedOptions(lags_s=(0, 0.2), lag_step_s=0.05, components=8, folds=3)
NET = """
import torch
from torch import nn

from neuromusic import External


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160), nn.ReLU(), nn.AvgPool1d(5),
        nn.Conv1d(8, 6, 3), nn.ReLU(),
    )
    return External(net, {"conv1": "3", "conv2": "5"}, rate_hz=16_000, name="my-net")
"""


def envelope(rng, n):
    return np.exp(lfilter([1], [1, -0.98], 0.2 * rng.standard_normal(n + 200))[200:])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Noise with a changing level, and responses that follow it 0.1 s later, and one of noise."""
    root = tmp_path_factory.mktemp("timed")
    (root / "my_net.py").write_text(NET)
    (root / "sounds").mkdir()
    (root / "features").mkdir()
    rng = np.random.default_rng(0)
    n = round(SOUND_S * RATE_HZ)
    values = np.zeros((2, N_SOUNDS, n, 2))
    network = nm.load_applied(root / "my_net.py")
    for number in range(N_SOUNDS):
        level = np.repeat(envelope(rng, round(SOUND_S * 100)), 220)
        path = root / f"sounds/s{number:02d}.wav"
        soundfile.write(path, 0.02 * level * rng.standard_normal(len(level)), 22_000, "FLOAT")
        heard = level.reshape(n, -1).mean(1)
        values[:, number, 2:, 0] = heard[:-2]
        values[:, number] += 0.5 * rng.standard_normal((2, n, 2))
        frames = network.frames_of(network.input_of(path))
        arrays = {stage: each.values for stage, each in frames.items()}
        for stage, each in frames.items():
            arrays[f"{stage}.frame_s"] = each.frame_s
            arrays[f"{stage}.first_frame_s"] = each.first_frame_s
        np.savez(root / f"features/s{number:02d}.npz", **arrays)
    names = [f"s{number:02d}" for number in range(N_SOUNDS)]
    write(root / "short.npz", values, names)
    return root


def write(path, values, names, **more):
    content = {"rate_hz": RATE_HZ, "targets": ["follows", "noise"], **more}
    np.savez(path, responses=values, sounds=names, **content)
    return path


def targets(out):
    table = pd.read_csv(out / "targets.tsv", sep="\t")
    return table.set_index(["network", "stage", "target"]).sort_index()


# --- Windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_windows", [0.4, 1, 1.01, 3.3])
def test_frames_are_from_the_window_in_which_they_are_furthest_from_the_ends(sound_run, n_windows):
    network = nm.load_network(sound_run.directory)
    width = network.network.spec.n_frames
    n = round(n_windows * width)
    x = np.random.default_rng(0).normal(-40, 10, (network.network.spec.n_rows, n)).astype("f4")
    found = stage_frames(network, x)
    assert list(found) == [stage.name for stage in network.network.stages]
    whole = np.tile(x, 3)[:, :width] if n < width else x
    room = whole.shape[1] - width
    for stage in network.network.stages:
        timed, pool = found[stage.name], round(stage.pool)
        frame_s = network.network.spec.frame_s
        assert timed.frame_s == pytest.approx(pool * frame_s)
        assert timed.first_frame_s == pytest.approx(stage.centre * frame_s)
        # Windows where `stage_frames` may put them, and for each frame the most central of them.
        grid = max(round(each.pool) for each in network.network.stages)
        hop = max(network.hop_frames // grid, 1) * grid
        starts = [*range(0, room + 1, hop), room // grid * grid, room // pool * pool]
        starts += [room // round(s.pool) * round(s.pool) for s in network.network.stages]
        best = {}
        for start in sorted({s for s in starts if s % pool == 0}):
            cut = torch.from_numpy(whole[None, :, start : start + width].copy())
            with torch.inference_mode():
                frames = network.network.activations(cut)[stage.name][0]
            for k, values in enumerate(frames.movedim(-1, 0).flatten(1).numpy()):
                place = stage.centre + k * pool
                margin = min(place, width - 1 - place)
                if margin > best.get(start // pool + k, (-np.inf,))[0]:
                    best[start // pool + k] = margin, values
        expected = [best[k][1] for k in sorted(best) if k == 0 or stage.centre + k * pool < n]
        assert len(timed.values) == len(expected)
        np.testing.assert_allclose(timed.values, expected, rtol=1e-4, atol=1e-5)


# --- The command ----------------------------------------------------------------------------------


def test_one_command_encodes_responses_in_time_by_a_network_and_by_its_features(project, tmp_path):
    line = ("--sounds", "sounds", "--responses", "short.npz", "--lags-s", "0", "0.2")
    for kind, network in (("file", ("my_net.py",)), ("features", ("--features", "features"))):
        result = neuromusic(
            "encode", *network, *line, "--components", "8", "--out", tmp_path / kind, cwd=project
        )
        assert result.returncode == 0, result.stderr
        assert "targets.tsv has the numbers" in result.stderr
    first, second = targets(tmp_path / "file"), targets(tmp_path / "features")
    assert set(first.index.get_level_values(0)) == {"none", "trained", "random"}
    assert set(second.index.get_level_values(0)) == {"none", "trained"}
    pd.testing.assert_series_equal(first.loc["trained", "r"], second.loc["trained", "r"], atol=1e-3)
    assert first.loc[("trained", "conv1", "follows"), "r"] > 0.5
    assert first.loc[("trained", "conv1", "follows"), "p"] < 0.001
    assert first.loc[("trained", "conv1", "noise"), "p"] > 0.01
    assert first.loc[("none", "baseline", "follows"), "ceiling_r"] > 0.5
    functions = pd.read_csv(tmp_path / "file/response_functions.tsv", sep="\t")
    of_target = functions[(functions["target"] == "follows") & (functions["stage"] == "baseline")]
    assert of_target.loc[of_target["sd"].idxmax(), "lag_s"] == pytest.approx(0.1)
    about = json.loads((tmp_path / "file/encoding.json").read_text())
    assert (about["model"], about["rate_hz"], about["mean_time_course_removed"]) == (
        "my-net", RATE_HZ, True,
    )  # fmt: skip
    for name in ("scores", "samples", "response_functions"):
        assert (tmp_path / f"file/{name}.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_trained_network_is_recorded_and_not_computed_twice(project, sound_run, tmp_path):
    out = tmp_path / "out"

    def encode(options=OPTIONS, **more):
        return nm.encode_timed(
            sound_run, sounds=project / "sounds", responses=project / "short.npz", out=out,
            options=options, **more,
        )  # fmt: skip

    encode()
    table = targets(out)
    assert {"A1", "GRU", "best stage"} < set(table.loc["trained"].index.get_level_values(0))
    assert set(table.loc["trained"].index) == set(table.loc["random"].index)
    before = (out / "targets.tsv").stat().st_mtime_ns
    encode()
    assert (out / "targets.tsv").stat().st_mtime_ns == before
    other = nm.TimedOptions(lags_s=(0, 0.1), lag_step_s=0.05, components=8, folds=3)
    with pytest.raises(InputError, match="made with other settings"):
        encode(other)
    assert verify(out, rerun=True)
    encode(other, overwrite=True)
    assert (out / "targets.tsv").stat().st_mtime_ns > before


def test_stories_keep_their_own_means_and_need_no_repeats(project, tmp_path):
    short = np.load(project / "short.npz")
    stories = dict(zip(short["sounds"][:3], short["responses"][0, :3], strict=True))
    np.savez(tmp_path / "stories.npz", **stories, rate_hz=RATE_HZ)
    out = nm.encode_timed(
        project / "my_net.py", sounds=project / "sounds", responses=tmp_path / "stories.npz",
        out=tmp_path / "out", options=nm.TimedOptions(lags_s=(0, 0.2), components=4),
    )  # fmt: skip
    about = json.loads((out / "encoding.json").read_text())
    assert not about["mean_time_course_removed"] and len(about["folds"]) == 3
    assert any("no p values" in note for note in about["notes"])
    assert not (out / "samples.tsv").exists()
    table = targets(out)
    assert table["ceiling_r"].isna().all()
    assert table.loc[("none", "baseline", "target-1"), "r"] > 0.3


def test_a_dry_run_checks_and_writes_nothing(project, tmp_path):
    result = neuromusic(
        "encode", "my_net.py", "--sounds", "sounds", "--responses", "short.npz", "--dry-run",
        "--out", tmp_path / "out", cwd=project,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "activations of 21 sounds" in result.stdout + result.stderr
    assert not (tmp_path / "out").exists()


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        ({"rate_hz": None}, (), "has no sampling rate"),
        ({}, ("--protocol", "tuckute2023"), "--protocol is not for responses in time"),
        ({}, ("--lags-s", "0.4", "0"), "expected the shorter delay first"),
        ({}, ("--lags-s", "0", "5"), "are longer than the response to s00, 3 s"),
        ({"sounds": [f"t{k:02d}" for k in range(N_SOUNDS)]}, (),
         "21 of 21 names in the responses do not match one sound each; responses: t00"),
        ({"responses": np.zeros((N_SOUNDS, 60, 2))}, (), "do not vary in time"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_the_work(project, tmp_path, change, line, message):
    content = {**np.load(project / "short.npz"), **change}
    np.savez(tmp_path / "r.npz", **{k: v for k, v in content.items() if v is not None})
    result = neuromusic(
        "encode", "my_net.py", "--sounds", "sounds", "--responses", tmp_path / "r.npz", *line,
        "--out", tmp_path / "out", cwd=project,
    )  # fmt: skip
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_rate_can_be_given(project, tmp_path):
    content = {**np.load(project / "short.npz")}
    del content["rate_hz"]
    np.savez(tmp_path / "r.npz", **content)
    result = neuromusic(
        "encode", "my_net.py", "--sounds", "sounds", "--responses", tmp_path / "r.npz",
        "--rate-hz", "20", "--dry-run", "--out", tmp_path / "out", cwd=project,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_the_sound_with_nan_activations_is_named(project, tmp_path):
    (tmp_path / "nan_net.py").write_text(NET.replace(
        "return External", "net[1].bias.data[0] = float('nan')\n    return External"
    ))  # fmt: skip
    with pytest.raises(InputError, match=r"s00: my-net: stage conv1: .* contain NaN"):
        nm.encode_timed(
            tmp_path / "nan_net.py", sounds=project / "sounds", responses=project / "short.npz",
            out=tmp_path / "out", options=OPTIONS,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
