"""Single responses: one value a sound and target."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.io
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
from neuromusic.encoding import sound_encoding
from neuromusic.encoding.ridge import ALPHAS
from neuromusic.encoding.sound_responses import Responses, find_sounds, read_responses, usable
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import prepare
from neuromusic.pipeline.encode_sounds import make_sound_encoding
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.stats import resampling
from neuromusic.stimuli import audio
from neuromusic.stimuli.corpora import folder
from neuromusic.training.config import make_config
from neuromusic.training.fit import fit
from neuromusic.training.trained import load_network

RATE_HZ = audio.RATE_HZ
N = 41  # sounds, an odd number


def sound(index, seconds=2.2):
    """Pulsed tones in noise, of a pitch, a tempo and a level of their own."""
    rng = np.random.default_rng([7, index])
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pulse = np.mod(t * rng.uniform(1, 8), 1) < 0.5
    wave = pulse * np.sin(2 * np.pi * 110 * 2 ** rng.uniform(0, 5) * t)
    wave = wave + rng.uniform(0.02, 0.5) * rng.standard_normal(len(t))
    return 0.05 * wave / np.sqrt(np.mean(wave**2))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sounds, and a run that was trained, a little, on some of them."""
    root = tmp_path_factory.mktemp("sounds")
    (root / "wav").mkdir()
    for index in range(N):
        soundfile.write(root / "wav" / f"sound_{index}.wav", sound(index), RATE_HZ)
    for index in range(6):
        path = root / "classes" / "ab"[index % 2] / f"clip_{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 2 * sound(100 + index, 3.0), RATE_HZ)
    files, quiet = folder.table(root / "classes"), lambda text: None
    lists = make_file_lists(files, "1:0:0", 0, 2.0, root / "lists", "copy", quiet)
    prepare.make_prepared(lists, root / "prepared", 0, 1, quiet)
    tree = {
        "data": {"window_s": 2.0, "hop_s": 0.1, "windows_per_epoch": 16, "validation_runs": 0},
        "model": {"options": TINY},
        "train": {"epochs": 1, "batch_size": 8},
    }
    fit(make_config(tree, "test"), open_prepared(root / "prepared"), root / "run")
    return root


def names(n=N):
    return [f"sound_{index}" for index in range(n)]


def write_npz(path, values, **others):
    np.savez(path, responses=values, sounds=np.array(names(len(values))), **others)
    return path


# --- Scores -------------------------------------------------------------------------------------


def test_halves_are_disjoint_whole_and_seeded():
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
    alphas = ALPHAS * np.square(x[train]).sum() / min(80, x.shape[1])  # as fit_ridge says
    folds = PredefinedSplit(np.arange(80) % 10)  # all of the same size
    for target in range(2):
        search = GridSearchCV(
            Ridge(), {"alpha": alphas}, cv=folds, scoring="neg_mean_squared_error"
        ).fit(x[train], y[train, target])
        guess = search.predict(x[test])
        r = scipy.stats.pearsonr(y[test, target], guess).statistic
        np.testing.assert_allclose(scores.r2[0, target], r * abs(r), rtol=1e-4)
        expected = r2_score(y[test, target], guess)
        np.testing.assert_allclose(scores.determination[0, target], expected, atol=1e-4)
        at_edge = search.best_params_["alpha"] in (alphas[0], alphas[-1])
        assert scores.at_edge[0, target] == at_edge


def test_a_planted_response_is_found_up_to_its_noise_and_noise_is_not():
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
    # Without its sign r2 of noise would be 1 / 99 on average.
    assert abs(scores.r2[:, 60:].mean()) < 0.005
    assert scores.determination[:, 60:].mean() < 0.005
    perfect = sound_encoding.score([x], signal, halves)
    assert perfect.r2.min() > 0.999 and perfect.determination.min() > 0.999


def test_a_feature_that_never_varies_in_training_does_no_harm():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 5))
    y = x @ rng.standard_normal((5, 2))
    halves = resampling.random_halves(60, 1, seed=0)
    rare = np.zeros((60, 1))
    rare[halves[0][1][0]] = 1e6  # a unit that only a test sound wakes
    with_rare = sound_encoding.score([np.concatenate([x, rare], axis=1)], y, halves)
    np.testing.assert_allclose(with_rare.r2, sound_encoding.score([x], y, halves).r2, rtol=1e-9)
    # And one that a single training sound hardly wakes: no test sound is further out than that one.
    rare[halves[0][0][0]] = 1e-3
    (train, _), limit = halves[0], np.sqrt(29)
    z = sound_encoding._standardised(np.concatenate([x, rare], axis=1), train) * np.sqrt(6)
    assert z[:, 5].max() == pytest.approx(limit) and z[train[0], 5] == pytest.approx(limit)
    with pytest.raises(InputError, match="no feature differs"):
        sound_encoding.score([np.ones((60, 5))], y, halves)


def test_r2_keeps_the_sign_and_a_constant_guess_has_none():
    a = np.arange(10.0)[:, None]
    assert sound_encoding.signed_r2(a, -a)[0] == pytest.approx(-1)
    assert np.isnan(sound_encoding.signed_r2(a, np.ones((10, 1)))[0])


# --- Features -----------------------------------------------------------------------------------


def test_stage_features_are_mean_and_deviation_of_the_windows(place):
    run = load_network(place / "run")
    x = run.hear(sound(0).astype(np.float32))[0]
    n, hop = run.network.spec.n_frames, run.hop_frames
    # Every hop, and one window that ends with the sound.
    starts = sorted({*range(0, x.shape[1] - n + 1, hop), x.shape[1] - n})
    assert len(starts) > 1
    with torch.no_grad():
        heard = [run.network.activations(torch.from_numpy(x[None, :, s : s + n])) for s in starts]
    got = sound_encoding.stage_features(run.network, [x, x], hop, "mean+deviation")
    mean = sound_encoding.stage_features(run.network, [x], hop, "mean")
    for stage in run.network.stages:
        units = torch.cat([each[stage.name].flatten(1, -2)[0] for each in heard], dim=1).numpy()
        expected = np.concatenate([units.mean(1), units.std(1)])
        np.testing.assert_allclose(got[stage.name][1], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mean[stage.name][0], units.mean(1), rtol=1e-4, atol=1e-5)


def test_sounds_are_brought_to_the_level_of_the_training(place):
    run = load_network(place / "run")
    waves = [sound(index).astype(np.float32) for index in range(10)]
    gain = sound_encoding.set_gain(run, waves)
    level = np.mean([run.hear(wave * np.float32(gain))[0].mean() for wave in waves])
    assert level == pytest.approx(float(run.network.band_mean.mean()), abs=0.2)
    soft = [wave * np.float32(0.25) for wave in waves]
    assert sound_encoding.set_gain(run, soft) == pytest.approx(4 * gain, rel=0.02)


def test_baseline_holds_the_level_of_every_band(place):
    waves = [sound(index).astype(np.float32) for index in range(2)]
    features = sound_encoding.baseline_features(waves)
    mel = log_mel(waves[1], MelSpec())
    np.testing.assert_allclose(features["bands"][1, :128], mel.mean(1), rtol=1e-6)
    np.testing.assert_allclose(features["bands"][1, 128:], mel.std(1), rtol=1e-6)
    assert np.isfinite(features["modulation"]).all()
    steady = sound_encoding.baseline_features([np.full(44100, 1e-9, np.float32)])["modulation"]
    assert np.isfinite(steady).all()  # nothing modulates, and that has a logarithm


# --- Responses ----------------------------------------------------------------------------------


def test_the_three_kinds_of_file_say_the_same(tmp_path):
    rng = np.random.default_rng(0)
    values, weights, targets = rng.random((25, 2)), rng.random((2, 7)), ["A", "B"]
    cell = np.array(names(25), dtype=object)[None]
    mat = {"R": values, "W": weights, "stim_names": cell, "component_names": ["A", "B"]}
    mat["component_names"] = np.array(targets, dtype=object)[:, None]
    scipy.io.savemat(tmp_path / "a.mat", mat)
    write_npz(tmp_path / "a.npz", values, targets=np.array(targets), weights=weights)
    table = pd.DataFrame(values, columns=targets)
    table.insert(0, "sound", names(25))
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    for kind in ("mat", "npz", "tsv"):
        found = read_responses(tmp_path / f"a.{kind}")
        assert (found.sounds, found.targets) == (names(25), targets)
        np.testing.assert_allclose(found.values, values)
        expected = np.zeros((25, 0)) if kind == "tsv" else values @ weights
        np.testing.assert_allclose(found.voxels, expected)


BROKEN = {
    "has no sounds": lambda v: {"responses": v},
    "has no responses": lambda v: {"sounds": np.array(names())},
    "41 x 3, but there are 40 sounds": lambda v: {"responses": v, "sounds": np.array(names(40))},
    "'sound_0' twice": lambda v: {
        "responses": v, "sounds": np.array(["sound_0"] * 2 + names()[2:]),
    },
    "has the shape": lambda v: {"responses": v[:, 0], "sounds": np.array(names())},
    "at least 20": lambda v: {"responses": v[:8], "sounds": np.array(names(8))},
    "weights have 2 rows": lambda v: {
        "responses": v, "sounds": np.array(names()), "weights": np.ones((2, 5)),
    },
    "weight of target-1 in voxel 5 is no number": lambda v: {
        "responses": v, "sounds": np.array(names()), "weights": np.array([[1] * 4 + [np.nan]] * 3),
    },
    "is no text": lambda v: {"responses": v, "sounds": np.arange(N)},
}  # fmt: skip


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, message):
    path = tmp_path / "broken.npz"
    np.savez(path, **BROKEN[message](np.random.default_rng(0).random((N, 3))))
    with pytest.raises(InputError, match=message) as error:
        read_responses(path)
    assert str(path) in str(error.value)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    (tmp_path / "a.mat").write_bytes(b"no mat")
    (tmp_path / "a.tsv").write_text("sound\tA\nx\thigh\n")
    (tmp_path / "a.csv").write_text("sound,A\n")
    np.savez(tmp_path / "pickled.npz", responses=np.array([{}], dtype=object), sounds=["a"])
    for name in ("a.npz", "a.mat", "a.tsv", "a.csv", "pickled.npz", "absent.mat"):
        with pytest.raises(InputError, match=name):
            read_responses(tmp_path / name)


def test_what_cannot_be_scored_is_left_out_or_an_error(tmp_path):
    rng = np.random.default_rng(0)
    halves = resampling.random_halves(N, 3, seed=0)
    values = rng.random((N, 4))
    values[:, 1] = 2.0
    values[:, 2] = np.nan
    weights = np.array([[1.0, 0.0, 2.0]] * 4)
    kept, left_out, n = usable(Responses(names(), list("abcd"), values), halves, tmp_path)
    assert (kept.targets, left_out, n) == (["a", "d"], ["b", "c"], 0)
    np.testing.assert_array_equal(kept.values, values[:, [0, 3]])
    with pytest.raises(InputError, match="b is constant"):
        usable(Responses(names(), list("abcd"), values, weights), halves, tmp_path)
    good = Responses(names(), list("abcd"), rng.random((N, 4)), weights)
    kept, _, n = usable(good, halves, tmp_path)
    assert (kept.voxels.shape, n) == ((N, 2), 1)
    values[5, 0] = np.nan
    with pytest.raises(InputError, match="a has no value for sound_5"):
        usable(Responses(names(), list("abcd"), values), halves, tmp_path)
    with pytest.raises(InputError, match="no target has values"):
        usable(Responses(names(), ["b"], values[:, [1]]), halves, tmp_path)


def test_every_sound_has_one_file(place, tmp_path):
    assert find_sounds(["sound_3", "sound_1.wav"], place / "wav", tmp_path) == [
        place / "wav" / "sound_3.wav",
        place / "wav" / "sound_1.wav",
    ]
    with pytest.raises(InputError, match=r"no sound 'sound_99' and 1 more.*did you mean 'sound_"):
        find_sounds(["sound_1", "sound_99", "noise"], place / "wav", tmp_path)
    for folder_name in ("a", "b"):
        (tmp_path / folder_name).mkdir()
        soundfile.write(tmp_path / folder_name / "x.wav", sound(0), RATE_HZ)
    with pytest.raises(InputError, match="has the same name"):
        find_sounds(["x"], tmp_path, tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        find_sounds(["x"], tmp_path / "absent", tmp_path)


# --- The step -----------------------------------------------------------------------------------


def test_a_stage_predicts_what_was_planted_in_it_and_noise_is_not_predicted(place, runner):
    run = load_network(place / "run")
    waves = [audio.read(place / "wav" / f"{name}.wav") for name in names()]
    gain = np.float32(sound_encoding.set_gain(run, waves))
    heard = [run.hear(wave * gain)[0] for wave in waves]
    features = sound_encoding.stage_features(run.network, heard, run.hop_frames, "mean")["PB"]
    z = StandardScaler().fit_transform(features)
    planted = np.linalg.svd(z, full_matrices=False)[0][:, 0]  # what most of PB's units say
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
    # Two rows a set: the baseline's three; each stage and all, alone and with it, for two networks.
    assert len(table) == 2 * (3 + 2 * 2 * (len(run.network.stages) + 1))
    over = table.loc[("trained", "PB", "PB"), "r2"] - table.loc[("none", "baseline", "PB"), "r2"]
    assert table.loc[("trained", "PB", "PB"), "over_baseline"] == pytest.approx(over, abs=2e-4)
    scores = np.load(out / "scores.npz")
    row = list(zip(scores["network"], scores["features"], strict=True)).index(("trained", "PB"))
    assert table.loc[("trained", "PB", "PB"), "r2"] == pytest.approx(
        scores["r2"][row, :, 0].mean(), abs=1e-4
    )
    # Voxels 1 and 2 are the first target, voxel 3 the second one.
    np.testing.assert_allclose(
        scores["voxel_r2"][row], scores["r2"][row][:, [0, 0, 1]], rtol=1e-3, atol=1e-4
    )
    assert (scores["training"].sum(1) == 20).all()
    voxels = pd.read_csv(out / "voxels.tsv", sep="\t", keep_default_na=False)
    voxels = voxels.set_index(["network", "features"])
    median = np.median(scores["voxel_r2"][row].mean(0))
    assert voxels.loc[("trained", "PB"), "r2"] == pytest.approx(median, abs=1e-4)
    assert json.loads((out / "encoding.json").read_text())["repeated_sounds"] == 0
    assert (out / "stages.png").stat().st_size > 10_000


def test_the_step_does_its_work_once_and_replaces_nothing_else(place, tmp_path):
    values = np.random.default_rng(0).standard_normal((20, 1))
    path, out, said = write_npz(tmp_path / "r.npz", values), tmp_path / "out", []
    arguments = (place / "run", place / "wav", path, out, 1)
    make_sound_encoding(*arguments, 0, "mean", said.append)
    assert not (out / "voxels.tsv").exists()
    before = (out / "scores.npz").stat().st_mtime_ns
    make_sound_encoding(*arguments, 0, "mean", said.append)
    assert said[-1].endswith("unchanged") and (out / "scores.npz").stat().st_mtime_ns == before
    make_sound_encoding(*arguments, 1, "mean", said.append)
    assert (out / "scores.npz").stat().st_mtime_ns > before
    with pytest.raises(InputError, match="something else"):
        make_sound_encoding(place / "run", place / "wav", path, place, 1, 0, "mean", said.append)
    values[3] = np.nan
    write_npz(path, values)
    with pytest.raises(InputError, match="no value for sound_3"):
        make_sound_encoding(*arguments, 2, "mean", said.append)
    assert json.loads((out / "encoding.json").read_text())["seed"] == 1  # the old one is whole


# --- Real data ----------------------------------------------------------------------------------


def test_modulation_predicts_the_speech_component_of_real_cortex(shared):
    directory = shared / "data" / "natsound165"
    if not (directory / "components.mat").is_file():
        pytest.skip("natsound165 is not here")
    responses = read_responses(directory / "components.mat")
    assert responses.targets == ["lowfreq", "highfreq", "envsounds", "pitch", "speech", "music"]
    assert responses.values.shape == (165, 6) and responses.voxels.shape == (165, 11065)
    files = find_sounds(responses.sounds, directory / "wav", directory / "components.mat")
    few = np.arange(0, 165, 3)
    features = sound_encoding.baseline_features([audio.read(files[index]) for index in few])
    halves = resampling.random_halves(len(few), 3, seed=0)
    speech = responses.values[few][:, [responses.targets.index("speech")]]
    modulation = sound_encoding.score([features["modulation"]], speech, halves).r2.mean()
    bands = sound_encoding.score([features["bands"]], speech, halves).r2.mean()
    assert modulation > 0.3 > 0.2 > bands, (modulation, bands)
