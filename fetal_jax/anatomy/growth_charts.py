"""Sizes of the fetal head by gestational age, from published charts. Lengths are in mm, ages in weeks.

Each chart is a mean and a standard deviation; `Chart.sample` draws a fetus of a given z-score, and `Chart.z` says where
a fetus lies. Sources:

- BPD, OFD, HC: INTERGROWTH-21st, Papageorghiou et al., Lancet 2014;384:869-879 (14-40 weeks, outer to outer).
- TCD: INTERGROWTH-21st, Rodriguez-Sibaja et al., Ultrasound Obstet Gynecol 2021;57:614-623 (14-40 weeks).
- Cisterna magna: INTERGROWTH-21st, Napolitano et al., Ultrasound Obstet Gynecol 2020;56:359-370 (log-normal).
- Atrium of the lateral ventricle: Cardoza et al., Radiology 1988;169:711-714 (7.6 mm, SD 0.6, at all ages).
- Cavum septi pellucidi: an approximation, not a published equation, in the range of Falco et al., Ultrasound
  Obstet Gynecol 2000;16:549-553 (5.3 mm, SD 1.7, range 2-9; widens with age, a little less around term), as in Jou
  et al., Ultrasound Obstet Gynecol 1998;12:419-421.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

VENTRICULOMEGALY_MM = 10.0  # an atrium this wide or wider; Cardoza et al. 1988
FIRST_WEEK, LAST_WEEK = 16.0, 38.0
Weeks = float | Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A size by gestational age: mean and SD of the size, or of its logarithm if `log`."""

    mean: Callable[[Weeks], Weeks]
    sd: Callable[[Weeks], Weeks]
    log: bool = False
    weeks: tuple[float, float] = (14.0, 40.0)  # what it was made from

    def sample(self, ga_weeks: float, z: float) -> float:
        """The size in mm of a fetus of `ga_weeks` that lies `z` standard deviations from the mean."""
        value = self.mean(ga_weeks) + z * self.sd(ga_weeks)
        return float(np.exp(value) if self.log else value)

    def z(self, ga_weeks: float, value_mm: float) -> float:
        """How many standard deviations a size lies from the mean of its age; NaN for an age that the chart lacks."""
        if not self.weeks[0] <= ga_weeks <= self.weeks[1] or not value_mm > 0:
            return float("nan")
        value = np.log(value_mm) if self.log else value_mm
        return float((value - self.mean(ga_weeks)) / self.sd(ga_weeks))

    def centile(self, ga_weeks: float, value_mm: float) -> float:
        """The share, in [0, 1], of fetuses of that age that are smaller."""
        return float(ndtr(self.z(ga_weeks, value_mm)))


def _bpd_sd(w: Weeks) -> Weeks:
    log = np.log(w)
    return np.exp(0.101242 + w**3 * (0.00150557 - 0.000771535 * log + 0.0000999638 * log**2))


def _ofd_sd(w: Weeks) -> Weeks:
    log = np.log(w)
    return np.exp(-0.880034 + w**2 * (0.0631165 - 0.0317136 * log + 0.00408302 * log**2))


def _hc_sd(w: Weeks) -> Weeks:
    log = np.log(w)
    return 1.98735 + w**3 * (0.0136772 - 0.00726264 * log + 0.000976253 * log**2)


BPD = Chart(lambda w: 5.60878 + 0.158369 * w**2 - 0.00256379 * w**3, _bpd_sd)
OFD = Chart(lambda w: -12.4097 + 0.626342 * w**2 - 0.148075 * w**2 * np.log(w), _ofd_sd)
HC = Chart(lambda w: -28.2849 + 1.69267 * w**2 - 0.397485 * w**2 * np.log(w), _hc_sd)
TCD = Chart(
    lambda w: -13.10907 + 20.8941 * (w / 10) ** 0.5 + 0.5035914 * (w / 10) ** 3,
    lambda w: 0.4719837 + 0.0500382 * (w / 10) ** 3,
)
CISTERNA_MAGNA = Chart(
    lambda w: 2.098095 - 239.0659 / w**2 - 0.0000001547 * w**3,
    lambda w: 0.2297936 + 8.1872 / w**2,
    log=True,
    weeks=(15.0, 36.0),
)
ATRIUM = Chart(lambda w: 7.6, lambda w: 0.6, weeks=(14.0, 38.0))
CSP_WIDTH = Chart(lambda w: float(np.interp(w, [16, 28, 38], [3.2, 6.0, 5.8])), lambda w: 0.6)

PUBLISHED = {"hc": HC, "bpd": BPD, "ofd": OFD, "tcd": TCD, "cisterna_magna": CISTERNA_MAGNA, "atrium": ATRIUM}


def ellipse_circumference(a_mm: float, b_mm: float) -> float:
    """Circumference of an ellipse of semi-axes a, b (Ramanujan's second formula; error < 1e-6)."""
    h = ((a_mm - b_mm) / (a_mm + b_mm)) ** 2
    return float(np.pi * (a_mm + b_mm) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))))
