"""Shifts of clips within runs, against loops over all of them."""

import itertools

import numpy as np
import pytest

from neuromusic.stats.run_shifts import (
    SHIFTS,
    draw_shifts,
    n_shifts,
    p_of_first,
    p_of_maximum,
    p_of_run_sums,
    shifted_pair_sums,
)

RUNS = np.repeat([4, 1, 7], [3, 4, 5])


def symmetric(rng, n):
    square = rng.normal(size=(n, len(RUNS), len(RUNS)))
    return square + square.transpose(0, 2, 1)


def test_all_shifts_are_drawn_if_they_are_few_and_the_first_is_none():
    shifts = draw_shifts(RUNS, np.random.default_rng(0))
    assert n_shifts(RUNS) == len(shifts) == 60
    assert (shifts[0] == 0).all()
    # In the order of the runs' numbers: run 1 has 4 clips, run 4 has 3 and run 7 has 5.
    assert set(map(tuple, shifts)) == set(itertools.product(range(4), range(3), range(5)))
    many = draw_shifts(np.repeat(range(6), 10), np.random.default_rng(0))
    assert many.shape == (SHIFTS, 6)
    assert (many[0] == 0).all()
    assert np.unique(many).tolist() == list(range(10))


def test_sums_over_pairs_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    first, second = symmetric(rng, 2), symmetric(rng, 3)
    shifts = draw_shifts(RUNS, rng)
    sums = shifted_pair_sums(first, second, RUNS, shifts)
    upper = np.triu(RUNS[:, None] != RUNS)
    for index, shift in enumerate(shifts):
        order = np.arange(len(RUNS))
        for run, by in zip((1, 4, 7), shift, strict=True):
            inside = np.flatnonzero(run == RUNS)
            order[inside] = np.roll(order[inside], -by)
        moved = second[:, order][:, :, order]
        expected = np.einsum("aij,bij->ab", first * upper, moved)
        np.testing.assert_allclose(sums[..., index], expected, atol=1e-9)


def test_p_of_a_sum_over_runs_is_that_of_all_combinations():
    rng = np.random.default_rng(2)
    for _ in range(20):
        sums = [rng.integers(-4, 9, size=n) for n in (3, 1, 4, 5)]
        totals = [sum(each) for each in itertools.product(*sums)]
        expected = np.mean(np.array(totals) >= sum(run[0] for run in sums))
        assert p_of_run_sums(sums) == pytest.approx(expected)
    assert p_of_run_sums([np.array([5, 1, 2, 0])]) == 1 / 4
    assert np.isnan(p_of_run_sums([np.array([5]), np.array([1])]))


def test_p_of_the_maximum_corrects_for_the_number_of_tests():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 8, 200)) * np.arange(1, 9)[:, None]
    p = np.array([p_of_maximum(each) for each in values])
    assert abs((p.min(1) <= 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400)
    single = values[0, :1]
    assert p_of_maximum(single) == pytest.approx(p_of_first(single))
    assert p_of_maximum(np.repeat(single, 5, axis=0)) == pytest.approx(p_of_first(single)[0])
    some = np.vstack([single, np.full_like(single, np.nan), np.ones_like(single)])
    np.testing.assert_allclose(p_of_maximum(some), [p_of_first(single)[0], np.nan, np.nan])
    assert np.isnan(p_of_maximum(some[1:])).all()
    assert p_of_maximum(values[0][:0]).size == 0
