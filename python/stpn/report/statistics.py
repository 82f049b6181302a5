"""What is computed from several runs: the interquartile mean, and an interval by bootstrap.

Both as in Agarwal, Schwarzer, Castro, Courville, Bellemare, *Deep Reinforcement Learning at the Edge
of the Statistical Precipice*, NeurIPS 2021. SciPy computes them. The library of that paper, rliable
1.2.0, does not import with arch 7.2.0 and pandas 3.1.1, which pip chooses for it, and would bring
pandas, statsmodels and seaborn for one function; a test compares with what it gives on pandas 2.
"""

import numpy
import scipy.stats  # type: ignore[import-untyped]

RESAMPLES = 10_000
OF_CURVES = 2000  # resamples for the band of a curve, where the eye is less exact
CONFIDENCE = 0.95
SEED = 1  # of the resampling, so that the same runs give the same page


def interquartile_mean(values, axis=None):
    """The mean of the middle half: of n values, the smallest and the largest floor(n / 4) are left out.
    Up to three values it is the mean."""
    return scipy.stats.trim_mean(values, 0.25, axis=axis)


def interval(strata, resamples=RESAMPLES):
    """(low, high), the ends of the interval of the interquartile mean of all values.

    strata  a list of arrays (runs, ...), one for each task or setting, of which each is resampled for
            itself; low and high have the shape that is left without the runs
    Returns None if a stratum has a single run, which says nothing about other runs.
    """
    strata = [numpy.asarray(values, float) for values in strata]
    if min(len(values) for values in strata) < 2:
        return None

    def statistic(*samples, axis):
        return interquartile_mean(numpy.concatenate(samples, axis=axis), axis=axis)

    found = scipy.stats.bootstrap(strata, statistic, n_resamples=resamples, confidence_level=CONFIDENCE,
                                  method="percentile", vectorized=True, axis=0,
                                  rng=numpy.random.default_rng(SEED)).confidence_interval
    return found.low, found.high
