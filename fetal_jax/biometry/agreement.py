"""How well two ways of measuring agree: Bland and Altman's limits, and the four measures of the HC18 challenge."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Real
from scipy import stats
from scipy.spatial import cKDTree

from fetal_jax.anatomy.ellipse import Ellipse

Numbers = Sequence[float] | Real[np.ndarray, " _"]
OUTLINE = 4096  # points of an ellipse: 0.1 mm apart on a head


@dataclasses.dataclass(frozen=True)
class BlandAltman:
    """Ready to draw: one point per pair, a line each at `bias`, `lower` and `upper`, with a band for its interval."""

    means: Float[np.ndarray, " n"]
    differences: Float[np.ndarray, " n"]  # a - b
    n: int
    n_missing: int  # pairs of which one is NaN
    bias: float
    sd: float
    lower: float
    upper: float
    bias_interval: tuple[float, float]
    lower_interval: tuple[float, float]
    upper_interval: tuple[float, float]


def bland_altman(a: Numbers, b: Numbers, level: float = 0.95) -> BlandAltman:
    """Mean difference a - b and limits within which `level` of the differences lie if they are normal.

    Bland and Altman, Lancet 1986;1:307-310, with the standard error of a limit as in their Stat Methods Med Res
    1999;8:135-160: s sqrt(1/n + z^2 / (2 (n - 1))). The intervals of the three lines hold with the same `level`; they
    take pairs for independent, so give one pair a subject. Fewer than two pairs have a NaN spread.

    Raises ValueError if the lengths differ.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise ValueError(f"{a.size} values and {b.size} values do not make pairs")
    known = ~np.isnan(a + b)
    differences, n = (a - b)[known], int(known.sum())
    bias = float(differences.mean()) if n else np.nan
    sd = float(differences.std(ddof=1)) if n > 1 else np.nan
    z = float(stats.norm.ppf((1 + level) / 2))
    t = float(stats.t.ppf((1 + level) / 2, n - 1)) if n > 1 else np.nan
    of_bias = t * sd / np.sqrt(max(n, 1))
    of_limit = t * sd * np.sqrt(1 / max(n, 1) + z**2 / (2 * max(n - 1, 1)))
    lower, upper = bias - z * sd, bias + z * sd
    return BlandAltman(
        means=((a + b) / 2)[known],
        differences=differences,
        n=n,
        n_missing=len(known) - n,
        bias=bias,
        sd=sd,
        lower=lower,
        upper=upper,
        bias_interval=(bias - of_bias, bias + of_bias),
        lower_interval=(lower - of_limit, lower + of_limit),
        upper_interval=(upper - of_limit, upper + of_limit),
    )


@dataclasses.dataclass(frozen=True)
class HeadAgreement:
    """The measures of the HC18 challenge for one image; NaN where there is no head to compare."""

    df_mm: float  # HC of the prediction minus that of the reference
    adf_mm: float
    dice: float
    hausdorff_mm: float


def compare_heads(predicted: Ellipse | None, reference: Ellipse | None) -> HeadAgreement:
    """DF, ADF, DSC and HD of two ellipses in mm, of the whole ellipses, in and out of the frame.

    van den Heuvel et al., PLoS ONE 2018;13:e0200412. The challenge takes an ellipse of each image, not a mask, so what
    is compared are ellipses here too; a mask of any shape has to be fitted first.
    """
    if predicted is None or reference is None:
        return HeadAgreement(*[float("nan")] * 4)
    difference = predicted.circumference() - reference.circumference()
    return HeadAgreement(difference, abs(difference), _dice(predicted, reference), _hausdorff(predicted, reference))


def mean_and_sd(heads: Sequence[HeadAgreement]) -> dict[str, tuple[float, float, int]]:
    """Mean, SD and number of images behind it, of each measure; images without a head are in none of them."""
    values = {field.name: [getattr(head, field.name) for head in heads] for field in dataclasses.fields(HeadAgreement)}
    return {name: _mean_sd_n(np.array(column, float)) for name, column in values.items()}


def _mean_sd_n(values: Float[np.ndarray, " n"]) -> tuple[float, float, int]:
    known = values[~np.isnan(values)]
    mean = float(known.mean()) if len(known) else float("nan")
    return mean, float(known.std(ddof=1)) if len(known) > 1 else float("nan"), len(known)


def _dice(a: Ellipse, b: Ellipse) -> float:
    """Of the areas themselves, not of pixels."""
    shared, _ = cv2.intersectConvexConvex(_polygon(a, b.centre), _polygon(b, b.centre))
    areas = np.pi * np.prod(a.semi_axes), np.pi * np.prod(b.semi_axes)
    return float(min(2 * shared / sum(areas), 1.0))


def _polygon(ellipse: Ellipse, origin: tuple[float, float]) -> Float[np.ndarray, "n 2"]:
    """An outline of the ellipse's own area, near the origin, where single precision is finest."""
    points = ellipse.outline(720)
    swell = np.sqrt(2 * np.pi / 720 / np.sin(2 * np.pi / 720))  # corners on the ellipse would lose 1.3e-5 of its area
    return ((points - ellipse.centre) * swell + ellipse.centre - origin).astype(np.float32)


def _hausdorff(a: Ellipse, b: Ellipse) -> float:
    """The greatest distance from a point of either outline to the other outline."""
    one, other = a.outline(OUTLINE), b.outline(OUTLINE)
    return float(max(cKDTree(one).query(other)[0].max(), cKDTree(other).query(one)[0].max()))
