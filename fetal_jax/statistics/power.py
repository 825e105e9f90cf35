"""What a paired t test on a test set of some size could show, and how large a test set would have to be.

By the noncentral t distribution (Cohen 1988, Statistical Power Analysis, ch. 2). statsmodels computes the same, but its
solver gives up where few subjects are enough.
"""

import math

from scipy import optimize, stats


def power_of(effect: float, n: int, alpha: float = 0.05) -> float:
    """The chance that a two-sided paired t test of `n` subjects is under `alpha` when Cohen's d_z is `effect`."""
    edge, shift = stats.t.isf(alpha / 2, n - 1), abs(effect) * math.sqrt(n)
    # The lower tail as an upper one: nct.cdf is NaN where that tail is as good as 0.
    return float(stats.nct.sf(edge, n - 1, shift) + stats.nct.sf(edge, n - 1, -shift))


def smallest_gain(sd_of_differences: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest mean difference that a two-sided paired t test of `n` subjects would show with this power.

    In the unit of the standard deviation. NaN where that is undefined or n < 2.
    """
    if n < 2 or math.isnan(sd_of_differences):
        return math.nan
    most = 1.0
    while power_of(most, n, alpha) < power:
        most *= 2
    return sd_of_differences * optimize.brentq(lambda effect: power_of(effect, n, alpha) - power, 0, most)


def subjects_needed(gain: float, sd_of_differences: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """The smallest number of subjects on which a two-sided paired t test would show this mean difference.

    Raises ValueError if the gain is 0: no test set is large enough for that.
    """
    if gain == 0:
        raise ValueError("gain is 0: give the difference that is to be shown")
    if sd_of_differences == 0:
        return 2
    effect = gain / sd_of_differences
    few, enough = 1, 2  # `few` are too few
    while power_of(effect, enough, alpha) < power:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        if power_of(effect, middle, alpha) < power:
            few = middle
        else:
            enough = middle
    return enough
