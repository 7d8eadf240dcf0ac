"""Inference in threads, and pooling of windows to clips."""

import itertools

import numpy as np
import pytest
import scipy.special
import torch

from neuromusic.models.inference import in_threads, pool_windows


def test_threads_keep_the_order_and_take_few_items_at_a_time():
    taken = itertools.count()
    before = torch.get_num_threads()
    squares = in_threads(lambda n: n * n, (next(taken) for _ in range(500)))
    assert [next(squares) for _ in range(3)] == [0, 1, 4]
    assert next(taken) < 30  # not all 500
    squares.close()
    assert torch.get_num_threads() == before
    assert list(in_threads(lambda n: n * n, range(100))) == [n * n for n in range(100)]


def test_the_first_error_is_raised():
    results = in_threads(lambda n: 1 // (n - 5), range(100))
    assert len(list(itertools.islice(results, 5))) == 5
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_clip_is_the_normalised_mean_of_its_windows():
    log_p = scipy.special.log_softmax(np.random.default_rng(0).standard_normal((5, 10)), axis=1)
    expected = scipy.special.log_softmax(log_p.mean(0))
    np.testing.assert_allclose(pool_windows(log_p), expected)
