"""Rows of a subject's scans: every volume but the dummies, and the repeats of test clips."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from neuromusic.design.bids import RunId
from neuromusic.design.orders import EXPERIMENT, TASK, Order, presentations
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.fmri import scans


def rows_of(tables):
    """Return the rows of runs of ds003720: (split, run) -> trial, repeat, onset_s and clip."""
    runs = {}
    for (split, number), table in tables.items():
        labels = {"class": "", "group": "", "is_dummy": table["trial"] == 0}
        trials = table.assign(duration_s=15.0, **labels)
        run = RunId("A", "", TASK[split], number)
        runs[run] = RunDesign(run, split, None, 1.5, 10 * len(trials), trials)
    return scans.volume_rows(runs, Design(EXPERIMENT, runs), {})


def played(*clips):
    """Return the presentations of a run: a dummy, then ``clips``, each for 15 s."""
    trial = np.arange(len(clips) + 1)
    repeat = np.minimum(trial, 1)
    return pd.DataFrame(
        {"trial": trial, "repeat": repeat, "onset_s": trial * 15.0, "clip": ["x", *clips]}
    )


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
    rows = rows_of(trials)
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


def one_test_run(*clips):
    """Return the rows of a test run that played ``clips``, and the output of `repeat_rows`."""
    rows = rows_of({("test", 3): played(*clips)})
    return rows, scans.repeat_rows(rows, np.ones(len(rows), bool))


def test_a_run_in_a_fixed_order_is_shifted_as_the_mean_of_its_repeats():
    rows, (test, clips) = one_test_run("b", "a", "c", "b", "a", "c")
    [block] = scans.shift_blocks(rows, test)
    assert block.shape == (2, 3, 10)
    played = rows["clip"].to_numpy()[test.ravel()[block]]
    assert (played == np.array(["b", "a", "c"])[:, None]).all()
    np.testing.assert_array_equal(test.ravel()[block].ravel(), np.arange(60))
    assert clips == ["b", "a", "c"]


def test_a_run_in_another_order_is_shifted_by_single_presentations():
    rows, (test, _) = one_test_run("b", "a", "c", "a", "b", "c")
    [block] = scans.shift_blocks(rows, test)
    assert block.shape == (1, 6, 10)
    np.testing.assert_array_equal(test.ravel()[block].ravel(), np.arange(60))


def test_clips_that_are_repeated_in_several_runs_are_shifted_within_each():
    rows = rows_of({("test", 1): played(*"abc"), ("test", 2): played(*"cab")})
    test, _ = scans.repeat_rows(rows, np.ones(len(rows), bool))
    blocks = scans.shift_blocks(rows, test)
    assert [block.shape for block in blocks] == [(1, 3, 10)] * 2
    for number, block in enumerate(blocks):
        np.testing.assert_array_equal(test.ravel()[block].ravel(), np.arange(30) + 30 * number)
