"""Readouts on the stages of other networks: preparing, training, and all that comes after."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from conftest import tone_clip
from designs import write_events as write_rows
from helpers import neuromusic

import neuromusic as nm
from neuromusic.core.errors import InputError
from neuromusic.features.timed import Timed
from neuromusic.models import loading
from neuromusic.models.hearing import activations_of
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.training import stages_front_end
from neuromusic.training.config import load_config

FRAME_S, SOUND_S, STAGES = 0.1, 2.0, ["early", "late"]
NET = """
import torch
from torch import nn

from neuromusic import External


class Amplitude(nn.Module):
    def forward(self, x):
        return SCALE * torch.log1p(30 * x.abs())


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 32, 320, 160, bias=False), Amplitude(),
        nn.Conv1d(32, 16, 3, 2), nn.ReLU(),
    )
    return External(net, {"early": "2", "late": "4"}, rate_hz=16_000, name="my-net")
"""
TINY = ["--set", "train.epochs=8", "--set", "data.window_s=1", "--set", "data.hop_s=0.5",
        "--set", "data.windows_per_epoch=128"]  # fmt: skip


def write_net(folder, scale=1.0):
    path = folder / "my_net.py"
    path.write_text(f"SCALE = {scale}\n{NET}")
    return path


def config(name):
    window = {"window_s": 1.0, "hop_s": 0.5, "windows_per_epoch": 128, "front_end": "stages"}
    return nm.Config(
        model={"name": name}, data={**window, "normalisation": "band", "validation_runs": 0},
        train={"epochs": 8, "batch_size": 16, "lr": 3e-3},
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Lists of 4 classes x 10 sounds, features of two stages of a network file, and readouts."""
    root = tmp_path_factory.mktemp("readout")
    write_net(root)
    for genre in range(4):
        (root / f"sounds/g{genre}").mkdir(parents=True)
        for number in range(10):
            wave = tone_clip(2 * genre, number, SOUND_S)
            soundfile.write(root / f"sounds/g{genre}/g{genre}.{number}.wav", wave, RATE_HZ)
    nm.make_file_lists(
        nm.Corpus("folder", root / "sounds"), split="70:0:30", clip_s=1, out=root / "lists"
    )
    front_end = nm.stages_front_end(root / "my_net.py", STAGES, FRAME_S)
    machine = nm.Machine(workers=1)
    nm.prepare(root / "lists", front_end=front_end, out=root / "prepared", machine=machine)
    for name in ("linear", "gru"):
        nm.train(config(name), root / "prepared", out=root / name)
        nm.evaluate(root / name)
    return root


@pytest.fixture
def forgetful(monkeypatch):
    """Forget which code this process has been told to load."""
    monkeypatch.setattr(loading, "_named", {})


def test_features_are_the_means_of_the_frames_of_each_stage(project):
    prepared = nm.open_prepared(project / "prepared")
    assert prepared.features.shape[1] == 32 + 16
    row = prepared.rows[prepared.rows["variant"] == 0].iloc[3]
    features = prepared.row_features(int(row["row"]))
    assert features.shape[1] == row["frames"] == round(SOUND_S / FRAME_S) + 1
    wave, _ = soundfile.read(project / "sounds" / row["genre"] / row["clip"])
    network = nm.load_applied(project / "my_net.py")
    frames = activations_of(network.external, wave, RATE_HZ)
    first = 0
    for stage, scale in zip(STAGES, prepared.meta.front_end["scales"], strict=True):
        timed = frames[stage]
        own = features[first : first + timed.values.shape[1]] * scale
        first += len(own)
        for frame in range(features.shape[1]):
            near = np.abs(timed.times_s - frame * FRAME_S) < FRAME_S / 2 - 1e-9
            expected = timed.values[near].mean(0) if near.any() else timed.values[-1]
            np.testing.assert_allclose(own[:, frame], expected, rtol=2e-3, atol=2e-3 * scale)


def test_slow_frames_are_interpolated_and_the_ends_held(project):
    spec = nm.stages_front_end(project / "my_net.py", ["late"], FRAME_S)
    values = np.linspace(1, 2, 3 * spec.n_units, dtype=np.float32).reshape(3, -1)
    grid = spec.on_grid({"late": Timed(values, 0.3, 0.45)}, 15) * spec.scales[0]
    times = FRAME_S * np.arange(15)
    expected = [np.interp(times, [0.45, 0.75, 1.05], unit) for unit in values.T]
    np.testing.assert_allclose(grid, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["linear", "gru"])
def test_readouts_learn_and_hear_sound_files(project, name):
    scores = json.loads((project / name / "evaluation.json").read_text())
    assert scores["clip"]["n"] == 12
    assert scores["clip"]["accuracy"] >= 0.75
    # From the files, the same as from the prepared set.
    stored = pd.read_csv(project / name / "predictions.tsv", sep="\t").set_index("clip")
    for clip in stored.index[:3]:
        table = nm.predict(project / name, [project / f"sounds/{clip.split('.')[0]}" / clip])
        for genre in ("g0", "g3"):
            assert table[genre].iat[0] == pytest.approx(stored.loc[clip, genre], abs=2e-3)


def test_export_has_the_stages_of_the_readout_on_the_volumes(project, tmp_path):
    """Each volume is most like the activations of the clip that was played in it."""
    (tmp_path / "experiment.toml").write_text(
        'name = "listening"\nfiles.tasks = ["listen"]\nsounds.sound = "stim_file"\ntime.tr_s = 1.0'
    )
    clips = [f"g{genre}.{number}.wav" for genre in range(4) for number in range(3)]
    (tmp_path / "clips").mkdir()
    for clip in clips:
        shutil.copy(project / f"sounds/{clip[:2]}/{clip}", tmp_path / "clips")
    rows = [(4 * place, SOUND_S, clip) for place, clip in enumerate(clips)]
    for run in (1, 2):
        stem = f"sub-01_task-listen_run-{run}"
        write_rows(tmp_path / "bids/sub-01/func", stem, rows, "onset duration stim_file")
    lists = nm.make_experiment_lists(
        tmp_path / "experiment.toml", bids=tmp_path / "bids", clips=tmp_path / "clips",
        out=tmp_path / "lists",
    )  # fmt: skip
    out = nm.export(project / "linear", lists, out=tmp_path / "out")
    [path] = (out / "activations").glob("*run-01_stage-units*.npy")
    volumes = np.load(path)
    assert volumes.shape[1] == 48
    assert (volumes[2:4] == 0).all()  # rest
    trained = nm.load_network(project / "linear")
    mean, std = (
        each[:, None].numpy() for each in (trained.network.band_mean, trained.network.band_std)
    )
    expected = []
    for clip in clips:
        wave = np.float32(soundfile.read(tmp_path / "clips" / clip)[0])
        units = (trained.features_of(wave)[0] - mean) / std
        expected.append(units[:, : round(1 / FRAME_S)].mean(1))
    # Frames near the ends are in fewer windows, so the means differ a little; the clip is certain.
    r = np.corrcoef(volumes[0::4], expected)[: len(clips), len(clips) :]
    assert (r.argmax(1) == np.arange(len(clips))).all()
    assert np.diag(r).min() > 0.85


def test_what_follows_a_training_works_for_readouts(project, tmp_path):
    """Cross-validation, similarity and encodings; random and permuted readouts are controls."""
    lines = []
    (tmp_path / "wav").mkdir()
    for genre in range(4):
        for number in range(6):
            path = project / f"sounds/g{genre}/g{genre}.{number}.wav"
            shutil.copy(path, tmp_path / "wav")
            lines.append(f"{path.name}\t{genre + 0.1 * number}\n")
    (tmp_path / "responses.tsv").write_text("sound\tarea\n" + "".join(lines))
    out = nm.encode_sounds(
        project / "gru", sounds=tmp_path / "wav", responses=tmp_path / "responses.tsv",
        out=tmp_path / "encoded", splits=2,
    )  # fmt: skip
    about = json.loads((out / "encoding.json").read_text())
    assert about["gain_db"] == 0
    table = pd.read_csv(out / "targets.tsv", sep="\t", keep_default_na=False)
    assert {"projection", "GRU"} <= set(table["features"])
    found = nm.similar(
        project / "linear", tmp_path / "wav/g1.0.wav", among=tmp_path / "wav",
        index=tmp_path / "index.npz",
    )  # fmt: skip
    assert found["file"].iat[0].endswith("g1.0.wav")


@pytest.mark.slow
def test_one_command_prepares_and_trains(project, tmp_path):
    done = neuromusic(
        "train", "linear", "--network", "my_net.py", "--stages", "early,late", "--lists", "lists",
        "--prepared", tmp_path / "prepared", "--out", tmp_path / "run", *TINY, cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = (project / "prepared/features.npy").read_bytes()
    assert (tmp_path / "prepared/features.npy").read_bytes() == first  # by two processes
    assert nm.load_network(tmp_path / "run").network.stages[0].name == "units"
    wrong = neuromusic("train", "linear", "--network", "my_net.py", "--prepared", "prepared",
                       "--out", tmp_path / "x", cwd=project)  # fmt: skip
    assert wrong.returncode == 2 and "--network needs --lists" in wrong.stderr


def test_the_settings_of_readouts_standardise_each_unit():
    for name in ("linear", "gru"):
        data = load_config(name).data
        assert (data.front_end, data.normalisation) == ("stages", "band")


def test_a_trained_network_can_be_the_network_below(sound_run, project, tmp_path):
    front_end = nm.stages_front_end(sound_run.directory, ["A1"], 0.25)
    prepared = nm.prepare(
        project / "lists", front_end=front_end, out=tmp_path / "p", machine=nm.Machine(workers=2)
    )
    nm.train(config("linear"), prepared, out=tmp_path / "run")
    clip = project / "sounds/g0/g0.0.wav"
    assert nm.predict(tmp_path / "run", [clip])["file"].iat[0].endswith("g0.0.wav")


def test_features_from_elsewhere_can_be_read_out(project, tmp_path):
    network = nm.load_applied(project / "my_net.py")
    (tmp_path / "features").mkdir()
    for path in (project / "sounds").rglob("*.wav"):
        frames = network.frames_of(network.input_of(path))
        times = {
            f"{stage}.{key}": getattr(each, key)
            for stage, each in frames.items()
            for key in ("frame_s", "first_frame_s")
        }
        arrays = {stage: each.values for stage, each in frames.items()}
        np.savez(tmp_path / f"features/{path.stem}.npz", **arrays, **times)
    done = neuromusic("prepare", project / "lists", "--features", "features", "--out", "prepared",
                      cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "train linear" in done.stderr
    prepared = nm.open_prepared(tmp_path / "prepared")
    assert len(prepared.rows) == 40
    below = nm.open_prepared(project / "prepared")
    clip = prepared.rows["clip"].iat[0]
    ours, theirs = (each.row_features(each.row_of_clip()[clip]) for each in (prepared, below))
    for unit in (0, 40):
        np.testing.assert_allclose(
            ours[unit] / ours[unit].std(), theirs[unit] / theirs[unit].std(), rtol=0.05, atol=0.05
        )
    trained = nm.train(config("linear"), prepared, out=tmp_path / "run")
    assert nm.evaluate(trained)["clip"]["accuracy"] >= 0.75
    with pytest.raises(InputError, match="cannot take sound files"):
        nm.predict(trained, [project / "sounds/g0/g0.0.wav"])
    (tmp_path / "features" / f"{clip.removesuffix('.wav')}.npz").unlink()
    with pytest.raises(InputError, match=f"has no features of {clip}"):
        nm.prepare_folder(project / "lists", tmp_path / "features", out=tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prepared", "linear"])
def test_rerun_makes_the_same_bytes(project, name):
    assert nm.verify(project / name, rerun=True)


# --- What a directory names is not executed -------------------------------------------------------


def test_code_that_a_trained_network_names_runs_only_if_the_user_names_it(
    project, tmp_path, forgetful, monkeypatch
):
    hostile = tmp_path / "evil"
    shutil.copytree(project / "linear", hostile / "linear")
    clip = project / "sounds/g0/g0.0.wav"
    shutil.copy(project / "my_net.py", tmp_path / "kept.py")
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n" + (project / "my_net.py").read_text()
    with pytest.raises(InputError, match="is code that a record names"):
        nm.predict(hostile / "linear", [clip])
    refused = neuromusic("predict", hostile / "linear", clip, cwd=tmp_path)
    assert refused.returncode == 2
    assert "NEUROMUSIC_TRUST=" in refused.stderr and "Traceback" not in refused.stderr
    with pytest.raises(InputError, match="is code that a record names"):
        nm.verify(project / "prepared", rerun=True)
    # The scores need no code.
    assert nm.evaluate(project / "linear")["clip"]["n"] == 12
    # Named by the user, wherever the file is now.
    moved = tmp_path / "elsewhere/my_net.py"
    moved.parent.mkdir()
    shutil.copy(project / "my_net.py", moved)
    monkeypatch.setenv("NEUROMUSIC_TRUST", f"other.module:f,{moved}")
    assert len(nm.predict(hostile / "linear", [clip])) == 1
    # Another file than the one that the features were made with.
    moved.write_text(code)
    stages_front_end._loaded.cache_clear()
    with pytest.raises(InputError, match="is not the network with which"):
        nm.predict(hostile / "linear", [clip])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": 3}, "network: not as expected"),
        ({"network": "os:getcwd"}, "is code that a record names"),
        ({"stages": []}, "not as expected"),
        ({"extra": 1}, "not as expected"),
        ({"network": "no/such/network"}, "no/such/network: is not a trained network"),
    ],
)
def test_a_damaged_description_of_the_network_below_is_refused(project, change, message):
    trained = nm.load_network(project / "linear")
    described = {**trained.meta.front_end, **change}
    broken = replace(trained, meta=replace(trained.meta, front_end=described))
    with pytest.raises(InputError, match=message):
        broken.features_of(np.ones(RATE_HZ, np.float32))


# --- Faults of networks and sounds ----------------------------------------------------------------


def test_the_sound_and_the_stage_of_a_fault_are_named(project, tmp_path):
    text = (project / "my_net.py").read_text()
    faulty = text.replace(  # on a sound that is constant
        "        return SCALE",
        "        if (x.mean(-1).abs() > 10 * x.std(-1) + 0.01).any():\n"
        "            x = x * torch.nan\n"
        "        return SCALE",
    )
    (tmp_path / "net.py").write_text(faulty)
    for genre in "ab":
        (tmp_path / "sounds" / genre).mkdir(parents=True)
        for number in range(2):
            path = tmp_path / f"sounds/{genre}/{genre}.{number}.wav"
            soundfile.write(path, tone_clip(number, 0, 1.0), RATE_HZ)
    soundfile.write(path, np.full(RATE_HZ, 0.5), RATE_HZ)
    lists = nm.make_file_lists(
        nm.Corpus("folder", tmp_path / "sounds"), split="50:0:50", clip_s=0.5, out=tmp_path / "l"
    )
    done = neuromusic("prepare", lists, "--network", "net.py", "--workers", "1", "--out", "out",
                      cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2
    assert "b.1.wav (original): my-net: stage early: its activations" in done.stderr
    assert "contain NaN or infinity" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out/provenance.json").exists()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_activations_of_any_size_are_stored(project, tmp_path, scale):
    write_net(tmp_path, scale)
    ours = nm.stages_front_end(tmp_path / "my_net.py", ["early"])
    usual = nm.stages_front_end(project / "my_net.py", ["early"])
    wave = np.float32(tone_clip(1, 1, 1.0))
    expected = usual.compute(wave)
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours.compute(wave), expected, rtol=1e-3, atol=1e-4)


def test_a_value_beyond_float16_is_refused(project):
    spec = nm.stages_front_end(project / "my_net.py", ["early"])
    values = np.full((30, 32), 1e6, np.float32)
    with pytest.raises(InputError, match="stage early: a value is 1e"):
        spec.on_grid({"early": Timed(values, 0.1, 0.0)}, 20)


def test_a_silent_sound_is_refused(project, tmp_path):
    spec = nm.stages_front_end(project / "my_net.py")
    assert (spec.compute(np.zeros(RATE_HZ, np.float32)) == spec.floor).all()
    for genre, wave in (("a", np.zeros(RATE_HZ)), ("b", tone_clip(1, 1, 1.0))):
        (tmp_path / "sounds" / genre).mkdir(parents=True)
        for name in ("one", "two"):
            soundfile.write(tmp_path / f"sounds/{genre}/{name}_{genre}.wav", wave, RATE_HZ)
    lists = nm.make_file_lists(
        nm.Corpus("folder", tmp_path / "sounds"), split="50:0:50", clip_s=0.5, out=tmp_path / "l"
    )
    with pytest.raises(InputError, match=r"_a\.wav: is silent"):
        nm.prepare(lists, front_end=spec, out=tmp_path / "p", machine=nm.Machine(workers=1))


def test_a_network_in_memory_is_refused_because_other_processes_could_not_load_it(project):
    external = nm.load_applied(project / "my_net.py").external
    with pytest.raises(InputError, match="so that other processes can load it"):
        nm.stages_front_end(external)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "my_net.py", "--stages", "earl"], "did you mean 'early'"),
        (["--network", "my_net.py", "--stages", "late,late"], "is named twice"),
        (["--network", "my_net.py", "--frame-s", "0"], "frame_s: is 0"),
        (["--network", "my_net.py", "--front-end", "modulation"], "no other front end"),
        (["--network", "nothing"], "nothing"),
        (["--stages", "early"], "--stages needs --network"),
        (["--front-end", "stages"], "needs a network"),
        (["--features", "sounds", "--waves"], "--waves needs LISTS"),
    ],
)
def test_wrong_options_are_refused(project, tmp_path, arguments, message):
    done = neuromusic("prepare", "lists", *arguments, "--out", tmp_path / "o", cwd=project)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()


def test_linear_is_logistic_regression_on_means_and_deviations():
    """Against numpy, in evaluation mode."""
    spec = nm.InputSpec(n_bands=5, n_frames=9, frame_s=0.1, n_classes=3)
    network = nm.create_model("linear", spec).eval()
    x = torch.randn(4, 5, 9)
    pooled = np.concatenate([x.mean(2).numpy(), x.numpy().std(2)], 1)
    norm = network.pool[1]
    with torch.no_grad():
        scaled = pooled / np.sqrt(1 + norm.eps)
        expected = scaled @ network.linear.weight.numpy().T + network.linear.bias.numpy()
        np.testing.assert_allclose(network(x).numpy(), expected, atol=1e-5)


def test_of_two_network_files_of_one_name_the_recorded_one_is_loaded(
    project, tmp_path, forgetful, monkeypatch
):
    """Another experiment's my_net.py may have been named before, in the same process."""
    other = write_net(tmp_path, 2.0)
    nm.load_applied(other)
    nm.load_applied(project / "my_net.py")
    described = nm.load_network(project / "linear").meta.front_end
    assert stages_front_end.restored(described).network == str(project / "my_net.py")
    monkeypatch.setenv("NEUROMUSIC_TRUST", str(other))
    assert stages_front_end.restored(described).network == str(project / "my_net.py")
