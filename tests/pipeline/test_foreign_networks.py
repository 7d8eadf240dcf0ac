"""Networks of others and features computed elsewhere in encode, export and similar."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
from bids_validator import validate
from designs import write_events as write_rows
from helpers import neuromusic

import neuromusic as nm
from neuromusic.core.errors import InputError
from neuromusic.models.hearing import activations_of

N_SOUNDS, SOUND_S, TR_S = 24, 2.0, 1.0
NET = """
import torch
from torch import nn

from neuromusic import External


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160), nn.ReLU(),
        nn.Conv1d(8, 12, 5, 2), nn.ReLU(),
    )
    return External(net, {"conv1": "2", "conv2": "4"}, rate_hz=16_000, name="my-net")
"""
DESCRIPTION = """
name = "listening"
files.tasks = ["listen"]
sounds.sound = "stim_file"
time.tr_s = 1.0
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A network file, sounds, responses that follow conv1, events, lists, and features."""
    root = tmp_path_factory.mktemp("foreign")
    (root / "my_net.py").write_text(NET)
    (root / "sounds").mkdir()
    rng = np.random.default_rng(0)
    network = nm.load_applied(root / "my_net.py")
    unit = []
    (root / "features").mkdir()
    for number in range(N_SOUNDS):
        wave = rng.normal(size=round(SOUND_S * 32_000)) * 10 ** rng.uniform(-2, -1)
        path = root / f"sounds/s{number:02d}.wav"
        soundfile.write(path, wave, 32_000, subtype="FLOAT")
        frames = network.frames_of(network.input_of(path))
        unit.append(frames["conv1"].values[:, 0].mean())
        arrays = {stage: each.values for stage, each in frames.items()}
        times = {
            f"{stage}.{key}": getattr(each, key)
            for stage, each in frames.items()
            for key in ("frame_s", "first_frame_s")
        }
        np.savez(root / f"features/s{number:02d}.npz", **arrays, **times)
    lines = [f"s{number:02d}.wav\t{value}" for number, value in enumerate(unit)]
    (root / "responses.tsv").write_text("sound\tarea\n" + "\n".join(lines))
    (root / "experiment.toml").write_text(DESCRIPTION)
    for run in (1, 2, 3):
        order = rng.permutation(N_SOUNDS)
        rows = [(4 * place, SOUND_S, f"s{number:02d}.wav") for place, number in enumerate(order)]
        write_rows(
            root / "bids/sub-01/func", f"sub-01_task-listen_run-{run}", rows,
            "onset duration stim_file",
        )  # fmt: skip
    nm.make_experiment_lists(
        root / "experiment.toml", bids=root / "bids", clips=root / "sounds", out=root / "lists"
    )
    return root


def targets(out):
    return pd.read_csv(out / "targets.tsv", sep="\t", keep_default_na=False)


def test_single_responses_are_encoded_by_a_network_file_and_by_its_features(project, tmp_path):
    of_file = neuromusic(
        "encode", "--network", "my_net.py", "--sounds", "sounds", "--responses", "responses.tsv",
        "--splits", "2", "--out", tmp_path / "file", cwd=project,
    )  # fmt: skip
    assert of_file.returncode == 0, of_file.stderr
    of_features = neuromusic(
        "encode", "--features", "features", "--sounds", "sounds", "--responses", "responses.tsv",
        "--splits", "2", "--out", tmp_path / "features", cwd=project,
    )  # fmt: skip
    assert of_features.returncode == 0, of_features.stderr
    first, second = targets(tmp_path / "file"), targets(tmp_path / "features")
    assert set(first["network"]) == {"none", "trained", "random"}
    assert set(second["network"]) == {"none", "trained"}
    both = [
        table[table["network"] == "trained"].reset_index(drop=True) for table in (first, second)
    ]
    pd.testing.assert_frame_equal(*both)
    best = both[0].set_index("features")["r2"].astype(float)
    assert best["conv1"] > 0.8
    about = json.loads((tmp_path / "file/encoding.json").read_text())
    assert (about["model"], about["gain_db"]) == ("my-net", 0.0)
    record = json.loads((tmp_path / "file/provenance.json").read_text())
    assert record["settings"]["external"]["stages"] == {"conv1": "2", "conv2": "4"}


def test_sounds_are_read_at_the_rate_of_the_network(project):
    wave, rate_hz = soundfile.read(project / "sounds/s00.wav")
    network = nm.load_applied(project / "my_net.py")
    expected = activations_of(network.external, wave, rate_hz)["conv1"].values
    found = network.frames_of(network.input_of(project / "sounds/s00.wav"))["conv1"].values
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("source", ["file", "features"])
def test_exports_are_means_of_frames_and_valid_without_classes(project, tmp_path, source):
    network = (
        nm.load_applied(project / "my_net.py")
        if source == "file"
        else nm.load_features(project / "features")
    )
    out = nm.export(network, project / "lists", out=tmp_path / "out", formats=["bids", "nilearn"])
    [array] = (out / "activations").glob("*run-01*stage-conv1_activations.npy")
    volumes = np.load(array)
    events = pd.read_csv(project / "bids/sub-01/func/sub-01_task-listen_run-1_events.tsv", sep="\t")
    clip = events["stim_file"].iat[1]
    frames = network.frames_of(network.input_of(project / "sounds" / clip))["conv1"]
    for second in range(2):
        inside = (frames.times_s >= second) & (frames.times_s < second + 1)
        np.testing.assert_allclose(
            volumes[4 + second], frames.values[inside].mean(0), rtol=1e-4, atol=1e-6
        )
    assert (volumes[6:8] == 0).all()  # rest
    assert validate(out) == {"error": set(), "warning": set()}


@pytest.mark.slow
def test_images_are_encoded_by_a_network_of_others(project, sound_run, tmp_path):
    pytest.importorskip("himalaya")
    dataset = nm.Dataset(project / "bids", project / "experiment.toml", project / "sounds")
    images = nm.simulate(
        sound_run, out=tmp_path / "images", bids=dataset,
        planted=nm.Planted(stages=("A1",), voxels=4, noise_voxels=4),
    )  # fmt: skip
    dataset = nm.Dataset(images, project / "experiment.toml", project / "sounds")
    rois = nm.Rois("all", images / "derivatives/truth/areas.nii.gz")
    options = nm.EncodingOptions(components=4)
    for name, network in (
        ("file", project / "my_net.py"), ("features", nm.load_features(project / "features")),
    ):  # fmt: skip
        out = nm.encode(network, bids=dataset, out=tmp_path / name, rois=rois, options=options)
        areas = pd.read_csv(out / "areas.tsv", sep="\t")
        kinds = {"trained", "random", "permuted", "baseline"} if name == "file" else {
            "trained", "baseline"
        }  # fmt: skip
        assert set(areas["network"]) == kinds
        assert set(areas.loc[areas["network"] == "trained", "stage"]) == {"conv1", "conv2"}
    with pytest.raises(InputError, match="needs the sounds that were played"):
        nm.encode(project / "my_net.py", bids=images, out=tmp_path / "o", rois=rois)


def test_similar_takes_a_network_of_others(project, tmp_path):
    table = nm.similar(
        project / "my_net.py", project / "sounds/s03.wav", among=project / "sounds",
        index=tmp_path / "index.npz", k=2,
    )  # fmt: skip
    assert table["file"].iat[0].endswith("s03.wav")
    assert table["similarity"].iat[0] == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "chosen"),
    [
        ("encode", ("--features", "features")),
        ("export", ("--features", "features")),
    ],
)
def test_what_was_made_with_a_network_of_others_is_repeated(project, tmp_path, command, chosen):
    inputs = {
        "encode": ("--sounds", "sounds", "--responses", "responses.tsv", "--splits", "2"),
        "export": ("--lists", "lists"),
    }
    made = neuromusic(command, *chosen, *inputs[command], "--out", tmp_path / "out", cwd=project)
    assert made.returncode == 0, made.stderr
    again = neuromusic("verify", tmp_path / "out", "--rerun", cwd=project)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "repeated: " in again.stdout


@pytest.mark.slow
def test_a_network_file_that_a_record_names_is_not_executed(project, tmp_path):
    """The record and the file may have come from somebody else; only the user names code."""
    received = tmp_path / "received"
    shutil.copytree(project / "sounds", received / "sounds")
    for name in ("my_net.py", "responses.tsv"):
        shutil.copy(project / name, received)
    line = (
        "encode", "--network", "my_net.py", "--sounds", "sounds", "--responses", "responses.tsv",
        "--splits", "2", "--out", "encoded",
    )  # fmt: skip
    made = neuromusic(*line, cwd=received)
    assert made.returncode == 0, made.stderr
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (received / "my_net.py").write_text(code + (received / "my_net.py").read_text())
    again = neuromusic("verify", received / "encoded", "--rerun", cwd=tmp_path)
    assert again.returncode in (1, 2)
    assert "is not executed" in again.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("runs/a", "--network", "my_net.py"), "give one of NETWORK, --network and --features"),
        ((), "give one of NETWORK, --network and --features"),
        (("--network", "nowhere.py"), "nowhere.py: no such file"),
        (("--network", "musicn"), "did you mean 'musicnn'?"),
        (("--features", "nowhere"), "nowhere: no such directory"),
        (("--features", "sounds"), "contains no features"),
        (("my_net.py", "--stages", "conv3"), "has no stage 'conv3'"),
    ],
)
def test_what_is_no_network_is_refused(project, tmp_path, line, message):
    result = neuromusic(
        "encode", *line, "--sounds", "sounds", "--responses", "responses.tsv", "--out",
        tmp_path / "out", cwd=project,
    )  # fmt: skip
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("source", ["my_net.py", "musicnn", "torchvision:resnet18", "features"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evaluate {}", "is not a trained network"),
        ("predict {} sounds/s00.wav", "is not a trained network"),
        ("compare {}", "have none of our classes|neuromusic evaluate features"),
        ("confusions {} --behaviour a.tsv --decoding b.tsv --out out", "neuromusic evaluate"),
        ("verify {}", "expected an output of neuromusic|was not made by neuromusic"),
    ],
)
def test_commands_that_need_classes_refuse_networks_of_others(project, source, line, message):
    before = sorted(project.iterdir())
    result = neuromusic(*line.format(source).split(), cwd=project)
    assert result.returncode == 2
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(project.iterdir()) == before


def test_features_of_other_sounds_are_refused_in_words(project, tmp_path):
    (tmp_path / "features").mkdir()
    for path in sorted((project / "features").iterdir())[1:]:
        (tmp_path / "features" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="has no features of s00"):
        nm.encode_sounds(
            nm.load_features(tmp_path / "features"), sounds=project / "sounds",
            responses=project / "responses.tsv", out=tmp_path / "out",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
