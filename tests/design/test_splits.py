"""Held-out runs, and splits written as proportions."""

import pytest

from neuromusic.core.errors import InputError
from neuromusic.design.splits import HeldOutRuns, proportions

RUNS = [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [(HeldOutRuns(), [4]), (HeldOutRuns(0), []), (HeldOutRuns(2, (4,)), [2, 3]),
     (HeldOutRuns([1, 3]), [1, 3]), (HeldOutRuns(0, (1, 2, 3)), [])],
)  # fmt: skip
def test_validation_runs_are_the_last_ones_or_those_given(held_out, expected):
    assert held_out.runs(RUNS) == expected


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (HeldOutRuns(4), "data.validation_runs: 4 of 4 runs leave none to train on"),
        (HeldOutRuns(5), "data.validation_runs: 5 of 4 runs leave none"),
        (HeldOutRuns(3, (1,)), "data.validation_runs: 3 of 3 runs leave none"),
        (HeldOutRuns(RUNS), "data.validation_runs: 4 of 4 runs leave none"),
        (HeldOutRuns([7]), "data.validation_runs: run 7 is not one of the training runs"),
        (HeldOutRuns([2], (2,)), "data.validation_runs: run 2 is a test run"),
        (HeldOutRuns(1, (7,)), "data.test_runs: no run 7"),
        (HeldOutRuns(0, (1, 2, 3, 4)), "data.validation_runs: 0 of 0 runs leave none"),
    ],
)
def test_impossible_runs_are_refused_and_the_setting_is_named(held_out, message):
    with pytest.raises(InputError, match=message):
        held_out.runs(RUNS, "data.")


def test_files_without_runs_have_no_validation_runs():
    assert HeldOutRuns(1).runs([]) == HeldOutRuns([2]).runs([]) == []
    with pytest.raises(InputError, match="test_runs: no run 1"):
        HeldOutRuns(1, (1,)).runs([])


@pytest.mark.parametrize("split", ["70:30", "a:b:c", "1:-1:1", "0:0:0", "nan:1:1", ""])
def test_other_texts_are_not_proportions(split):
    with pytest.raises(InputError, match="expected train:valid:test, such as 70:15:15"):
        proportions(split)
    assert proportions("7:1.5:1.5") == (7, 1.5, 1.5)
