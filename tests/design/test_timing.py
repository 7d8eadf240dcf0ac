"""Where sounds lie on volumes, compared with a fine time axis."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.design.orders import Order, presentations
from neuromusic.design.timing import (
    REST,
    Placement,
    covered,
    placements,
    volume_of_each,
    whole_run_volumes,
)

MS = 1000


def trials(onsets_s, durations_s):
    return pd.DataFrame({"onset_s": onsets_s, "duration_s": durations_s})


def test_a_run_of_ds003720_has_410_volumes():
    clips = [f"{genre}.0000{n}_15s.wav" for genre in ("blues", "rock") for n in range(5)] * 4
    run = presentations(Order("test", [clips])).assign(duration_s=15.0)
    assert whole_run_volumes(run, 1.5) == 410
    assert [volume for volume, _ in placements(run, 1.5)] == run["volume"].tolist()
    assert {placement for _, placement in placements(run, 1.5)} == {Placement(1.5, 0.0, 15.0)}
    assert (covered(run, 1.5, 410) == 1).all()


RUNS = st.lists(
    st.tuples(st.integers(1, 9000), st.integers(0, 9000)), min_size=1, max_size=6
)  # ms: duration, silence after it


@settings(max_examples=200, deadline=None)
@given(RUNS, st.integers(300, 3000), st.integers(-5000, 5000))
def test_shares_are_those_of_a_time_axis_in_milliseconds(run, tr_ms, first_ms):
    onset_ms, sounds = first_ms, []
    for duration_ms, silence_ms in run:
        sounds.append((onset_ms, duration_ms))
        onset_ms += duration_ms + silence_ms
    table = trials(*(np.array(part) / MS for part in zip(*sounds, strict=True)))
    n_volumes = max(1, -(-onset_ms // tr_ms))
    axis = np.zeros((len(sounds), n_volumes * tr_ms), bool)
    for row, (begin, duration) in enumerate(sounds):
        axis[row, max(0, begin) : max(0, begin + duration)] = True
    of_volume = axis.reshape(len(sounds), n_volumes, tr_ms).mean(2)
    # Shares closer than a millisecond to a whole volume are rounded.
    np.testing.assert_allclose(
        covered(table, tr_ms / MS, n_volumes), of_volume.sum(0), atol=1.01 * len(sounds) / tr_ms
    )
    rows = volume_of_each(table, tr_ms / MS, n_volumes)
    assert (rows[of_volume.max(0) < 0.5 - 2 / tr_ms] == REST).all()
    clear = np.flatnonzero(of_volume.max(0) > 0.5 + 2 / tr_ms)
    second = np.sort(of_volume, axis=0)[-2] if len(sounds) > 1 else np.zeros(n_volumes)
    for volume in clear:
        if of_volume[:, volume].max() - second[volume] > 2 / tr_ms:
            assert rows[volume] == of_volume[:, volume].argmax()


@pytest.mark.parametrize(
    ("onset_s", "tr_s", "volume", "phase_s"),
    [(12.0, 2.0, 6, 0.0), (11.9997, 2.0, 6, 0.0), (48.01, 2.0, 24, 0.01), (-15.0, 1.5, -10, 0.0),
     (0.1 + 0.2, 0.1, 3, 0.0), (7.4999999, 1.5, 5, 0.0)],
)  # fmt: skip
def test_onsets_are_rounded_to_milliseconds(onset_s, tr_s, volume, phase_s):
    [(first, placement)] = placements(trials([onset_s], [6.0]), tr_s)
    assert (first, placement.phase_s) == (volume, pytest.approx(phase_s))
