import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from scipy.signal import lfilter
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV

from neuromusic.core.errors import InputError
from neuromusic.core.figures import FigureStyle
from neuromusic.encoding import timed_scores
from neuromusic.encoding.timed_design import (
    acoustic_baseline,
    fit_projection,
    lags,
    on_samples,
    with_lags,
)
from neuromusic.encoding.timed_encoding import BASELINE, BEST, TimedOptions, encode_timed
from neuromusic.encoding.timed_responses import TimedResponses
from neuromusic.encoding.timed_tables import target_table, write
from neuromusic.features.timed import Timed, resampled

RATE_HZ = 20.0
OPTIONS = TimedOptions(lags_s=(0, 0.2), lag_step_s=0.05)


def noise(rng, n, k, ar=0.8):
    return lfilter([1], [1, -ar], rng.standard_normal((n + 100, k)), axis=0)[100:]


def features(rng, n_sounds, n, units=4):
    return {
        f"s{k}": Timed(noise(rng, n, units).astype(np.float32), 1 / RATE_HZ, 0.0)
        for k in range(n_sounds)
    }


def responses(heard, rng, n_targets=6, size=1.0, repeats=1):
    """Return responses to unit 0, 0.1 s later, with noise."""
    values = []
    for timed in heard.values():
        signal = np.roll(timed.values[:, :1], 2, axis=0)
        signal[:2] = 0
        n = len(signal)
        values.append(np.stack([size * signal + noise(rng, n, n_targets) for _ in range(repeats)]))
    return TimedResponses(list(heard), [f"t{k}" for k in range(n_targets)], values, RATE_HZ)


# --- Designs --------------------------------------------------------------------------------------


def test_fast_frames_are_averaged_and_slow_ones_interpolated():
    ramp = np.arange(100, dtype=np.float32)[:, None]
    times = np.arange(10) / 10
    fast = resampled(Timed(ramp, 0.01, 0.0), times, 10)[:, 0]
    expected = [ramp[max(0, 10 * k - 5) : 10 * k + 5].mean() for k in range(10)]
    np.testing.assert_allclose(fast, expected)
    slow = resampled(Timed(ramp[:4], 0.3, 0.1), times, 10)[:, 0]
    np.testing.assert_allclose(slow, np.interp(times, 0.1 + 0.3 * np.arange(4), np.arange(4)))
    late = resampled(Timed(ramp[:4], 0.1, 0.5), times, 10)[:, 0]
    assert np.isnan(late[:5]).all() and np.isnan(late[9:]).all()
    np.testing.assert_allclose(late[5:9], range(4))


def test_lags_shift_the_features_back():
    delays = lags(-0.1, 0.2, 0.1, 10)
    assert delays.samples.tolist() == [-1, 0, 1, 2]
    wave = Timed(np.arange(1, 9, dtype=np.float32)[:, None], 0.1, 0.0)
    (grid,) = on_samples("A1", {"a": wave}, ["a"], [8], 0.0, delays)
    design = with_lags(np.nan_to_num(grid), delays)
    assert design[3].tolist() == [5, 4, 3, 2]
    assert design[0].tolist() == [2, 1, 0, 0]
    assert design[7].tolist() == [0, 8, 7, 6]


@pytest.mark.parametrize("components", [None, 3])
def test_a_unit_that_is_almost_dead_in_training_does_not_dominate_a_sound_held_out(components):
    rng = np.random.default_rng(0)
    training = rng.standard_normal((1000, 5)).astype(np.float32)
    training[:, 4] = 0
    training[7, 4] = 1e-3
    projection = fit_projection([training], components, rng)
    held_out = training[:10].copy()
    held_out[3, 4] = 100.0  # 3 million deviations
    held_out[5] = np.nan
    most = np.abs(projection.apply(training)).max()
    found = projection.apply(held_out)
    assert np.abs(found).max() <= 2 * most
    assert (found[5] == 0).all()
    np.testing.assert_array_equal(projection.apply(training)[:3], found[:3])


@pytest.mark.parametrize("units", [20, 1100])
def test_components_are_those_of_scikit_learn(units):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 5)) * [5, 4, 3, 2, 1] @ rng.standard_normal((5, units))
    rows = (rows + 0.1 * rng.standard_normal(rows.shape)).astype(np.float32)
    ours = fit_projection([rows[:150], rows[150:]], 4, rng).apply(rows)
    oracle = PCA(4).fit_transform((rows - rows.mean(0)) / rows.std(0))
    for one, other in zip(ours.T, oracle.T, strict=True):
        assert abs(np.corrcoef(one, other)[0, 1]) > 0.999


def test_the_baseline_has_both_compressions_of_the_same_bands():
    times = np.arange(22_050) / 22_050
    found = acoustic_baseline(np.sin(2 * np.pi * 1000 * times).astype(np.float32))
    root, level_db = np.split(found.values, 2, axis=1)
    np.testing.assert_allclose(20 * np.log10(root**3), level_db, atol=1e-3)
    assert level_db[50].max() == pytest.approx(-3, abs=2)  # 1 kHz is between two bands


# --- Encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_sounds", [3, 6])
def test_stories_equal_scikit_learn(n_sounds):
    rng = np.random.default_rng(1)
    heard = features(rng, n_sounds, 400)
    measured = responses(heard, rng)
    result = encode_timed({"A1": heard}, measured, OPTIONS)
    assert not result.is_short and len(result.folds) == n_sounds
    used = slice(4, None)
    x = [
        np.stack([np.roll(t.values, k, axis=0) for k in range(5)], 1).reshape(400, -1)[used]
        for t in heard.values()
    ]
    y = [each[used] for each in measured.means]
    parts = []
    for k in range(n_sounds):
        rest = [j for j in range(n_sounds) if j != k]
        fit = RidgeCV(np.logspace(0, 4, 9)).fit(
            np.concatenate([x[j] for j in rest]), np.concatenate([y[j] for j in rest])
        )
        parts.append((fit.predict(x[k]), y[k]))
    predicted, truth = (
        np.concatenate([a - a.mean(0) for a in each]) for each in zip(*parts, strict=True)
    )
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, truth.T, strict=True)]
    np.testing.assert_allclose(result.stages[0].r, expected, atol=0.01)
    assert (result.stages[0].p < 0.01).all()
    peak = np.abs(result.stages[0].response[0]).argmax(0)
    assert set(result.lags.seconds[peak]) == {0.1}


def test_the_time_course_that_short_sounds_share_predicts_nothing():
    rng = np.random.default_rng(2)
    onset = 5 * np.exp(-np.arange(30) / 5)[:, None]
    heard = {
        name: Timed((each.values + onset).astype(np.float32), 1 / RATE_HZ, 0.0)
        for name, each in features(rng, 40, 30).items()
    }
    values = [(onset + noise(rng, 30, 8))[None] for _ in heard]
    measured = TimedResponses(list(heard), list("abcdefgh"), values, RATE_HZ)
    result = encode_timed({"A1": heard}, measured, OPTIONS)
    assert result.is_short
    assert abs(result.stages[0].r.mean()) < 0.15  # with the time course about .7
    assert result.stages[0].r_sample.shape == (30, 8)


def test_scores_do_not_depend_on_the_order_of_the_features():
    rng = np.random.default_rng(3)
    heard = features(rng, 24, 30)
    measured = responses(heard, rng)
    one = encode_timed({"A1": heard}, measured, OPTIONS)
    other = encode_timed({"A1": dict(reversed(heard.items()))}, measured, OPTIONS)
    np.testing.assert_array_equal(one.stages[0].r, other.stages[0].r)
    assert one.stages[0].r.min() > 0.3


def test_unique_variance_of_what_the_baseline_has_or_has_not():
    rng = np.random.default_rng(4)
    base, new = features(rng, 30, 40), features(rng, 30, 40)
    measured = responses(new, rng, 4)
    for timed, each in zip(base.values(), measured.values, strict=True):
        each[:, :, 2:] = timed.values[:, :1] * 2 + noise(rng, 40, 2)
    old = {
        k: Timed(base[k].values[:, :2] @ np.ones((2, 2), "f4") + new[k].values[:, 1:3], 0.05, 0.0)
        for k in base
    }
    result = encode_timed({"new": new, "old": old}, measured, OPTIONS, baseline=base)
    names = [stage.name for stage in result.stages]
    assert names == [BASELINE, "new", "old", BEST]
    unique = result.stages[1].unique
    assert (unique.r2[:2] > 0.1).all() and (unique.p[:2] < 0.01).all()
    assert (np.abs(unique.r2[2:]) < 0.02).all()
    assert (np.abs(result.stages[2].unique.r2) < 0.02).all()
    assert result.stages[3].chosen[0].most_common(1)[0][0] == "new"
    same = encode_timed({"same": base}, measured, OPTIONS, baseline=base)
    assert same.stages[1].unique is None
    assert same.notes == [
        "stage same: unique variance: is a linear function of the baseline's features"
    ]


def test_ceiling_is_that_of_the_signal():
    rng = np.random.default_rng(5)
    heard = features(rng, 30, 60)
    measured = responses(heard, rng, 20, size=1.0, repeats=4)
    ceiling = np.mean([score.ceiling for score in encode_timed({"A1": heard}, measured, OPTIONS)
                       .stages[0].scores])  # fmt: skip
    assert ceiling == pytest.approx(np.sqrt(1 / (1 + 1 / 4)), abs=0.01)
    assert np.isnan(encode_timed({"A1": heard}, responses(heard, rng), OPTIONS)
                    .stages[0].scores[0].ceiling)  # fmt: skip


@pytest.mark.parametrize(("n_sounds", "n"), [(30, 30), (5, 600)])
@pytest.mark.parametrize("ar", [0.0, 0.9])
def test_p_values_are_valid_under_the_null(n_sounds, n, ar):
    p = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        heard, base = features(rng, n_sounds, n), features(rng, n_sounds, n)
        values = [noise(rng, n, 25, ar)[None] for _ in heard]
        measured = TimedResponses(list(heard), [f"t{k}" for k in range(25)], values, RATE_HZ)
        stages = encode_timed({"A1": heard}, measured, OPTIONS, baseline=base).stages
        p += [*stages[1].p, *stages[1].unique.p]
    for level in (0.05, 0.01):
        assert (np.array(p) < level).sum() <= scipy.stats.binom.isf(1e-3, len(p), level)


def test_correlations_and_their_jackknife_are_numpys():
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((2, 6, 50, 3)) + 1
    of = timed_scores.units([50] * 6, [], False, RATE_HZ)
    r = timed_scores.correlations(list(x), list(y), of)
    for row, rest in enumerate([range(6), *[[j for j in range(6) if j != k] for k in range(6)]]):
        for t in range(3):
            a, b = (each[list(rest), :, t].ravel() for each in (x, y))
            assert r[row, t] == pytest.approx(np.corrcoef(a, b)[0, 1])
    samples = timed_scores.sample_correlations(list(x), list(y))
    assert samples[7, 2] == pytest.approx(scipy.stats.pearsonr(x[:, 7, 2], y[:, 7, 2])[0])


# --- Bad input and files --------------------------------------------------------------------------


def test_bad_input_in_a_sentence():
    rng = np.random.default_rng(7)
    heard = features(rng, 4, 50)
    measured = responses(heard, rng)

    def refused(message, stages=None, **changes):
        given = {**heard, **changes}
        with pytest.raises(InputError, match=message):
            encode_timed({"A1": given} if stages is None else stages, measured, OPTIONS)

    nan = np.full((50, 4), np.nan, np.float32)
    refused("stage A1: s2 contains NaN", s2=Timed(nan, 0.05, 0.0))
    refused("stage A1: s1 has the shape", s1=Timed(np.zeros((50, 3), np.float32), 0.05, 0.0))
    refused("stage A1: its features of s3 do not cover", s3=Timed(heard["s3"].values, 0.05, 9.0))
    refused("do not match", {"A1": {"other": heard["s0"]}})
    refused("there are no features", {})
    with pytest.raises(InputError, match="shorter delay first"):
        TimedOptions(lags_s=(0.4, 0.0))
    with pytest.raises(InputError, match="components=0"):
        TimedOptions(components=0)


def test_a_constant_stage_or_target_is_noted_and_the_rest_computed():
    rng = np.random.default_rng(8)
    heard = features(rng, 4, 400)
    flat = {name: Timed(np.ones((400, 2), np.float32), 0.05, 0.0) for name in heard}
    measured = responses(heard, rng, 3)
    for each in measured.values:
        each[:, :, 1] = 2
    result = encode_timed({"flat": flat, "A1": heard}, measured, OPTIONS)
    assert np.isnan(result.stages[0].r).all() and (result.stages[1].r > 0.3).all()
    assert result.responses.targets == ["t0", "t2"]
    assert "left out: 1 constant targets, such as t1" in result.notes
    assert any(note.startswith("stage flat: no feature varies") for note in result.notes)


def test_files(tmp_path):
    rng = np.random.default_rng(9)
    heard, base = features(rng, 24, 30), features(rng, 24, 30)
    result = encode_timed(
        {"A1": heard, "belt": base}, responses(heard, rng, repeats=2), OPTIONS, baseline=base
    )
    write(tmp_path, result, {"about": 1}, FigureStyle())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "encoding.json", "response_functions.npz", "response_functions.png",
        "response_functions.tsv", "samples.png", "samples.tsv", "scores.png", "targets.tsv",
    ]  # fmt: skip
    table = pd.read_csv(tmp_path / "targets.tsv", sep="\t")
    pd.testing.assert_frame_equal(
        table[["r", "q"]], target_table(result)[["r", "q"]], check_exact=False, rtol=1e-4
    )
    assert json.loads((tmp_path / "encoding.json").read_text())["mean_time_course_removed"]
    functions = np.load(tmp_path / "response_functions.npz")
    assert functions["stage_0"].shape == (4, 5, 6)
