"""Representational similarity and its noise ceilings, against scipy and planted truth."""

import numpy as np
import pytest
from scipy.spatial.distance import squareform
from scipy.stats import spearmanr

from neuromusic.encoding import rsa


def test_similarity_is_scipys_spearman_and_its_p_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    a, b = (rsa.dissimilarity(rng.normal(size=(9, 20))) for _ in range(2))
    b = b + 0.5 * a
    rho, p = rsa.similarity(a, b, np.random.default_rng(1))
    assert rho == pytest.approx(spearmanr(a, b).statistic)
    draws, reached = np.random.default_rng(1), 0
    for _ in range(rsa.PERMUTATIONS):
        order = draws.permutation(9)
        permuted = squareform(squareform(b)[order][:, order])
        reached += spearmanr(a, permuted).statistic >= rho - 1e-12
    assert p == pytest.approx((1 + reached) / (1 + rsa.PERMUTATIONS), abs=2e-3)


def test_the_ceiling_between_subjects_brackets_the_truth():
    rng = np.random.default_rng(2)
    clips = rng.normal(size=(40, 30))
    truth = rsa.dissimilarity(clips)
    rdms = [rsa.dissimilarity(clips + rng.normal(size=clips.shape)) for _ in range(5)]
    low, high = rsa.subject_ceiling(rdms)
    best = np.mean([spearmanr(truth, rdm).statistic for rdm in rdms])
    assert low < best < high
    lower = [
        spearmanr(
            rdm, np.mean([np.argsort(np.argsort(o)) for o in rdms if o is not rdm], axis=0)
        ).statistic
        for rdm in rdms
    ]
    assert low == pytest.approx(np.mean(lower), abs=1e-4)
    with pytest.raises(ValueError, match="needs two or more"):
        rsa.subject_ceiling(rdms[:1])


def test_the_ceiling_between_repeats_is_what_the_truth_reaches():
    rng = np.random.default_rng(3)
    ceilings, reached = [], []
    for _ in range(20):
        clips = rng.normal(size=(40, 50))
        patterns = clips + 1.5 * rng.normal(size=(4, *clips.shape))
        ceilings.append(rsa.repeat_ceiling(patterns))
        measured = rsa.dissimilarity(patterns.mean(0))
        reached.append(spearmanr(rsa.dissimilarity(clips), measured).statistic)
    assert np.mean(ceilings) == pytest.approx(np.mean(reached), abs=0.05)


def test_areas_with_one_voxel_have_no_similarity():
    rng = np.random.default_rng(4)
    stages = {"A1": rng.normal(size=(6, 9)).astype(np.float32)}
    subject = {name: rng.normal(size=(2, 6, n)) for name, n in (("large", 5), ("small", 1))}
    assert rsa.similarity_table(stages, [subject], rng)["area"].tolist() == ["large"]
