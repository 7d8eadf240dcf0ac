"""Tests over subjects against scipy, numerical integration and simulations."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.stats.group import ALPHA, HPD, group_row, prevalence_test, subject_t_test


def p_values(n, k):
    """Return p values of n subjects, k of them significant."""
    return np.where(np.arange(n) < k, 0.01, 0.5)


def test_the_t_test_agrees_with_values_by_hand():
    """Values 1, 2, 3: mean 2, standard error 1 / sqrt(3), t = sqrt(12)."""
    result = subject_t_test([1, 2, np.nan, 3])
    t = np.sqrt(12)
    half = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3)
    expected = (3, 2, 2 - half, 2 + half, t, 2, scipy.stats.t.sf(t, 2))
    assert result == pytest.approx(expected)
    assert subject_t_test([1, 2, 3], "two-sided").p == pytest.approx(2 * result.p)
    assert subject_t_test([1, 2, 3], "two-sided")[2:4] == result[2:4]


@pytest.mark.parametrize("values", [[], [0.2], [np.nan, 0.2], [0.2, 0.2, 0.2]])
def test_too_few_or_equal_values_have_no_test(values):
    result = subject_t_test(values)
    assert result.n == np.isfinite(values).sum()
    assert np.isnan(result[2:]).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 60))
def test_the_posterior_agrees_with_numerical_integration(n, k):
    k = min(k, n)
    result = prevalence_test(p_values(n, k))
    share = np.linspace(0, 1, 200_001)
    density = scipy.stats.binom.pmf(k, n, ALPHA + (1 - ALPHA) * share)
    density /= density.sum()
    assert result.map == pytest.approx(share[density.argmax()], abs=1e-5)
    inside = (share >= result.low) & (share <= result.high)
    assert density[inside].sum() == pytest.approx(HPD, abs=5e-4)
    # Nothing outside is denser than anything inside.
    assert density[~inside].max() <= density[inside].min() + 1e-7
    assert (result.n, result.k) == (n, k)


def test_the_global_null_hypothesis_agrees_with_the_binomial_tail():
    assert prevalence_test(p_values(5, 2)).p == pytest.approx(1 - 0.95**5 - 5 * 0.05 * 0.95**4)
    assert prevalence_test(p_values(5, 0)).p == 1
    assert prevalence_test([0.05, 0.0501]).k == 1


def test_the_published_implementation_gives_the_same():
    """14 of 20: bayesprev.map and bayesprev.hpdi(.96, 14, 20) of Ince et al."""
    result = prevalence_test(p_values(20, 14))
    assert result.map == pytest.approx((14 / 20 - 0.05) / 0.95)
    assert (result.low, result.high) == pytest.approx((0.4531, 0.8632), abs=1e-4)


def test_subjects_without_a_p_value_do_not_count():
    assert prevalence_test([0.01, np.nan, 0.3])[:2] == (2, 1)
    assert np.isnan(prevalence_test([np.nan])[2:]).all()


def test_a_row_has_both_tests():
    row = group_row([0.1, 0.2, 0.15], [0.01, 0.02, 0.2])
    assert (row["n_subjects"], row["n_significant"]) == (3, 2)
    assert row["p_t"] == subject_t_test([0.1, 0.2, 0.15]).p
    assert row["p_global_null"] == prevalence_test([0.01, 0.02, 0.2]).p
    assert np.isnan(group_row([0.1], [0.2])["p_t"])


@pytest.mark.parametrize("n_subjects", [5, 20])
def test_the_t_test_has_its_size_and_its_interval_its_coverage(n_subjects):
    """Mean correlations of area and stage under the null, and at a true mean of .05."""
    rng = np.random.default_rng(0)
    samples = 0.05 + 0.03 * rng.normal(size=(300, n_subjects))
    low, inside = np.zeros(2, int), 0
    for sample in samples:
        null = sample - 0.05
        low += subject_t_test(null).p < 0.05, subject_t_test(null, "two-sided").p < 0.05
        result = subject_t_test(sample)
        inside += result.low <= 0.05 <= result.high
    for count in low:
        assert scipy.stats.binomtest(count, 300, 0.05).pvalue > 0.001
    assert scipy.stats.binomtest(inside, 300, 0.95).pvalue > 0.001


@pytest.mark.parametrize("n_subjects", [5, 20, 50])
def test_prevalence_is_calibrated(n_subjects):
    """Exact sizes and coverages: only the number of significant subjects is random.

    Over prevalences drawn from the prior, the interval contains the truth in 96 % of cases.
    """
    counts = np.arange(n_subjects + 1)
    results = [prevalence_test(p_values(n_subjects, k)) for k in counts]
    share = (np.arange(2000) + 0.5) / 2000
    chance = scipy.stats.binom.pmf(counts[:, None], n_subjects, ALPHA + (1 - ALPHA) * share)
    low, high = (np.array([r[i] for r in results])[:, None] for i in (4, 5))
    coverage = (chance * ((low <= share) & (share <= high))).sum(0)
    assert coverage.mean() == pytest.approx(HPD, abs=0.001)
    assert coverage.min() > 0.85
    size = scipy.stats.binom.pmf(counts, n_subjects, ALPHA)[[r.p < 0.05 for r in results]].sum()
    assert size == pytest.approx({5: 0.0226, 20: 0.0159, 50: 0.0378}[n_subjects], abs=1e-4)


def test_prevalence_of_simulated_subjects():
    rng = np.random.default_rng(1)
    results = [
        prevalence_test(np.where(rng.random(20) < 0.5, 0.001, rng.random(20))) for _ in range(200)
    ]
    assert np.mean([r.map for r in results]) == pytest.approx(0.5, abs=0.03)
    inside = sum(r.low <= 0.5 <= r.high for r in results)
    assert scipy.stats.binomtest(inside, 200, 0.923).pvalue > 0.001  # the exact coverage at .5
