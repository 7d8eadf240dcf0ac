"""Rows of a subject's scans: every volume but the dummies, and the repeats of test clips."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuromusic.design.orders import Order, presentations
from neuromusic.fmri import scans


@given(
    st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99)
)
def test_dummies_are_never_scored_and_every_other_volume_is_scored_once(
    n_train, n_trials, n_test, n, seed
):
    rng = np.random.default_rng(seed)
    names = [f"blues.{number:05d}_15s.wav" for number in range(n_train * n_trials + n_test * n)]
    train = np.array(names[: n_train * n_trials]).reshape(n_train, n_trials)
    test = np.array([np.tile(rng.permutation(names[-n * (k + 1) :][:n]), 4) for k in range(n_test)])
    trials = {
        (split, int(run)): rows.reset_index(drop=True)
        for split, clips in (("train", train), ("test", test))
        for run, rows in presentations(Order(split, clips)).groupby("run")
    }
    rows = scans.volume_rows(trials)
    assert rows["trial"].min() == 1
    assert rows["volume"].min() == 10
    assert len(rows) == 10 * (train.size + test.size)
    assert not rows.duplicated(["split", "run", "volume"]).any()
    numbers, clips = scans.repeat_rows(rows, np.ones(len(rows), bool))
    assert numbers.shape == (4, n_test * n, 10)
    assert sorted(numbers.ravel()) == list(np.flatnonzero(rows["split"] == "test"))
    for index, clip in enumerate(clips):
        assert (rows["clip"].to_numpy()[numbers[:, index]] == clip).all()
    assert (rows["within"].to_numpy()[numbers] == np.arange(10)).all()
    # A clip with one volume that cannot be used is left out as a whole, and no other clip is.
    usable = np.ones(len(rows), bool)
    usable[numbers[2, 0, 5]] = False
    if n_test * n > 1:
        assert scans.repeat_rows(rows, usable)[1] == clips[1:]
