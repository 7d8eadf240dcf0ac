"""Unique variance: against scikit-learn, under its null hypothesis, and under a known truth."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import ttest_1samp
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

pytest.importorskip("himalaya")

from neuromusic.encoding.ridge import fit_ridge
from neuromusic.encoding.unique_variance import area_unique, nested_designs, residual_design
from neuromusic.stats.partition import added_r2, addition_test

CLIPS, VOLUMES = 10, 10  # of a run


def courses(rng, n_runs, k):
    """Features (rows, k) that vary from clip to clip and slowly within each, detrended by run."""
    level = np.repeat(rng.normal(size=(n_runs, CLIPS, 1, k)), VOLUMES, 2)
    level = level.reshape(n_runs, -1, k)
    x = level + gaussian_filter1d(rng.normal(size=level.shape), 1, axis=1)
    x = gaussian_filter1d(x, 1, axis=1)  # as the response does
    return (x - x.mean(1, keepdims=True)).reshape(-1, k)


def noise(rng, n_runs, voxels):
    x = gaussian_filter1d(rng.normal(size=(n_runs, CLIPS * VOLUMES, voxels)), 1, axis=1)
    x -= x.mean(1, keepdims=True)
    return (x / x.std(1, keepdims=True)).reshape(-1, voxels)


def brain(seed, own_share, voxels=100, train_runs=24, test_runs=6):
    """A baseline of two groups, a stage that shares most with it, and voxels that follow both."""
    rng = np.random.default_rng(seed)
    n_runs = train_runs + test_runs
    latent = courses(rng, n_runs, 8)
    groups = {
        name: latent @ rng.normal(size=(8, 6)) / 3 + 0.5 * courses(rng, n_runs, 6)
        for name in ("spectrum", "loudness")
    }
    shared, own = np.hstack(list(groups.values())), courses(rng, n_runs, 6)
    stage = shared @ rng.normal(size=(12, 6)) / 3 + own
    signal = [x @ rng.normal(size=(x.shape[1], voxels)) for x in (shared, own)]
    signal = [x / x.std(0) for x in signal]
    unrelated = courses(rng, n_runs, voxels)
    series = (
        np.sqrt(0.3 * (1 - own_share)) * signal[0]
        + np.sqrt(0.3 * own_share) * signal[1]
        + np.sqrt(0.2) * unrelated / unrelated.std(0)
        + np.sqrt(0.5) * noise(rng, n_runs, voxels)
    )
    run = np.repeat(np.arange(n_runs), CLIPS * VOLUMES)
    return groups, stage, series.astype(np.float32), run, run < train_runs


def unique(seed, own_share, **sizes):
    """Contributions (clips, voxels) of the stage beyond the baseline, and the test."""
    groups, stage, series, run, train = brain(seed, own_share, **sizes)
    nested = nested_designs(groups, {"one": stage}, train)
    shape = (-1, VOLUMES, series.shape[1])
    predicted = [
        fit_ridge(x[train], series[train], run[train]).predict(x[~train]).reshape(shape)
        for x in (nested.baseline, nested.beyond_baseline["one"])
    ]
    measured = series[~train].reshape(shape)
    test = addition_test(measured, *predicted, run[~train][::VOLUMES])
    return added_r2(measured, *predicted), test


def test_added_r2_is_the_difference_of_two_r2_of_scikit_learn():
    rng = np.random.default_rng(0)
    measured, smaller, addition = rng.normal(size=(3, 6, 10, 4))
    added = added_r2(measured, smaller, addition)
    y, s, a = (x.reshape(60, 4) for x in (measured, smaller, addition))
    expected = [r2_score(y[:, v], s[:, v] + a[:, v]) - r2_score(y[:, v], s[:, v]) for v in range(4)]
    np.testing.assert_allclose(added.sum(0), expected, rtol=1e-10)
    measured[..., 1], addition[0, 0, 2] = 3.0, np.nan
    added = added_r2(measured, smaller, addition).sum(0)
    np.testing.assert_array_equal(np.isnan(added), [False, True, True, False])


def test_the_residual_is_that_of_scikit_learn_on_the_training_rows():
    rng = np.random.default_rng(1)
    smaller, design = rng.normal(size=(300, 12)) + 2, rng.normal(size=(300, 5))
    design[:, :4] += smaller[:, :4]
    design[:, 4] = smaller[:, 0] + 3 * smaller[:, 1]  # nothing of its own
    design[7] = np.nan
    train = np.arange(300) >= 100
    residual = residual_design(design, smaller, train)
    linear = LinearRegression().fit(smaller[train], design[train])
    good = np.arange(300) != 7
    expected = design[good] - linear.predict(smaller[good])
    np.testing.assert_allclose(residual[good, :4], expected[:, :4], atol=1e-5)
    assert (residual[good, 4] == 0).all()
    assert np.isnan(residual[7]).all()


def test_a_joint_ridge_on_residuals_is_the_sum_of_two_ridges():
    groups, stage, series, run, train = brain(2, 0.3, voxels=3)
    nested = nested_designs(groups, {"one": stage}, train)
    parts = [nested.baseline[train], nested.beyond_baseline["one"][train]]
    fits = [fit_ridge(part, series[train], run[train]) for part in parts]
    for voxel in range(3):
        scaled = []
        for part, fit in zip(parts, fits, strict=True):
            penalty = fit.alpha[voxel] * ((part - part.mean(0)) ** 2).sum() / part.shape[1]
            scaled.append((part - part.mean(0)) / np.sqrt(penalty))
        x, y = np.hstack(scaled), series[train, voxel] - series[train, voxel].mean()
        weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
        joint = x @ weights
        ours = sum(
            f.predict(p)[:, voxel] - f.y_mean[voxel] for f, p in zip(fits, parts, strict=True)
        )
        np.testing.assert_allclose(ours, joint, atol=2e-3)


def test_designs_without_anything_of_their_own_are_named():
    rng = np.random.default_rng(3)
    base, train = rng.normal(size=(200, 6)), np.arange(200) < 150
    stages = {
        "one": rng.normal(size=(200, 4)),
        "two": base[:, :3] @ rng.normal(size=(3, 4)),
        "three": rng.normal(size=(200, 4)),
        "four": rng.normal(size=(200, 4)),
    }
    nested = nested_designs({"spectrum": base[:, :4], "chroma": base[:, 4:]}, stages, train)
    assert nested.bands == [4, 2]
    assert list(nested.beyond_baseline) == ["one", "three", "four"]
    assert nested.below == {"four": "three"}
    assert nested.left_out == [
        "stage two, beyond the baseline: is a linear function of the smaller model's features"
    ]
    smaller = np.hstack([base, stages["three"]])[train]
    products = nested.beyond_below["four"][train].T @ (smaller - smaller.mean(0))
    assert np.abs(products).max() < 1e-3
    reason = residual_design(stages["one"], rng.normal(size=(200, 90)), train)
    assert "more than half of the 150 training volumes" in reason


def test_intervals_of_an_area():
    rng = np.random.default_rng(4)
    contributions = rng.normal(0.01, 0.02, size=(60, 5))
    runs = np.repeat(np.arange(6), 10)
    mean, low, high = area_unique(contributions, runs)
    of_run = contributions.mean(1).reshape(6, 10).sum(1) * 6
    expected = ttest_1samp(of_run, 0).confidence_interval(0.95)
    assert mean == pytest.approx(of_run.mean())
    np.testing.assert_allclose([low, high], expected)
    contributions[3, 0] = np.nan
    assert area_unique(contributions, runs)[0] == pytest.approx(contributions[:, 1:].mean(1).sum())
    assert np.isnan(area_unique(contributions[:1, 1:], runs[:1])[1:]).all()
    assert np.isnan(area_unique(np.full((3, 2), np.nan), runs[:3])).all()


def test_nothing_is_unique_to_a_stage_that_only_shares_and_a_known_share_is_found():
    null = [unique(seed, 0.0, voxels=40, train_runs=12) for seed in range(5)]
    mean = np.mean([added.sum(0).mean() for added, _ in null])
    assert -0.005 < mean < 0.001
    p = np.concatenate([test.p for _, test in null])
    assert (p < 0.05).mean() < 0.12
    assert null[0][1].df == 6 * (CLIPS - 2)
    added, test = unique(9, 0.4)
    assert 0.08 < added.sum(0).mean() < 0.13  # truth: 0.4 x 0.3
    assert (test.p < 0.05).mean() > 0.9


@pytest.mark.slow
def test_size_of_the_test_and_coverage_of_the_interval():
    """Each design has its own stage, so voxels of one design are not independent: few of each."""
    p = np.concatenate([unique(seed, 0.0, voxels=10)[1].p for seed in range(150)])
    for level in (0.05, 0.01):
        assert abs((p < level).mean() - level) < 4 * np.sqrt(level * (1 - level) / len(p))
    covered = []
    for seed in range(3):  # fitted once and tested on many clips, whose mean is the truth
        added, _ = unique(seed, 0.3, voxels=20, test_runs=300)
        truth = added.sum(0).mean() / 50
        runs = np.repeat(np.arange(6), CLIPS)
        of_areas = [area_unique(part, runs) for part in np.split(added, 50)]
        covered += [low <= truth <= high for _, low, high in of_areas]
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / len(covered))
