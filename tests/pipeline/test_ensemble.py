"""Ensembles against their members: the mean of the probabilities, and the temperature by a grid."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny_settings
from helpers import neuromusic, write_features
from sklearn.metrics import log_loss

from neuromusic.core.errors import InputError
from neuromusic.design.lists import write_lists
from neuromusic.evaluation.scores import score_network
from neuromusic.features.prepared import open_prepared
from neuromusic.models.stage_frames import stage_frames
from neuromusic.pipeline.ensemble import ensemble
from neuromusic.pipeline.predict import predict
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.train import train
from neuromusic.training.ensemble import save_ensemble
from neuromusic.training.trained import load_network

BANDS = {
    "model": {"name": "bands"},
    "data": {"window_s": 12.0, "windows_per_epoch": 64},
    "train": {"epochs": 3, "batch_size": 16, "lr": 0.03},
}


def settings(tree, **data):
    return tree | {"data": tree["data"] | data}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Four training runs and a test run; members a and b share one validation run, a and c none."""
    root = tmp_path_factory.mktemp("ensemble")
    train_set = write_features(root / "train.npz", runs=4)
    with np.load(train_set) as file:
        arrays = dict(file)
    rng = np.random.default_rng(1)  # so noisy that a network makes mistakes
    noise = rng.normal(0, 12, (len(arrays["clip"]), 64, 1))
    np.savez(train_set, **arrays | {"features": (arrays["features"] + noise).astype(np.float16)})
    test_set = write_features(root / "test.npz", 2, 1, 50)
    data = prepare_features(train_set, test=test_set, out=root / "prepared")
    tiny = tiny_settings() | {"train": {"epochs": 6, "batch_size": 16}}
    train(settings(tiny, validation_runs=[1, 4]), data, out=root / "a")
    train(settings(BANDS, validation_runs=[4]), data, out=root / "b")
    train(settings(BANDS, validation_runs=[2]), data, out=root / "c")
    ensemble([root / "a", root / "b"], out=root / "ab")
    table = pd.read_csv(root / "prepared/presentations.tsv", sep="\t").assign(path=None)
    (root / "lists").mkdir()
    write_lists(root / "lists", dict(list(table.groupby("split"))))
    return root


@pytest.fixture
def copied(project, tmp_path):
    """A copy of the project, for a test to change."""
    return shutil.copytree(project, tmp_path / "project")


def plain_probabilities(directory, clips):
    """Return the probabilities (clips, classes) of a member from a plain loop over its windows."""
    trained = load_network(directory)
    features = np.load(trained.prepared / "features.npy").astype(np.float32)
    rows = pd.read_csv(trained.prepared / "rows.tsv", sep="\t").set_index("clip")
    length, found = trained.network.spec.n_frames, []
    for clip in clips:
        x = features[rows.loc[clip, "row"]]
        starts = {*range(0, x.shape[1] - length + 1, trained.hop_frames), x.shape[1] - length}
        windows = torch.from_numpy(np.stack([x[:, s : s + length] for s in sorted(starts)]))
        with torch.no_grad():
            log_p = torch.log_softmax(trained.network(windows).double(), 1).mean(0)
        found.append(torch.softmax(log_p, 0).numpy())
    return np.array(found)


def tempered(p, temperature):
    scaled = p ** (1 / temperature)
    return scaled / scaled.sum(-1, keepdims=True)


def test_the_temperature_is_the_best_of_a_grid_on_the_common_validation_run(project):
    rows = pd.read_csv(project / "prepared/rows.tsv", sep="\t")
    valid = rows[(rows["split"] == "train") & (rows["run"] == 4)]
    p = np.mean([plain_probabilities(project / name, valid["clip"]) for name in "ab"], axis=0)
    classes = load_network(project / "ab").classes
    grid = np.geomspace(0.06, 15, 300)
    losses = [log_loss(valid["genre"], tempered(p, t), labels=classes) for t in grid]
    about = json.loads((project / "ab/ensemble.json").read_text())
    assert about["temperature"] == pytest.approx(grid[np.argmin(losses)], rel=0.02)
    assert grid[0] < about["temperature"] < grid[-1]
    assert not 0.98 < about["temperature"] < 1.02
    before, after = about["validation"]["before"], about["validation"]["after"]
    assert before["n"] == 10
    expected = log_loss(valid["genre"], p, labels=classes)
    assert before["cross_entropy"] == pytest.approx(expected, rel=1e-5)
    assert after["cross_entropy"] == pytest.approx(min(losses), rel=1e-3)
    assert load_network(project / "ab").temperature == about["temperature"]


@pytest.mark.slow
def test_evaluate_scores_the_mean_of_the_members_and_compare_ranks_it(copied):
    for name in ("a", "ab"):
        result = neuromusic("evaluate", name, cwd=copied)
        assert result.returncode == 0, result.stderr
    table = pd.read_csv(copied / "ab/predictions.tsv", sep="\t")
    both = load_network(copied / "ab")
    p = np.mean([plain_probabilities(copied / name, table["clip"]) for name in "ab"], axis=0)
    p = tempered(p, both.temperature)
    np.testing.assert_allclose(table[both.classes], p, atol=1e-5)
    scores = json.loads((copied / "ab/evaluation.json").read_text())
    hits = p.argmax(1) == table["genre"].map(both.classes.index)
    assert scores["clip"]["accuracy"] == pytest.approx(hits.mean())
    assert scores["model"] == "ensemble"
    assert scores["random_weights"]["accuracy"] < 0.5
    assert {path.name for path in (copied / "ab/figures").iterdir()} == {
        "confusion.png", "reliability.png", "timeline.png",
    }  # fmt: skip
    compared = neuromusic("compare", "a", "ab", "--out", "compared", cwd=copied)
    assert compared.returncode == 0, compared.stderr
    table = pd.read_csv(copied / "compared/table.tsv", sep="\t").set_index("run")
    columns = ["parameters", "multiply_adds"]
    more = table.loc["ab", columns] - table.loc["a", columns]
    network = load_network(copied / "b").network
    assert more["parameters"] == sum(each.numel() for each in network.parameters())
    assert more["multiply_adds"] == network.dense[-1].weight.numel()  # once per window


def test_the_export_has_the_stages_of_both_and_the_mean_of_every_volume(project, tmp_path):
    for name in ("a", "b", "ab"):
        result = neuromusic(
            "export", project / name, "--lists", project / "lists", "--out", tmp_path / name,
            "--format", "npz", cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    stem = "activations/task-Training_run-02_stage-{}_activations.npy"
    for name, prefix, stage in (("a", "cortexz", "A1"), ("a", "cortexz", "GRU"),
                                ("b", "bands", "level"), ("b", "bands", "step2")):  # fmt: skip
        own = np.load(tmp_path / name / stem.format(stage))
        np.testing.assert_array_equal(np.load(tmp_path / "ab" / stem.format(prefix + stage)), own)
    p = {}
    for name in ("a", "b", "ab"):
        with np.load(next((tmp_path / name).rglob("*run-02*.npz"))) as file:
            p[name] = file["probability"].astype(np.float64)
    temperature = load_network(project / "ab").temperature
    np.testing.assert_allclose(p["ab"], tempered((p["a"] + p["b"]) / 2, temperature), atol=1e-5)
    sidecar = json.loads((tmp_path / "ab/activations/activations.json").read_text())
    assert sidecar["Stages"]["cortexzA1"]["BrodmannAreas"] == [41]


@pytest.fixture(scope="module")
def of_sound(sound_run, tmp_path_factory):
    """An ensemble of two networks that were trained on sound."""
    root = tmp_path_factory.mktemp("of_sound")
    tree = settings(BANDS, window_s=7.4)
    bands = train(tree | {"train": {"epochs": 1}}, sound_run.prepared, out=root / "bands")
    return sound_run, bands, ensemble([sound_run, bands], out=root / "both")


def test_sounds_are_predicted_by_the_mean_and_stages_are_those_of_the_members(
    of_sound, small_clips, tmp_path
):
    a, b, both = of_sound
    files = sorted(small_clips.iterdir())[:4]
    first, second = (predict(each, files)[both.classes].to_numpy() for each in (a, b))
    table = predict(both.directory, files)
    expected = tempered((first + second) / 2, both.temperature)
    np.testing.assert_allclose(table[both.classes], expected, rtol=1e-6)
    assert table.attrs["windows"][0] == 5 + 5  # of 5 s and of 7.4 s, every 2.5 s
    x = both.features_of(np.random.default_rng(0).normal(0, 0.1, 10 * 22_050).astype(np.float32))[0]
    frames = stage_frames(both, x)
    assert list(frames) == [stage.name for stage in both.network.stages]
    np.testing.assert_array_equal(frames["bandsstep1"].values, stage_frames(b, x)["step1"].values)
    for network, stage in ((both, "cortexzPB"), (a, "PB")):
        line = ["similar", network.directory, "--clip", files[0], "--among", small_clips, "-k", "5",
                "--stage", stage, "--index", tmp_path / f"{stage}.npz",
                "--out", tmp_path / f"{stage}.tsv"]  # fmt: skip
        result = neuromusic(*line, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "PB.tsv").read_bytes() == (tmp_path / "cortexzPB.tsv").read_bytes()


def test_without_a_common_validation_run_there_is_no_temperature(project, tmp_path):
    line = ["ensemble", project / "a", project / "c", "--out", tmp_path / "ac"]
    result = neuromusic(*line, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "no temperature is fitted: no clip is held out" in result.stdout
    assert f"next: neuromusic evaluate {tmp_path / 'ac'}" in result.stderr
    assert load_network(tmp_path / "ac").temperature == 1
    about = json.loads((tmp_path / "ac/ensemble.json").read_text())
    assert "no clip is held out" in about["validation"]["why_none"]


def test_clips_count_as_trained_on_unless_all_members_held_them_out(copied):
    rows = pd.read_csv(copied / "prepared/rows.tsv", sep="\t").drop_duplicates("clip")
    tracks = rows["track"].unique()
    artists = pd.DataFrame({"track": tracks, "artist_group": tracks, "fault": ""})
    artists.to_csv(copied / "artists.tsv", sep="\t", index=False)
    both = load_network(copied / "ab")
    data = open_prepared(copied / "prepared")
    scores = score_network(both, data, copied / "artists.tsv").scores
    assert scores["clean"]["trained"]["n"] == 40
    assert scores["clean"]["validation"]["n"] == 10  # run 4; run 1 was for training in b
    config = (copied / "ab/config.toml").read_text()
    assert "validation_runs = [\n    4,\n]" in config
    leaks = neuromusic("leaks", "lists", "--settings", "ab/config.toml", cwd=copied)
    assert "30" in leaks.stdout, leaks.stderr  # clips of training


def test_it_is_complete_in_itself_recorded_and_not_replaced_silently(copied):
    line = ["ensemble", "a", "b", "--out", "ab"]
    again = neuromusic(*line, cwd=copied)
    assert again.returncode == 0
    assert "ab is up to date" in again.stdout
    other = ["ensemble", "a", "c", "--out", "ab"]
    refused = neuromusic(*other, cwd=copied)
    assert refused.returncode == 2
    assert "--overwrite" in refused.stderr
    dry = neuromusic(*other, "--overwrite", "--dry-run", cwd=copied)
    assert dry.returncode == 0, dry.stderr
    assert "a temperature for 2 networks" in dry.stdout
    assert neuromusic(*line, "--overwrite", cwd=copied).returncode == 0
    rerun = neuromusic("verify", "ab", "--rerun", cwd=copied)
    assert rerun.returncode == 0, rerun.stdout + rerun.stderr
    assert "repeated: 3 of 3 files are identical" in rerun.stdout
    shutil.rmtree(copied / "a")
    shutil.rmtree(copied / "b")
    scored = score_network(load_network(copied / "ab"), open_prepared(copied / "prepared"))
    assert scored.scores["clip"]["n"] == 20
    verified = neuromusic("verify", "ab", cwd=copied)
    assert verified.returncode == 0, verified.stdout
    assert "3 of 3 files as recorded" in verified.stdout
    with open(copied / "ab/model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert neuromusic("verify", "ab", cwd=copied).returncode == 1


def test_networks_that_do_not_belong_together_are_named(project, tiny_run, tmp_path):
    root = tmp_path
    with np.load(project / "train.npz") as file:
        arrays = dict(file)
    genre = np.where(arrays["genre"] == "rock", "polka", arrays["genre"])
    np.savez(root / "polka.npz", **arrays | {"genre": genre})
    np.savez(root / "slow.npz", **arrays | {"frame_s": 0.16})
    for name in ("polka", "slow"):
        data = prepare_features(root / f"{name}.npz", out=root / f"prepared_{name}")
        train(BANDS | {"train": {"epochs": 1}}, data, out=root / name)
    one = {"train": {"epochs": 1}}
    train(settings(BANDS, normalisation="clip") | one, project / "prepared", out=root / "clip")
    data = prepare_features(root / "slow.npz", front_end="modulation", out=root / "prepared_mod")
    train(settings(BANDS, front_end="modulation") | one, data, out=root / "modulation")
    refused = {
        root / "polka": "lacks the class rock and has the class polka besides",
        root / "modulation": "has the front end modulation, not logmel",
        root / "slow": "frame_s is 0.16, not 0.155",
        root / "clip": "data.normalisation is clip, not band-mean",
        tiny_run.directory: f"was trained on {tiny_run.prepared}, not on {project / 'prepared'}",
        project / "a": "is the same network",
        project / "ab": "is an ensemble; name its members instead",
        project / "prepared": "is not a trained network",
    }
    for network, message in refused.items():
        with pytest.raises(InputError) as error:
            ensemble([project / "a", network], out=root / "out")
        assert str(network) in str(error.value)
        assert message in str(error.value)
    with pytest.raises(InputError, match="at least two"):
        ensemble([project / "a"], out=root / "out")
    with pytest.raises(InputError, match="is not the prepared set that"):
        ensemble([project / "a", project / "b"], prepared=root / "prepared_slow", out=root / "out")
    assert not (root / "out").exists()


def test_settings_that_do_not_fit_and_impossible_temperatures_are_errors(copied):
    save_ensemble(copied / "ab", replace(load_network(copied / "ab"), temperature=0.0))
    with pytest.raises(InputError, match=r"file of weights \(the temperature is 0\.0\)"):
        load_network(copied / "ab")
    (copied / "ab/config.toml").write_text('[model]\nname = "ensemble"\n')
    with pytest.raises(InputError, match="is not a readable file of weights"):
        load_network(copied / "ab")
