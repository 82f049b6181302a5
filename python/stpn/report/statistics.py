"""What is computed from several runs: the interquartile mean, and an interval by bootstrap.

Both as in Agarwal, Schwarzer, Castro, Courville, Bellemare, *Deep Reinforcement Learning at the Edge
of the Statistical Precipice*, NeurIPS 2021. SciPy computes them: rliable, the library of that paper,
does not import beside pandas 3, and would bring pandas, statsmodels and seaborn for one function.
"""

import numpy
import scipy.stats

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 1  # of the resampling, so that the same runs give the same page


def interquartile_mean(values, axis=None):
    """The mean of the middle half: of n values, the smallest and the largest floor(n / 4) are left out.
    Up to three values it is the mean."""
    return scipy.stats.trim_mean(values, 0.25, axis=axis)


def interval(strata):
    """The interval of the interquartile mean of all values, as (low, high) along the last axis but one.

    strata  a list of arrays (runs, ...), of which each is resampled for itself: a task or setting each
    Returns None if a stratum has a single run, which says nothing about other runs.
    """
    strata = [numpy.asarray(values, float) for values in strata]
    if min(len(values) for values in strata) < 2:
        return None

    def statistic(*samples, axis):
        return interquartile_mean(numpy.concatenate(samples, axis=axis), axis=axis)

    found = scipy.stats.bootstrap(strata, statistic, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
                                  method="percentile", vectorized=True, axis=0, batch=200,
                                  rng=numpy.random.default_rng(SEED)).confidence_interval
    return found.low, found.high
