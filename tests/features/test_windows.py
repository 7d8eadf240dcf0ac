"""Windows of a clip: where they start, and the two ways of cutting them."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from neuromusic.features import windows


@given(st.integers(1, 500), st.integers(1, 200), st.integers(1, 100))
@example(n_frames=5, window=2, hop=2)  # one frame is left over
@example(n_frames=6, window=2, hop=2)
def test_windows_lie_inside_the_clip_and_a_hop_of_one_window_covers_it(n_frames, window, hop):
    starts = windows.window_starts(n_frames, window, hop)
    if window > n_frames:
        assert starts == []
        return
    assert min(starts) == 0
    assert max(starts) + window == n_frames
    assert all(0 <= start <= n_frames - window for start in starts)
    if hop <= window:
        covered = {frame for start in starts for frame in range(start, start + window)}
        assert covered == set(range(n_frames))


def test_a_clip_shorter_than_a_window_is_repeated():
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    cut, starts = windows.cut_windows(features, 8, 4)
    assert starts == [0]
    np.testing.assert_array_equal(cut[0], np.tile(features, (1, 3))[:, :8])
    has_sound = np.array([False, True, False])
    assert windows.cut_windows(features, 8, 4, has_sound)[1] == [0]
    assert windows.cut_windows(features, 8, 4, np.zeros(3, bool))[1] == []


@pytest.mark.parametrize("dtype", ["float16", "int16"])
def test_windows_cut_from_a_tensor_equal_those_cut_from_an_array(dtype):
    rng = np.random.default_rng(0)
    features = rng.integers(-100, 100, (3, 4, 20)).astype(dtype)
    rows, starts = np.array([2, 0, 2, 1]), np.array([0, 13, 5, 7])
    on_device = windows.cut_windows_on_device(
        torch.from_numpy(features), torch.from_numpy(rows), torch.from_numpy(starts), 7
    )
    assert on_device.dtype == torch.float32
    for cut, row, start in zip(on_device, rows, starts, strict=True):
        expected = windows.cut_windows(features[row], 7, 1)[0][start]
        np.testing.assert_array_equal(cut.numpy(), expected)
