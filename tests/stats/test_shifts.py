"""The test over shifts by whole clips: values computed by hand, and its size under its null."""

import numpy as np
import pytest
import scipy.stats

from neuromusic.fmri.bold import filtered
from neuromusic.stats.shifts import shift_sums, shift_test


def test_sums_are_those_of_the_shifted_diagonals():
    rng = np.random.default_rng(0)
    predicted, measured = rng.normal(size=(2, 5, 4, 3))
    match = np.einsum("itv,jtv->vij", predicted, measured)
    expected = [[sum(m[j, (j + k) % 5] for j in range(5)) for m in match] for k in range(5)]
    np.testing.assert_allclose(shift_sums(predicted, measured), expected)


def test_one_run_is_a_t_test_of_one_value_against_the_others():
    """scipy's two-sample test with one value on one side has the same t and p."""
    rng = np.random.default_rng(1)
    sums = rng.normal(size=(10, 6))
    result = shift_test([sums])
    expected = scipy.stats.ttest_ind(sums[:1], sums[1:], alternative="greater")
    assert result.df == 8
    np.testing.assert_allclose(result.t, expected.statistic)
    np.testing.assert_allclose(result.p, expected.pvalue)


def test_several_runs_by_hand():
    first, second = np.array([5.0, 1, 2, 3]), np.array([4.0, 0, 2])
    # Differences 3 and 3; variances 1 * 4 / 3 and 2 * 3 / 2.
    result = shift_test([first[:, None], second[:, None], np.array([[9.0], [0.0]])])
    assert result.df == 3
    assert result.t[0] == pytest.approx(6 / np.sqrt(4 / 3 + 3))


def test_what_cannot_be_tested_is_nan():
    flat = np.zeros((4, 2))
    assert np.isnan(shift_test([flat]).p).all()
    two_clips = shift_test([np.ones((2, 3)), np.ones((1, 3))])
    assert np.isnan(two_clips.p).all()
    assert two_clips.p.shape == (3,)
    assert two_clips.df == 0


@pytest.mark.parametrize("noise", ["white", "AR(1) .6", "related to sound"])
def test_size_under_the_null(noise):
    """Six detrended runs of ten clips, averaged over four repeats; 4000 null voxels."""
    rng = np.random.default_rng(2)
    n_voxels, n_clips, n_volumes, n_repeats = 4000, 10, 10, 4
    sums = []
    for _ in range(6):
        shape = (n_repeats * n_clips * n_volumes, n_voxels)
        values = rng.normal(size=shape)
        if noise == "AR(1) .6":
            for row in range(1, len(values)):
                values[row] = 0.6 * values[row - 1] + 0.8 * values[row]
        elif noise == "related to sound":  # one random level per clip, unrelated to the features
            level = np.repeat(rng.normal(size=(n_clips, n_voxels)), n_volumes, axis=0)
            values += 0.65 * np.tile(level, (n_repeats, 1))
        course = np.repeat(rng.normal(size=n_clips), n_volumes) + rng.normal(size=100) / 2
        feature = filtered(np.tile(course, n_repeats)[:, None], 1.5, 1 / 256, standardise=False)
        series = filtered(values, 1.5, 1 / 256, standardise=True)
        parts = [
            each.reshape(n_repeats, n_clips, n_volumes, -1).mean(0) for each in (feature, series)
        ]
        sums.append(shift_sums(np.broadcast_to(parts[0], parts[1].shape), parts[1]))
    p = shift_test(sums).p
    for level in (0.05, 0.01):
        low, high = scipy.stats.binom.interval(0.9999, n_voxels, level)
        assert low <= (p < level).sum() <= high
