"""Medians, ratios and differences of samples, each with its 95 % interval by bootstrap.

Samples of two contenders that have the same index were taken one after the other: they are drawn together, so that what slowed the machine
down for both cancels out.
"""

import functools
import random
import statistics

DRAWS = 600


def ratio(one, other):
    return one / other if other else float("nan")


@functools.cache
def _draws(count):
    source = random.Random(count)
    return [source.choices(range(count), k=count) for _ in range(DRAWS)]


def _interval(values):
    ordered = sorted(values)
    return ordered[round(0.025 * (len(ordered) - 1))], ordered[round(0.975 * (len(ordered) - 1))]


def median(samples):
    """(median, low, high)."""
    drawn = [statistics.median([samples[i] for i in draw]) for draw in _draws(len(samples))]
    return statistics.median(samples), *_interval(drawn)


def compared(samples, others, how=ratio):
    """(how(median, median), low, high); `how` is `ratio` or operator.sub."""
    count = min(len(samples), len(others))
    drawn = [how(statistics.median([samples[i] for i in draw]), statistics.median([others[i] for i in draw])) for draw in _draws(count)]
    return how(statistics.median(samples), statistics.median(others)), *_interval(drawn)
