"""Identification of clips, against scipy, loops over shifts and planted truth."""

import itertools

import numpy as np
import pytest
import scipy.stats

from neuromusic.encoding import scoring
from neuromusic.encoding.identification import identification, identification_ranks

RUNS = np.repeat(range(6), 10)


def matches_of(predicted, measured):
    return scoring.clip_matches(scoring.unit_length(predicted), scoring.unit_length(measured))


def test_with_signal_the_right_clip_ranks_first():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(60, 10, 50))
    found = identification(matches_of(signal, signal + rng.normal(size=signal.shape)), RUNS)
    assert (found["top1"], found["top5"], found["mean_rank"]) == (1, 1, 1)
    assert found["p_rank"] == found["p_top1"] == pytest.approx(1e-6)
    assert (found["chance_top1"], found["chance_top5"]) == (1 / 60, 5 / 60)
    assert found["chance_rank"] == 30.5


def test_ranks_are_scipys_and_ties_share_them():
    rng = np.random.default_rng(1)
    matches = rng.normal(size=(60, 60))
    expected = np.diag(scipy.stats.rankdata(-matches, axis=0))
    np.testing.assert_array_equal(identification_ranks(matches), expected)
    assert (identification_ranks(np.zeros((60, 60))) == 30.5).all()
    alike = identification(np.zeros((60, 60)), RUNS)
    assert (alike["top1"], alike["p_rank"], alike["p_top1"]) == (0, 1, 1)


def test_p_is_the_share_of_all_shifts_of_the_predictions():
    rng = np.random.default_rng(2)
    runs = np.repeat(range(3), [3, 4, 4])
    matches = rng.normal(size=(11, 11)) + 0.5 * np.eye(11)
    ranks, tops = [], []
    for shifts in itertools.product(range(3), range(4), range(4)):
        order = np.arange(11)
        for run, by in enumerate(shifts):
            order[runs == run] = np.roll(order[runs == run], by)
        own = identification_ranks(matches[order])
        ranks.append(own.mean())
        tops.append((own == 1).mean())
    found = identification(matches, runs)
    assert found["p_rank"] == pytest.approx(np.mean(np.array(ranks) <= ranks[0] + 1e-9))
    assert found["p_top1"] == pytest.approx(np.mean(np.array(tops) >= tops[0] - 1e-9))


def test_few_clips_limit_p():
    assert identification(np.eye(8), np.ones(8, int))["p_rank"] == pytest.approx(1 / 8)
    assert identification(np.eye(2), np.ones(2, int))["p_rank"] == pytest.approx(1 / 2)
    single = identification(np.eye(3), np.arange(3))
    assert single["top1"] == 1
    assert np.isnan([single["p_rank"], single["p_top1"]]).all()


@pytest.mark.parametrize("n", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_p_has_its_size_if_neighbours_share_noise(n):
    rng = np.random.default_rng(3)
    predicted, p = rng.normal(size=(60, 40)), []
    for _ in range(n):
        noise = rng.normal(size=(6, 10, 40))
        noise += np.roll(noise, 1, axis=1)
        noise -= noise.mean(1, keepdims=True)
        found = identification(predicted @ noise.reshape(60, 40).T, RUNS)
        p.append((found["p_rank"], found["p_top1"]))
    for level in (0.05, 0.01):
        error = np.sqrt(level * (1 - level) / n)
        rank, top1 = (np.array(p) <= level).mean(0)
        assert abs(rank - level) < 4 * error
        assert top1 < level + 4 * error
