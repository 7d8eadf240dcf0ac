"""Inference over subjects: is an effect there in the population, and in how many of its members?

Two questions, two tests. `subject_t_test` asks whether the population mean differs from 0, with
subjects as the sample. `prevalence_test` asks what share of the population shows the effect, from
one p value per subject. With few subjects the first has little power, and the second is still
informative (Ince et al. 2021).
"""

from typing import Literal, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import ArrayLike

ALPHA = 0.05  # level of the test within each subject
HPD = 0.96  # content of the highest-density interval, as in Ince et al. 2021


class SubjectTTest(NamedTuple):
    """Result of `subject_t_test`.

    Attributes
    ----------
    n : int
        Number of subjects with a value.
    mean, low, high : float
        Mean over subjects and its 95 % interval, which is two-sided whatever the test is.
    t, df, p : float
        Student's t, its degrees of freedom and the p value. NaN, as is the interval, with fewer
        than two subjects or if all values are equal.
    """

    n: int
    mean: float
    low: float
    high: float
    t: float
    df: float
    p: float


class Prevalence(NamedTuple):
    """Result of `prevalence_test`.

    Attributes
    ----------
    n, k : int
        Number of subjects with a p value, and of those at or below the level.
    p : float
        p value of the global null hypothesis that no subject has the effect; one-sided.
    map, low, high : float
        Most probable share of the population that has the effect, and the 96 % highest posterior
        density interval.
    """

    n: int
    k: int
    p: float
    map: float
    low: float
    high: float


def subject_t_test(
    values: ArrayLike, alternative: Literal["two-sided", "greater"] = "greater"
) -> SubjectTTest:
    """Test whether the mean of a statistic over subjects is above 0, or differs from 0.

    Student's one-sample t test (random effects: it generalises to other subjects). It assumes that
    subjects are independent and their values about normal.

    Parameters
    ----------
    values : array_like of float, shape (n_subjects,)
        One value per subject that is 0 on average under the null hypothesis: a correlation between
        prediction and measurement, or a difference between two networks. NaN: no value.
    alternative : {"greater", "two-sided"}
        "greater" (one-sided) if only an effect above 0 makes sense, such as a prediction score;
        "two-sided" for differences.

    Returns
    -------
    SubjectTTest
        n, the mean with its two-sided 95 % interval, t, df and p.

    References
    ----------
    Student (1908). The probable error of a mean. Biometrika 6, 1-25. Computed by
    `scipy.stats.ttest_1samp`.
    """
    sample = np.asarray(values, np.float64)
    sample = sample[~np.isnan(sample)]
    mean = float(sample.mean()) if len(sample) else np.nan
    if len(sample) < 2 or np.ptp(sample) == 0:
        return SubjectTTest(len(sample), mean, np.nan, np.nan, np.nan, np.nan, np.nan)
    test = scipy.stats.ttest_1samp(sample, 0, alternative=alternative)
    low, high = scipy.stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    numbers = (mean, low, high, test.statistic, test.df, test.pvalue)
    return SubjectTTest(len(sample), *map(float, numbers))


def prevalence_test(p: ArrayLike, alpha: float = ALPHA) -> Prevalence:
    """Infer from one p value per subject how many members of the population have the effect.

    A subject without the effect is significant with a probability of alpha, a subject with it is
    taken to be significant always. So the number k of n significant subjects is binomial with
    theta = alpha + (1 - alpha) prevalence. With a uniform prior of the prevalence, the posterior of
    theta is Beta(k + 1, n - k + 1), truncated to alpha .. 1.

    If the test within subjects has little power, the prevalence is that of an effect that is large
    enough to be found with these data. A correction over stages or voxels is a correction within
    subjects, before this test.

    Parameters
    ----------
    p : array_like of float, shape (n_subjects,)
        The p value of a test within each subject whose size is alpha; subjects are independent.
        NaN: no value.
    alpha : float
        Level of the test within subjects.

    Returns
    -------
    Prevalence
        The binomial test of the global null hypothesis, and the maximum and the 96 % highest
        posterior density interval of the prevalence. All NaN without a p value.

    References
    ----------
    Ince, R. A. A. et al. (2021). Bayesian inference of population prevalence. eLife 10, e62461.
    Donhauser, P. W. et al. (2018). Imaging of neural oscillations with embedded inferential and
    group prevalence statistics. PLoS Computational Biology 14, e1005990: the binomial test.
    """
    sample = np.asarray(p, np.float64)
    sample = sample[~np.isnan(sample)]
    n, k = len(sample), int((sample <= alpha).sum())
    if n == 0:
        return Prevalence(0, 0, np.nan, np.nan, np.nan, np.nan)
    p_global = scipy.stats.binomtest(k, n, alpha, alternative="greater").pvalue
    low, high = ((theta - alpha) / (1 - alpha) for theta in _densest(k, n, alpha))
    most = max(0.0, (k / n - alpha) / (1 - alpha))
    return Prevalence(n, k, float(p_global), most, low, high)


def _densest(k: int, n: int, alpha: float) -> tuple[float, float]:
    """Return the densest interval of theta with a content of HPD.

    ``u`` is the content below the interval. The density has one peak, so the interval with equal
    densities at both ends is the densest; without one, it touches an end of the range.
    """
    posterior = scipy.stats.beta(k + 1, n - k + 1)
    below = posterior.cdf(alpha)

    def limits(u: float) -> tuple[float, float]:
        low, high = posterior.ppf(below + (1 - below) * np.array([u, u + HPD]))
        return (alpha if u == 0 else float(low)), (1.0 if u == 1 - HPD else float(high))

    def slope(u: float) -> float:
        low, high = posterior.logpdf(limits(u))
        return float(max(high, -1e300) - max(low, -1e300))

    if slope(0) <= 0:
        return limits(0)
    if slope(1 - HPD) >= 0:
        return limits(1 - HPD)
    return limits(scipy.optimize.brentq(slope, 0, 1 - HPD, xtol=1e-12))


def group_row(
    values: ArrayLike, p: ArrayLike, alternative: Literal["two-sided", "greater"] = "greater"
) -> dict[str, float]:
    """Return both tests over subjects as one row of a table, such as of one stage in one area.

    Parameters
    ----------
    values : array_like of float, shape (n_subjects,)
        One value per subject, see `subject_t_test`.
    p : array_like of float, shape (n_subjects,)
        p value of each subject's own test, see `prevalence_test`.
    alternative : {"greater", "two-sided"}
        Of the t test.

    Returns
    -------
    dict
        n_subjects, mean, mean_low and mean_high (95 %), t, df, p_t, n_significant (subjects with p
        of at most ALPHA), p_global_null (binomial, one-sided), prevalence, prevalence_low and
        prevalence_high (96 % highest posterior density). NaN: cannot be given.
    """
    t, prevalence = subject_t_test(values, alternative), prevalence_test(p)
    return {
        "n_subjects": t.n, "mean": t.mean, "mean_low": t.low, "mean_high": t.high,
        "t": t.t, "df": t.df, "p_t": t.p,
        "n_significant": prevalence.k, "p_global_null": prevalence.p,
        "prevalence": prevalence.map, "prevalence_low": prevalence.low,
        "prevalence_high": prevalence.high,
    }  # fmt: skip
