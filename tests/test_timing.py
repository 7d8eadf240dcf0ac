"""The TR grid, against plain numpy and pandas."""

import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuromusic import timing

frames = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 60), st.integers(1, 3)), elements=st.floats(-1e3, 1e3)
)


def test_a_run_of_the_experiment_has_410_volumes():
    assert timing.n_volumes(40) == 410
    assert timing.first_volume(40) + timing.VOLUMES_PER_CLIP == 410
    assert timing.trial_onset_s(40) == 600.0


@given(frames, st.floats(0.01, 4), st.floats(-3, 3), st.integers(1, 20))
def test_volumes_hold_what_a_groupby_gives(x, frame_s, start_s, n_vol):
    centre_s = start_s + frame_s * np.arange(len(x))
    total, count = timing.sum_into_volumes(x, centre_s, n_vol)
    volume = np.floor(centre_s / timing.TR_S + 1e-9)
    grouped = pd.DataFrame(x).groupby(volume).sum().reindex(range(n_vol), fill_value=0.0)
    np.testing.assert_allclose(total, grouped.to_numpy(), atol=1e-8)
    inside = (volume >= 0) & (volume < n_vol)
    assert count.sum() == inside.sum()
    np.testing.assert_allclose(total.sum(0), x[inside].sum(0), atol=1e-8)


@given(st.integers(0, 409), st.floats(0, 0.999))
def test_a_click_lands_in_its_volume(volume, phase):
    click_s = np.array([(volume + phase) * timing.TR_S])
    _, count = timing.sum_into_volumes(np.ones((1, 1)), click_s, 410)
    assert count[volume] == 1


@given(st.integers(1, 100), st.integers(0, 40), st.integers(1, 10))
def test_frames_on_the_borders_go_to_the_later_volume(per_volume, skipped, n_vol):
    """Whole numbers know where a frame belongs, whatever the rounding of its time."""
    frame = np.arange(skipped * per_volume, (skipped + n_vol) * per_volume)
    centre_s = frame * (timing.TR_S / per_volume)
    total, count = timing.sum_into_volumes(frame[:, None], centre_s, skipped + n_vol)
    assert list(count) == [0] * skipped + [per_volume] * n_vol
    np.testing.assert_array_equal(total[skipped:, 0], frame.reshape(n_vol, per_volume).sum(1))


@given(st.integers(1, 500), st.integers(1, 200), st.integers(1, 100))
@example(n_frames=5, window=2, hop=2)  # one frame is left over
@example(n_frames=6, window=2, hop=2)
def test_windows_cover_the_clip_and_stay_inside(n_frames, window, hop):
    starts = timing.window_starts(n_frames, window, hop)
    if window > n_frames:
        assert starts == []
        return
    assert min(starts) == 0
    assert max(starts) + window == n_frames
    assert all(0 <= start <= n_frames - window for start in starts)
    if hop <= window:
        covered = {frame for start in starts for frame in range(start, start + window)}
        assert covered == set(range(n_frames))
