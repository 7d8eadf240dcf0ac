"""Encoding of single responses: one value per sound and target."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import soundfile
import torch
from helpers import TINY
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.preprocessing import StandardScaler

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.encoding import sound_encoding, sound_features
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.sound_responses import find_sounds, read_responses
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.models.stored import Sound, sound_of_wave
from neuromusic.pipeline.encode_sounds import SoundOptions, encode_sounds
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.pipeline.train import train as train_network
from neuromusic.pipeline.verify import verify
from neuromusic.stats import resampling
from neuromusic.stimuli import audio
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.trained import load_network

RATE_HZ = audio.RATE_HZ
N = 41  # sounds, an odd number


def sound(index, seconds=2.2):
    """Pulsed tones in noise; pitch, tempo and level depend on the index."""
    rng = np.random.default_rng([7, index])
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pulse = np.mod(t * rng.uniform(1, 8), 1) < 0.5
    wave = pulse * np.sin(2 * np.pi * 110 * 2 ** rng.uniform(0, 5) * t)
    wave = wave + rng.uniform(0.02, 0.5) * rng.standard_normal(len(t))
    return 0.05 * wave / np.sqrt(np.mean(wave**2))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with sounds (wav), and a network trained for one epoch on similar ones (run)."""
    root = tmp_path_factory.mktemp("sounds")
    (root / "wav").mkdir()
    for index in range(N):
        soundfile.write(root / "wav" / f"sound_{index}.wav", sound(index), RATE_HZ)
    for index in range(6):
        path = root / "classes" / "ab"[index % 2] / f"clip_{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 2 * sound(100 + index, 3.0), RATE_HZ)
    corpus = Corpus("folder", root / "classes")
    lists = make_file_lists(corpus, out=root / "lists", split="1:0:0", clip_s=2.0, link="copy")
    data = prepare(lists, out=root / "prepared", machine=Machine(workers=1))
    tree = {
        "data": {"window_s": 2.0, "hop_s": 0.1, "windows_per_epoch": 16, "validation_runs": 0},
        "model": {"options": TINY},
        "train": {"epochs": 1, "batch_size": 8},
    }
    train_network(tree, data, out=root / "run")
    return root


def names(n=N):
    return [f"sound_{index}" for index in range(n)]


def write_npz(path, values, **others):
    np.savez(path, responses=values, sounds=np.array(names(len(values))), **others)
    return path


# --- Scores ---------------------------------------------------------------------------------------


def test_halves_are_disjoint_complete_and_seeded():
    halves = resampling.random_halves(N, 10, seed=3)
    for train, test in halves:
        assert (len(train), len(test)) == (20, 21)
        assert sorted([*train, *test]) == list(range(N))
    assert len({tuple(sorted(train)) for train, _ in halves}) == 10
    again, other = resampling.random_halves(N, 10, seed=3), resampling.random_halves(N, 10, seed=4)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(halves, again, strict=True))
    assert not any(np.array_equal(a[0], b[0]) for a, b in zip(halves, other, strict=True))


@pytest.mark.parametrize("sizes", [(12,), (300,), (12, 300)], ids=str)
def test_scores_are_those_of_scikit_learn(sizes):
    rng = np.random.default_rng(0)
    blocks = [5 + 3 * rng.standard_normal((160, size)) for size in sizes]
    y = blocks[0] @ rng.standard_normal((sizes[0], 2)) + 9 * rng.standard_normal((160, 2)) + 40
    (train, test), *_ = halves = resampling.random_halves(160, 1, seed=0)
    scores = sound_encoding.score(blocks, y, halves)
    scaled = [
        StandardScaler().fit(block[train]).transform(block) / np.sqrt(block.shape[1])
        for block in blocks
    ]
    x = np.concatenate(scaled, axis=1)
    alphas = ALPHAS * np.square(x[train]).sum() / min(80, x.shape[1])  # as in fit_ridge
    folds = PredefinedSplit(np.arange(80) % 10)  # all of the same size
    for target in range(2):
        search = GridSearchCV(
            Ridge(), {"alpha": alphas}, cv=folds, scoring="neg_mean_squared_error"
        ).fit(x[train], y[train, target])
        predicted = search.predict(x[test])
        r = scipy.stats.pearsonr(y[test, target], predicted).statistic
        np.testing.assert_allclose(scores.r2[0, target], r * abs(r), rtol=1e-4)
        expected = r2_score(y[test, target], predicted)
        np.testing.assert_allclose(scores.determination[0, target], expected, atol=1e-4)
        at_edge = search.best_params_["alpha"] in (alphas[0], alphas[-1])
        assert scores.at_edge[0, target] == at_edge


def test_a_planted_response_is_predicted_up_to_its_noise_and_noise_is_not():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 10))
    signal = x @ rng.standard_normal((10, 60))
    signal /= signal.std(0)
    ceiling = 0.6
    y = signal + np.sqrt(1 / ceiling - 1) * rng.standard_normal(signal.shape)
    noise = rng.standard_normal((200, 60))
    halves = resampling.random_halves(200, 4, seed=0)
    scores = sound_encoding.score([x], np.concatenate([y, noise], axis=1), halves)
    assert ceiling - 0.08 < scores.r2[:, :60].mean() < ceiling + 0.02
    # Without its sign, r2 of noise would be 1 / 99 on average.
    assert abs(scores.r2[:, 60:].mean()) < 0.005
    assert scores.determination[:, 60:].mean() < 0.005
    perfect = sound_encoding.score([x], signal, halves)
    assert perfect.r2.min() > 0.999 and perfect.determination.min() > 0.999


def test_a_feature_that_is_constant_in_training_has_no_effect():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 5))
    y = x @ rng.standard_normal((5, 2))
    halves = resampling.random_halves(60, 1, seed=0)
    rare = np.zeros((60, 1))
    rare[halves[0][1][0]] = 1e6  # a unit that is active for one test sound only
    with_rare = sound_encoding.score([np.concatenate([x, rare], axis=1)], y, halves)
    np.testing.assert_allclose(with_rare.r2, sound_encoding.score([x], y, halves).r2, rtol=1e-9)
    # A unit that is hardly active, for one training sound: no test sound is further from the mean.
    rare[halves[0][0][0]] = 1e-3
    (train, _), limit = halves[0], np.sqrt(29)
    z = sound_encoding._standardised(np.concatenate([x, rare], axis=1), train) * np.sqrt(6)
    assert z[:, 5].max() == pytest.approx(limit) and z[train[0], 5] == pytest.approx(limit)
    with pytest.raises(InputError, match="no feature differs"):
        sound_encoding.score([np.ones((60, 5))], y, halves)


def test_r2_keeps_the_sign_and_is_nan_for_a_constant_prediction():
    a = np.arange(10.0)[:, None]
    assert sound_encoding.signed_r2(a, -a)[0] == pytest.approx(-1)
    assert np.isnan(sound_encoding.signed_r2(a, np.ones((10, 1)))[0])


# --- Features -------------------------------------------------------------------------------------


def test_stage_features_are_mean_and_deviation_over_all_windows(place):
    run = load_network(place / "run")
    x = run.features_of(sound(0).astype(np.float32))[0]
    n, hop = run.network.spec.n_frames, run.hop_frames
    # One window per hop, and one that ends with the sound.
    starts = sorted({*range(0, x.shape[1] - n + 1, hop), x.shape[1] - n})
    assert len(starts) > 1
    with torch.no_grad():
        windows = [run.network.activations(torch.from_numpy(x[None, :, s : s + n])) for s in starts]
    of_x = Sound(lambda: x)
    found = sound_features.stage_features(run, [of_x, of_x], "mean+deviation")
    mean = sound_features.stage_features(run, [of_x], "mean")
    for stage in run.network.stages:
        units = torch.cat([each[stage.name].flatten(1, -2)[0] for each in windows], dim=1).numpy()
        expected = np.concatenate([units.mean(1), units.std(1)])
        np.testing.assert_allclose(found[stage.name][1], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mean[stage.name][0], units.mean(1), rtol=1e-4, atol=1e-5)


def test_sounds_are_brought_to_the_level_of_the_training_sounds(place):
    run = load_network(place / "run")
    waves = [sound(index).astype(np.float32) for index in range(10)]
    gain = sound_features.set_gain(run, waves)
    level = np.mean([run.features_of(wave * np.float32(gain))[0].mean() for wave in waves])
    assert level == pytest.approx(float(run.network.band_mean.mean()), abs=0.2)
    soft = [wave * np.float32(0.25) for wave in waves]
    assert sound_features.set_gain(run, soft) == pytest.approx(4 * gain, rel=0.02)


def test_the_baseline_contains_mean_and_deviation_of_each_band():
    waves = [sound(index).astype(np.float32) for index in range(2)]
    features = sound_features.baseline_features(waves)
    mel = log_mel(waves[1], MelSpec())
    np.testing.assert_allclose(features["bands"][1, :128], mel.mean(1), rtol=1e-6)
    np.testing.assert_allclose(features["bands"][1, 128:], mel.std(1), rtol=1e-6)
    assert np.isfinite(features["modulation"]).all()
    steady = sound_features.baseline_features([np.full(44100, 1e-9, np.float32)])["modulation"]
    assert np.isfinite(steady).all()  # there is no modulation, but still a logarithm


# --- The whole function ---------------------------------------------------------------------------


def test_a_stage_predicts_responses_made_from_it_and_noise_is_not_predicted(place, runner):
    run = load_network(place / "run")
    waves = [audio.read(place / "wav" / f"{name}.wav") for name in names()]
    gain = sound_features.set_gain(run, waves)
    inputs = [sound_of_wave(run, wave, gain) for wave in waves]
    features = sound_features.stage_features(run, inputs, "mean")["PB"]
    z = StandardScaler().fit_transform(features)
    planted = np.linalg.svd(z, full_matrices=False)[0][:, 0]  # the first component of PB
    values = np.stack([planted, np.random.default_rng(5).standard_normal(N)], axis=1)
    values /= values.std(0)
    weights = np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 1.0]])
    path = write_npz(place / "r.npz", values, targets=np.array(["PB", "noise"]), weights=weights)
    out = place / "out"
    arguments = [
        place / "run", "--sounds", place / "wav", "--responses", path, "--out", out,
        "--statistics", "mean", "--splits", 4,
    ]  # fmt: skip
    result = runner.invoke(cli, ["encode", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "targets.tsv", sep="\t", keep_default_na=False)
    table = table.set_index(["network", "features", "target"])
    assert table.loc[("trained", "PB", "PB"), "r2"] > 0.9
    assert table.loc[("trained", "PB", "noise"), "r2"] < 0.15
    # Two targets; three sets of the baseline; for both networks each stage and all, alone and not,
    # and the best stage.
    assert len(table) == 2 * (3 + 2 * (2 * (len(run.network.stages) + 1) + 1))
    best = table.loc[("trained", "best stage", "PB")]
    assert best["r2"] > 0.8  # A1 predicts PB nearly as well, and is chosen in some halves
    assert sum(int(n) for n in re.findall(r"\w+ (\d+)", best["note"])) == 4
    assert "best stage" in result.output and "reconstructed voxels" in result.output
    over = table.loc[("trained", "PB", "PB"), "r2"] - table.loc[("none", "baseline", "PB"), "r2"]
    assert table.loc[("trained", "PB", "PB"), "over_baseline"] == pytest.approx(over, abs=2e-4)
    scores = np.load(out / "scores.npz")
    row = list(zip(scores["network"], scores["features"], strict=True)).index(("trained", "PB"))
    assert table.loc[("trained", "PB", "PB"), "r2"] == pytest.approx(
        scores["r2"][row, :, 0].mean(), abs=1e-4
    )
    # Voxels 1 and 2 are the first target, voxel 3 the second one.
    np.testing.assert_allclose(
        scores["reconstructed_voxel_r2"][row], scores["r2"][row][:, [0, 0, 1]], rtol=1e-3, atol=1e-4
    )
    assert (scores["training"].sum(1) == 20).all()
    voxels = pd.read_csv(out / "reconstructed_voxels.tsv", sep="\t", keep_default_na=False)
    voxels = voxels.set_index(["network", "features"])
    median = np.median(scores["reconstructed_voxel_r2"][row].mean(0))
    assert voxels.loc[("trained", "PB"), "r2"] == pytest.approx(median, abs=1e-4)
    assert json.loads((out / "encoding.json").read_text())["repeated_sounds"] == 0
    assert (out / "stages.png").stat().st_size > 10_000


def test_nothing_is_computed_twice_and_no_other_directory_is_replaced(place, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="neuromusic")
    values = np.random.default_rng(0).standard_normal((20, 1))
    path, out = write_npz(tmp_path / "r.npz", values), tmp_path / "out"

    def encode(seed, out=out, overwrite=False):
        return encode_sounds(
            place / "run", sounds=place / "wav", responses=path, out=out, splits=1,
            options=SoundOptions(statistics="mean"), seed=seed, overwrite=overwrite,
        )  # fmt: skip

    encode(0)
    assert not (out / "reconstructed_voxels.tsv").exists()
    before = (out / "scores.npz").stat().st_mtime_ns
    encode(0)
    assert caplog.messages[-1].endswith("its inputs and settings are unchanged")
    assert (out / "scores.npz").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"other settings \(seed was 0, now 1\)"):
        encode(1)
    assert (out / "scores.npz").stat().st_mtime_ns == before
    encode(1, overwrite=True)
    assert (out / "scores.npz").stat().st_mtime_ns > before
    assert verify(out, rerun=True)
    assert any("only one split" in message for message in caplog.messages)
    with pytest.raises(InputError, match="something else"):
        encode(0, out=place)
    values[3] = np.nan
    write_npz(path, values)
    with pytest.raises(InputError, match="no value for sound_3"):
        encode(2, overwrite=True)
    assert json.loads((out / "encoding.json").read_text())["seed"] == 1  # the old one is complete


@pytest.mark.slow
def test_the_published_protocol_comes_from_the_same_command(place, tmp_path, runner):
    path = write_npz(tmp_path / "r.npz", np.random.default_rng(0).standard_normal((N, 2)))
    out = tmp_path / "out"
    arguments = [
        "encode", place / "run", "--sounds", place / "wav", "--responses", path, "--splits", 2,
        "--protocol", "tuckute2023", "--out", out,
    ]  # fmt: skip
    refused = runner.invoke(cli, [*map(str, arguments), "--statistics", "mean+deviation"])
    assert refused.exit_code == 2 and "takes means over time" in refused.output
    result = runner.invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "targets.tsv", sep="\t", keep_default_na=False)
    stages = [stage.name for stage in load_network(place / "run").network.stages]
    # Of each network: its stages, all of them, all with the baseline, and the best.
    assert len(table) == 2 * (3 + 2 * (len(stages) + 3))
    assert set(table["protocol"]) == {"tuckute2023"}  # and no published values: other targets
    scores = np.load(out / "scores.npz")
    assert (scores["training"].sum(1) == 21).all()  # the larger half
    np.testing.assert_allclose(
        table["r2"], np.median(scores["r2"], axis=1).ravel(), rtol=1e-4, atol=1e-12
    )
    settings = json.loads((out / "encoding.json").read_text())
    assert (settings["protocol"], settings["statistics"]) == ("tuckute2023", "mean")
    assert verify(out, rerun=True)


# --- Real data ------------------------------------------------------------------------------------


def test_modulation_predicts_the_speech_component_of_real_cortex(shared):
    directory = shared / "data" / "natsound165"
    if not (directory / "components.mat").is_file():
        pytest.skip("natsound165 is missing")
    responses = read_responses(directory / "components.mat")
    assert responses.targets == ["lowfreq", "highfreq", "envsounds", "pitch", "speech", "music"]
    assert responses.values.shape == (165, 6) and responses.voxels.shape == (165, 11065)
    files = find_sounds(responses.sounds, directory / "wav", directory / "components.mat")
    few = np.arange(0, 165, 3)
    features = sound_features.baseline_features([audio.read(files[index]) for index in few])
    halves = resampling.random_halves(len(few), 3, seed=0)
    speech = responses.values[few][:, [responses.targets.index("speech")]]
    modulation = sound_encoding.score([features["modulation"]], speech, halves).r2.mean()
    bands = sound_encoding.score([features["bands"]], speech, halves).r2.mean()
    assert modulation > 0.3 > 0.2 > bands, (modulation, bands)
