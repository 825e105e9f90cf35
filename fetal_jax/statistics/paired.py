"""Two results on the same images, compared by paired tests. Subjects are the independent units, not their images."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from fetal_jax.statistics.bootstrap import subject_means

EXACT_UP_TO = 14  # subjects: all 2^14 patterns of signs are looked at; of more subjects 10,000 at random
RANDOM_PATTERNS = 10_000
DECIMALS = 12  # differences that are equal but for rounding are ties, and 0 is 0
LEVEL = 0.95
LARGE_T = 1000.0  # above it the noncentral t is a scaled chi to four digits, and its inversion may never end


@dataclasses.dataclass(frozen=True)
class Paired:
    """`b` against `a` on the same subjects; differences are b - a of subjects' means. NaN is undefined.

    The Wilcoxon test leaves subjects without a difference out (Wilcoxon 1945), so that `smallest_p` counts the others.
    """

    n: int  # subjects with a defined pair
    n_images: int  # images with a defined pair
    n_dropped: int  # images undefined in a, in b or in both: in no number below
    undefined: tuple[int, int]  # images undefined in a, in b
    n_zeros: int  # subjects without a difference
    mean_a: float
    mean_b: float
    difference: float  # mean of b - a
    low: float  # 95 % interval of the difference, by Student's t
    high: float
    sd: float  # of the differences
    t_p: float
    wilcoxon_p: float  # exact to 50 subjects without ties, and to 13 with ties; else by normal approximation
    permutation_p: float  # of the mean under flipped signs: exact to 14 subjects, else of 10,000 random patterns
    effect: float  # Cohen's d_z: difference / sd
    effect_low: float
    effect_high: float
    rank_effect: (
        float  # matched-pairs rank-biserial correlation, -1 to 1 (Kerby 2014): the direction of Wilcoxon's test
    )
    smallest_p: float  # that the exact two-sided Wilcoxon test could give: 2^(1 - subjects with a difference)

    def can_reach(self, alpha: float = 0.05) -> bool:
        """Whether any outcome of the Wilcoxon test on so many subjects would be under `alpha`."""
        return self.smallest_p < alpha

    def verdict(
        self,
        alpha: float = 0.05,
        *,
        p: float | None = None,
        comparisons: int = 1,
        names: tuple[str, str] = ("a", "b"),
        higher_is_better: bool = True,
    ) -> str:
        """What the Wilcoxon test says, in words; where the permutation test of the mean does not agree, that too.

        `p` is Wilcoxon's p-value after correction for `comparisons`; by default the one of this test alone.
        """
        p, smallest = self.wilcoxon_p if p is None else p, min(1.0, self.smallest_p * comparisons)
        if self.n == 0:
            return "nothing to compare: no image is defined in both"
        if self.n_zeros == self.n:
            return f"no difference on any of n = {self.n}"
        if not smallest < alpha:
            holm_words = f"after Holm over {comparisons} pairs " if comparisons > 1 else ""
            words = f"{holm_words}at least {smallest:.2g}"
            return f"n = {self.n - self.n_zeros} cannot reach p < {alpha:g} by Wilcoxon ({words})"
        if not p < alpha:
            return f"no difference shown (p = {p:.2g})"
        better = names[1] if (self.rank_effect > 0) == higher_is_better else names[0]
        if self.difference * self.rank_effect <= 0 or not self.permutation_p < alpha:
            mean = p_in_words(self.permutation_p)
            return f"{better} is better by ranks ({p_in_words(p)}), not by the mean ({mean}): look at the outliers"
        return f"{better} is better ({p_in_words(p)})"


def p_in_words(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def paired(
    a: Float[np.ndarray, " images"],
    b: Float[np.ndarray, " images"],
    subjects: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> Paired:
    """Compares two results a value an image. `subjects` by image; by default each image is a subject of its own.

    Raises ValueError if the three are not equally long.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    subjects = [str(i) for i in range(len(a))] if subjects is None else list(subjects)
    if not len(a) == len(b) == len(subjects):
        raise ValueError(f"{len(a)} and {len(b)} values of {len(subjects)} images: they must be of the same images")
    whole = ~np.isnan(a) & ~np.isnan(b)
    kept = [subject for subject, keep in zip(subjects, whole, strict=True) if keep]
    _, means = subject_means(np.stack([a[whole], b[whole]], 1), kept)
    differences = np.round(means[:, 1] - means[:, 0], DECIMALS)
    mean_a, mean_b = means.mean(0) if len(means) else (math.nan, math.nan)
    return Paired(
        n=len(means),
        n_images=int(whole.sum()),
        n_dropped=int((~whole).sum()),
        undefined=(int(np.isnan(a).sum()), int(np.isnan(b).sum())),
        n_zeros=int((differences == 0).sum()),
        mean_a=float(mean_a),
        mean_b=float(mean_b),
        **_student(differences),
        **_wilcoxon(differences[differences != 0], len(means)),
        permutation_p=_permutation_p(differences, seed),
    )


def _student(d: np.ndarray) -> dict[str, float]:
    """The mean of differences, its interval, its test and Cohen's d. No spread, no t: all undefined but the mean."""
    n = len(d)
    mean = float(d.mean()) if n else math.nan
    sd = float(d.std(ddof=1)) if n > 1 else math.nan
    names = ("low", "high", "t_p", "effect", "effect_low", "effect_high")
    values = dict.fromkeys(names, math.nan) | {"difference": mean, "sd": sd}
    if n < 2:
        return values
    if np.ptp(d) == 0:
        same = {"sd": 0.0, "low": mean, "high": mean}
        return values | same | ({"t_p": 1.0, "effect": 0.0} if mean == 0 else {})
    error = sd / math.sqrt(n)
    t, half = mean / error, stats.t.ppf(0.5 + LEVEL / 2, n - 1) * error
    low, high = effect_interval(t, n)
    return values | {
        "low": float(mean - half),
        "high": float(mean + half),
        "t_p": float(2 * stats.t.sf(abs(t), n - 1)),
        "effect": mean / sd,
        "effect_low": low,
        "effect_high": high,
    }


def effect_interval(t: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of Cohen's d_z from the paired t of n differences, by inversion of the noncentral t distribution.

    Exact for normal differences: Cumming & Finch 2001, Educational and Psychological Measurement 61(4).
    """
    tails = np.array([0.5 + level / 2, 0.5 - level / 2])
    if abs(t) < LARGE_T:
        shifts = special.nctdtrinc(n - 1, tails, t)
    else:
        shifts = t * np.sqrt(stats.chi2.ppf(tails[:: 1 if t < 0 else -1], n - 1) / (n - 1))
    low, high = shifts / math.sqrt(n)
    return float(low), float(high)


def _wilcoxon(d: np.ndarray, n: int) -> dict[str, float]:
    """The signed-rank test of the differences that are not 0, of n subjects."""
    if not len(d):
        undefined = math.nan if n == 0 else 1.0
        return {"wilcoxon_p": undefined, "rank_effect": math.nan if n == 0 else 0.0, "smallest_p": 1.0}
    ranks = stats.rankdata(np.abs(d))
    return {
        "wilcoxon_p": float(stats.wilcoxon(d).pvalue),
        "rank_effect": float((ranks * np.sign(d)).sum() / ranks.sum()),
        "smallest_p": 2.0 ** (1 - len(d)),
    }


def _permutation_p(d: np.ndarray, seed: int) -> float:
    """The two-sided p of the mean when the sign of each difference is a coin's (Fisher 1935)."""
    if not len(d):
        return math.nan
    if len(d) == 1 or not d.any():
        return 1.0
    result = stats.permutation_test(
        (d,),
        lambda x, axis: x.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_UP_TO if len(d) <= EXACT_UP_TO else RANDOM_PATTERNS,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """The p-values corrected for their number (Holm 1979), in order. An undefined test (NaN) is not counted.

    As statsmodels' multipletests, which however sweeps all memory at every call.
    """
    p = np.asarray(p_values, float)
    corrected, smallest_first = p.copy(), np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    factors = np.arange(len(smallest_first), 0, -1)
    corrected[smallest_first] = np.minimum(np.maximum.accumulate(p[smallest_first] * factors), 1)
    return corrected.tolist()
